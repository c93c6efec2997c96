"""Clients that work on one file at the same time: what they were told fits some order of their calls, one at a time.

The order has to agree with real time: a call that was over before another began comes first. Whoever is told `busy` has
changed nothing; a cancelled call may or may not have done its work. What a sync leaves on disk is what the file held
somewhere between its call and its answer, and names that it had somewhere between them. The search is that of Wing and
Gong, with the states seen remembered.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from array import array
from dataclasses import dataclass
from math import inf

from core.core_harness import Host
from store.store_disk import MemoryDisk
from symphony.core.config import CoreConfig
from symphony.core.depot import DiskLimits
from symphony.engine.fake import FakeEngine
from symphony.errors import Busy, Exists, Invalid, NotFound, SymphonyError
from symphony.store.store import Store

SEEDS = int(os.environ.get("SYMPHONY_HISTORIES", "200"))
CLIENTS, CALLS = 4, 6
NAMES = ("file", "a", "b")
KINDS = ("append", "append", "append", "truncate", "look", "look", "sync", "sync", "link", "rename", "unlink")
Tokens = tuple[int, ...]
State = tuple[Tokens, frozenset[str]]
"""What the file holds, and its names."""


@dataclass(eq=False)
class Call:
    kind: str
    """append, truncate, look, sync; link, rename, unlink; names."""
    start: float
    given: Tokens = ()
    """What is appended; how long the file is to be."""
    end: float = inf
    found: Tokens | None = None
    """What a look, or a sync, saw; None: the file was gone from the disk before anybody could look."""
    outcome: str = "unknown"
    """ok, busy, invalid, exists, not found; unknown: it was cancelled."""
    old: str = ""
    new: str = ""
    """The names of a call that is about names."""
    names: frozenset[str] = frozenset()
    """Those that were seen."""

    def results(self, state: State) -> list[State]:
        """States that it may leave, if it comes at this point; none: it cannot."""
        tokens, names = state
        if self.outcome == "busy":
            return [state]
        if self.outcome == "unknown":
            return [state, (tokens + self.given, names)]
        if self.kind == "append":
            return [(tokens + self.given, names)]
        if self.kind == "truncate":
            fits = self.given[0] <= len(tokens)
            return (
                ([(tokens[: self.given[0]], names)] if fits else []) if self.outcome == "ok" else [state] * (not fits)
            )
        if self.kind in ("look", "sync"):
            fits = self.found in (tokens, None) if self.outcome == "ok" else not names
            return [state] if fits else []
        if self.kind == "names":
            return [state] if self.names == names else []
        outcome = "not found" if self.old and self.old not in names else "exists" if self.new in names else "ok"
        if self.outcome != outcome:
            return []
        return [state if outcome != "ok" else (tokens, (names - {self.old}) | ({self.new} if self.new else set()))]


def is_linearizable(calls: list[Call]) -> bool:
    seen: set[tuple[frozenset[Call], State]] = set()
    stack: list[tuple[frozenset[Call], State]] = [(frozenset(calls), ((), frozenset({"file"})))]
    while stack:
        left, state = stack.pop()
        if all(call.outcome == "unknown" for call in left):
            return True
        if (left, state) in seen:
            continue
        seen.add((left, state))
        first = min(call.end for call in left)
        for call in left:
            if call.start < first:
                stack += [(left - {call}, after) for after in call.results(state)]
    return False


def names_in(store: Store) -> frozenset[str]:
    return frozenset(path for put in store.files() for _, path in put.names)


async def history(seed: int) -> list[Call]:
    """The calls of some clients."""
    rng, clock = random.Random(seed), itertools.count()

    async def sleep(seconds: float) -> None:
        for _ in range(rng.randint(0, 6)):
            await asyncio.sleep(0)

    disk = MemoryDisk()
    store = Store(disk)
    engine = FakeEngine(pages=40, page_size=4, step_seconds=1.0, sleep=sleep)
    calls: list[Call] = []

    async def client(host: Host, number: int) -> None:
        core = host.core
        session = sessions[number]
        file = files[number]
        for i in range(CALLS):
            for _ in range(rng.randint(0, 4)):
                await asyncio.sleep(0)
            kind = rng.choice(KINDS)
            call = Call(kind, next(clock))
            calls.append(call)
            try:
                if kind == "append":
                    call.given = (number * 20 + i, 99)
                    op = await host.start_pred(session, file, call.given)
                    if rng.random() < 0.2:
                        await asyncio.sleep(0)
                        await core.cancel(session, op)
                        continue  # unknown
                    if isinstance(answer := await host.arrival(op), SymphonyError):
                        raise answer
                elif kind == "truncate":
                    call.given = (rng.randint(0, 8),)
                    await core.truncate(session, file, call.given[0])
                elif kind == "look":
                    fork = await core.fork(session, file)
                    call.found = tuple(await host.contents(session, fork))
                    await core.close_file(session, fork)
                elif kind == "sync":
                    op = next(host.ids)
                    await core.sync(session, file, op)
                    if isinstance(answer := await host.arrival(op), SymphonyError):
                        raise answer
                    for put in store.files():  # none, if its names have gone meanwhile
                        call.found = tuple(array("I", put.tokens))
                    seen = Call("names", call.start, names=names_in(store), end=next(clock), outcome="ok")
                    calls.append(seen)
                else:
                    call.old, call.new = rng.sample(NAMES, 2)
                    if kind == "rename":
                        await core.rename(session, f"/{call.old}", f"/{call.new}")
                    elif kind == "link":
                        call.old = ""
                        await core.link(session, file, f"/{call.new}")
                    else:
                        call.new = ""
                        await core.unlink(session, f"/{call.old}")
                call.outcome = "ok"
            except Busy:
                call.outcome = "busy"
            except (Invalid, Exists, NotFound) as error:
                call.outcome = {Invalid: "invalid", Exists: "exists", NotFound: "not found"}[type(error)]
            call.end = next(clock)

    async with Host(engine, CoreConfig(debug=True, disk=DiskLimits(24 * 4 * 100, 1.0)), store) as host:
        sessions = [host.core.open_session("t") for _ in range(CLIENTS)]
        files = [await host.core.open(one, None, "/file", write=True, create=True) for one in sessions]
        await asyncio.gather(*(client(host, number) for number in range(CLIENTS)))
        synced = any(call.kind == "sync" and call.outcome == "ok" for call in calls)
    await store.close()
    again = Store(MemoryDisk(disk.contents()))
    if synced and again.files():  # after an orderly end, the names are those that it had last
        calls.append(Call("names", next(clock), names=names_in(again), end=next(clock), outcome="ok"))
    await again.close()
    return calls


def test_histories_are_linearizable() -> None:
    kinds: set[tuple[str, str]] = set()
    for seed in range(SEEDS):
        calls = asyncio.run(asyncio.wait_for(history(seed), 60))
        kinds |= {(call.kind, call.outcome) for call in calls}
        assert is_linearizable(calls), f"seed {seed}: {calls}"
    assert {("append", "busy"), ("append", "unknown"), ("truncate", "invalid")} <= kinds
    assert {("look", "busy"), ("look", "ok"), ("sync", "ok"), ("sync", "busy"), ("sync", "invalid")} <= kinds
    assert {("rename", outcome) for outcome in ("ok", "exists", "not found")} <= kinds
    assert {("link", "ok"), ("unlink", "ok"), ("names", "ok")} <= kinds


def test_the_search_finds_what_does_not_fit() -> None:
    one = Call("append", 0, (1,), 1, outcome="ok")
    late = Call("look", 2, (), 3, found=(), outcome="ok")
    assert not is_linearizable([one, late])
    assert is_linearizable([one, Call("look", 0.5, (), 3, found=(), outcome="ok")])
    lost = Call("append", 0, (1,))
    assert is_linearizable([lost, late])
    assert is_linearizable([lost, Call("look", 2, (), 3, found=(1,), outcome="ok")])
    assert not is_linearizable([lost, Call("look", 2, (), 3, found=(1, 1), outcome="ok")])
    gone = Call("unlink", 2, (), 3, outcome="ok", old="file")
    moved = Call("rename", 2.5, (), 4, outcome="ok", old="file", new="a")
    assert not is_linearizable([gone, moved])
    assert is_linearizable([gone, Call("rename", 2.5, (), 4, outcome="not found", old="file", new="a")])
    assert not is_linearizable([moved, Call("names", 5, (), 6, outcome="ok", names=frozenset({"file"}))])
    assert is_linearizable([moved, Call("names", 3, (), 6, outcome="ok", names=frozenset({"file"}))])

"""Random histories of two tenants on a real core with few pages, a small host tier and a small disk, against a plain
model.

Operations overlap, wait for pages, are swapped, dropped, preempted, cancelled and lost; on a virtual clock, with random
step and move times. After every rule: files hold the model's tokens, every computed entry of every file is where its
page table says with exactly the content that it was computed with, and the books agree. At the end nothing is leaked.

    SYMPHONY_MACHINE_EXAMPLES=1200 pytest tests/core/test_core_machine.py -s      a longer run, with a random seed
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import providers
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from machine_model import FaultyEngine, Range, Shadow, VirtualStore
from naive_victims import watch

from symphony.core.config import CoreConfig
from symphony.core.core import Core
from symphony.core.depot import DiskLimits
from symphony.core.guess import TOP_SCORE
from symphony.core.messages import Chunk, GenerateOptions, Readings
from symphony.core.operation import Transfer
from symphony.engine.contents import Entry
from symphony.engine.messages import GREEDY
from symphony.errors import (
    Busy,
    Cancelled,
    Exists,
    InternalError,
    Invalid,
    LimitExceeded,
    NoSpace,
    NotFound,
    PermissionDenied,
    SymphonyError,
)
from symphony.sched.batch import BatchLimits
from symphony.sim.clock import VirtualLoop
from symphony.store.store import Store

T = TypeVar("T")
EXAMPLES = int(os.environ.get("SYMPHONY_MACHINE_EXAMPLES", "0"))
STEPS = 50
TENANTS = ("ann", "bob")
PATHS = ("/a", "/b", "/d/a", "/shared/a", "/shared/b")
PICK = st.integers(0, 1 << 16)
TOKENS = st.lists(st.integers(0, 1), min_size=1, max_size=13)  # two ids: prefixes meet often
FOLLOWED = Readings(sample=GREEDY, top_k=1)
LONGEST_WAIT = 20.0
"""Virtual seconds, in which there are a thousand of the slowest steps."""


@dataclass(eq=False)
class Job:
    """An operation in flight."""

    kind: str
    session: int
    handle: int
    op: int
    shadow: Shadow
    """The file that will change."""
    others: list[Shadow] = field(default_factory=list[Shadow])
    """Files that are busy for it."""
    base: int = 0
    """Tokens that stay if it is cancelled; a generation has delivered up to here."""
    entries: list[Entry] = field(default_factory=list[Entry])
    """The file's afterwards: of a prediction."""
    wanted: list[int] = field(default_factory=list[int])
    """What it should say."""
    finish: tuple[str, int | None] = ("length", None)
    """What a generation ends with."""
    notified: bool = False
    task: asyncio.Task[Any] | None = None
    transfer: Transfer | None = None
    indexes: list[int] = field(default_factory=list[int])
    faults: int = 0
    """Of the engine, when it started."""
    excused: bool = False
    """Whether it may fail for want of space."""
    ended: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Machine(RuleBasedStateMachine):
    seen: ClassVar[Counter[str]] = Counter()
    """What happened in all examples."""

    # ---- the beginning and the end -------------------------------------------------------------------------------
    @initialize(seed=PICK, size=st.sampled_from([2, 4]), host=st.sampled_from([0, 6, 12, 40]), debug=st.booleans())
    def start(self, seed: int, size: int, host: int, debug: bool) -> None:
        rng = random.Random(seed)
        self.loop = VirtualLoop()
        slow = rng.choice([0.0, 0.001, 0.02])
        self.engine = FaultyEngine(
            pages=rng.choice([13, 19]),
            page_size=size,
            host_pages=host,
            step_seconds=lambda _: rng.choice([0.0, 0.0005, slow]),
            move_seconds=lambda out, back: rng.choice([0.0, slow, 0.001 * (len(out) + len(back))]),
            pipelined=rng.random() < 0.5,
        )
        self.share = rng.choice([1.0, 1.0, 0.7])
        config = CoreConfig(
            batch=BatchLimits(tokens=rng.choice([5, 16, 100]), rows=rng.choice([2, 64])),
            clock=self.loop.time,
            wall_clock=self.loop.time,
            timer_resolution=0.0,
            tenant_page_share=self.share,
            tenant_slot_share=rng.choice([1.0, 0.7]),
            debug=debug,
            disk=DiskLimits(rng.choice([0, 9, 40]) * self.engine.info.image_bytes, rng.choice([1.0, 0.7])),
        )
        self.store = VirtualStore(lambda: rng.choice([0.0, slow, 0.003]))
        self.core = Core([self.engine], config, cast("Store", self.store))
        self.core.connect(self.deliver)
        watch(self.core, self.seen)
        self.arena = self.core._kvfs.arenas["fake"]
        self.limit = min(self.arena.tenant_pages, self.arena.pool.capacity)
        self.ids = iter(range(1, 1 << 30))
        self.jobs: dict[int, Job] = {}
        self.shadows: dict[Shadow, None] = {}
        self.sessions: dict[int, str] = {}
        self.handles: dict[tuple[int, int], Shadow] = {}
        self.pins: set[tuple[int, int]] = set()
        self.named: dict[tuple[str, str], Shadow] = {}
        self.locks: dict[int, tuple[int, Shadow]] = {}
        self.errors: list[BaseException] = []
        self.running = self.loop.create_task(self.core.run())
        if rng.random() < 0.7:  # whatever is measured
            self.core._loops["fake"]._prefilled = lambda seconds: None
            self.measure(rng.choice([0.0, 10.0, 10.0]))
        for tenant in (*TENANTS, "ann"):
            self.connect(tenant)
        for number in range(rng.randrange(1, 6)):
            self.create(number)
            self.pred(number, [rng.randrange(2) for _ in range(rng.randrange(1, 4 * size))], False, rng.random() < 0.5)

    def teardown(self) -> None:
        if not hasattr(self, "core"):
            return
        try:
            if sys.exc_info()[1] is None:  # the history went well
                self.finish()
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            with suppress(BaseException):
                self.run(self.running)
            self.run(asyncio.sleep(0))
            self.loop.close()

    def finish(self) -> None:
        """Nothing is left when everybody has gone."""
        self.engine.lose_steps = self.engine.lose_rows = self.engine.lose_moves = self.store.lose_writes = 0
        for job in list(self.jobs.values()):
            self.finish_job(job)
        self.compare()
        for session in list(self.sessions):
            self.end_session(session)
        for tenant, path in list(self.named):
            session = self.connect(self.named[tenant, path].tenant)
            self.run(self.core.unlink(session, path))
            self.lose_name(tenant, path)
            self.run(self.core.close_session(session))
        self.run(asyncio.sleep(1.0))
        self.core.check_integrity()
        assert not self.core._kvfs.files
        assert not self.shadows
        assert self.arena.available == self.arena.pool.capacity
        assert self.arena.free_slots == self.arena.host.capacity
        assert len(self.arena.disk.free) == self.arena.disk.capacity
        assert not self.arena.coming
        assert not self.core._loops["fake"].dying
        assert self.core.idle()
        self.run(self.core.close())
        self.run(self.running)
        assert not self.errors
        assert not self.engine.bugs
        self.count()

    def count(self) -> None:
        loop = self.core._loops["fake"]
        room = loop.room
        self.seen["guesses"] += loop.guessed
        self.seen["guesses that were right"] += loop.guessed_right
        self.seen["preemptions"] += room.preemptions
        self.seen["dropped"] += room.tiers.dropped_tokens
        self.seen["stowed"] += room.tiers.stowed_pages
        self.seen["recalled"] += room.tiers.recalled_pages
        self.seen["cleaned"] += room.tiers.cleaned_pages
        self.seen["saved"] += room.tiers.saved_pages
        self.seen["fetched"] += room.tiers.fetched_pages
        self.seen["model steps"] += self.engine.steps
        self.seen["launched ahead"] += self.engine.ahead
        self.seen["examples"] += 1

    # ---- tools ---------------------------------------------------------------------------------------------------
    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(coroutine)

    def deliver(self, op: int, answer: Any) -> None:
        job = self.jobs[op]
        try:
            self.delivered(job, answer)
        except BaseException as e:
            self.errors.append(e)
        job.changed.set()

    def delivered(self, job: Job, answer: Any) -> None:
        if job.kind == "generate":
            job.notified = True
            operation = self.core._sessions[job.session].operations[job.op]
            if operation.error is not None:  # type: ignore[attr-defined]
                self.check_failure(job, operation.error)  # type: ignore[attr-defined]
                self.end_generation(job)
        elif isinstance(answer, SymphonyError):
            self.check_failure(job, answer)
            self.end(job)
        else:
            assert [reading.sampled for reading in answer] == job.wanted
            job.shadow.become(job.entries)
            self.end(job)

    def check_failure(self, job: Job, error: BaseException) -> None:
        self.seen["failed"] += 1
        self.seen[type(error).__name__] += 1
        if isinstance(error, InternalError):
            assert self.engine.faults > job.faults, error
        else:
            assert isinstance(error, NoSpace), error
            assert job.excused or self.is_tight(), error

    def is_tight(self) -> bool:
        """Whether something may be impossible for want of space: K/V that cannot be dropped, pins."""
        return bool(self.pins) or any(s.derived or (isinstance(s.job, Job) and s.job.transfer) for s in self.shadows)

    def end(self, job: Job) -> None:
        job.ended = True
        del self.jobs[job.op]
        for shadow in (job.shadow, *job.others):
            shadow.job = None
            self.forget(shadow)

    def end_generation(self, job: Job) -> None:
        job.shadow.become(job.entries[: job.base])
        self.end(job)

    def forget(self, shadow: Shadow) -> None:
        if not shadow.opens and not shadow.names and shadow.job is None:
            self.shadows.pop(shadow, None)

    @contextmanager
    def refused(self, *kinds: type[SymphonyError] | None) -> Any:
        """One of these errors must come; None: or none."""
        try:
            yield
        except SymphonyError as e:
            if not isinstance(e, tuple(kind for kind in kinds if kind)):
                raise AssertionError(f"refused with {e!r}, not with {kinds}") from e
        else:
            assert None in kinds, f"not refused with {kinds}"

    def pick(self, pick: int) -> tuple[int, int, Shadow]:
        """(session, handle, shadow)."""
        (session, handle), shadow = list(self.handles.items())[pick % len(self.handles)]
        return session, handle, shadow

    def pick_session(self, pick: int) -> int:
        return list(self.sessions)[pick % len(self.sessions)]

    def root(self, session: int, path: str) -> tuple[str, str]:
        return ("shared" if path.startswith("/shared") else self.sessions[session]), path

    def connect(self, tenant: str) -> int:
        session = self.core.open_session(tenant, share=True)
        self.sessions[session] = tenant
        return session

    def real(self, session: int, handle: int) -> Any:
        return self.core._sessions[session].files[handle].file

    def admit(self, session: int, handle: int, shadow: Shadow) -> None:
        shadow.opens += 1
        self.shadows[shadow] = None
        self.handles[session, handle] = shadow

    def lose_handle(self, session: int, handle: int) -> None:
        """The model of closing a handle."""
        shadow = self.handles.pop((session, handle))
        self.pins.discard((session, handle))
        if not any(self.handles.get(key) is shadow for key in self.pins):
            shadow.resident = 0
        for job in list(self.jobs.values()):
            if (job.session, job.handle) == (session, handle):
                self.cancelled(job)
        shadow.opens -= 1
        self.forget(shadow)

    def cancelled(self, job: Job) -> None:
        self.seen["cancelled"] += 1
        if job.kind == "generate":
            self.end_generation(job)
        elif job.transfer is None:
            self.end(job)
        # a transfer ends when its task hears of it

    def lose_name(self, root: str, path: str) -> None:
        shadow = self.named.pop((root, path))
        shadow.names -= 1
        self.forget(shadow)

    def end_session(self, session: int) -> None:
        self.run(self.core.close_session(session))
        for key in [key for key in self.handles if key[0] == session]:
            self.lose_handle(*key)
        for lock, (owner, shadow) in list(self.locks.items()):
            if owner == session:
                del self.locks[lock], shadow.locks[lock]
        del self.sessions[session]
        self.settle()

    def settle(self) -> None:
        """Let everything happen that takes no time: what a rule does next meets what it has looked at."""
        for _ in range(10_000):
            due = self.loop._scheduled and self.loop._scheduled[0]._when <= self.loop.time() + 1e-9
            if not self.loop._ready and not due:
                return
            self.run(asyncio.sleep(0))
        raise AssertionError("something spins")

    def begin(self, job: Job) -> None:
        job.faults = self.engine.faults
        self.jobs[job.op] = job
        for shadow in (job.shadow, *job.others):
            shadow.job = job

    def finish_job(self, job: Job) -> None:
        """Run until it has ended."""
        deadline = self.loop.time() + LONGEST_WAIT
        while not job.ended:
            assert not self.errors, self.errors
            if job.notified:
                self.take_chunk(job)
                continue
            job.changed.clear()
            try:
                self.run(asyncio.wait_for(job.changed.wait(), deadline - self.loop.time()))
            except TimeoutError:
                raise AssertionError(f"{job.kind} waits for ever: {self.errors} {self.engine.bugs}") from None

    def take_chunk(self, job: Job) -> None:
        self.settle()
        if job.ended:
            return  # it has failed
        job.notified = False
        chunk: Chunk | None = self.run(self.core.next(job.session, job.op))
        assert chunk is not None
        assert chunk.tokens == [e.token for e in job.entries[job.base : job.base + len(chunk.tokens)]]
        job.base += len(chunk.tokens)
        assert (chunk.finish is not None) == (job.base == len(job.entries))
        if chunk.finish is not None:
            self.seen[f"generations that ended with {job.finish[0]}"] += 1
            assert chunk.finish == job.finish
            self.end_generation(job)

    def pages(self, entries: int) -> int:
        return -(-entries // self.engine.info.page_size)

    # ---- rules: what is grouped is drawn as one, so that most rules run the model -----------------------------------
    @rule(what=st.sampled_from(["create", "fork", "fork", "close"]), pick=PICK)
    def handle(self, what: str, pick: int) -> None:
        if what == "create" or len(self.handles) < 4:
            self.create(pick)
        elif what == "fork" and len(self.handles) < 12:
            self.fork(pick)
        else:
            self.close(pick)

    @precondition(lambda self: self.handles)
    @rule(
        what=st.sampled_from(["save", "save", "link", "open", "open", "rename", "unlink"]),
        pick=PICK,
        path=st.sampled_from(PATHS),
        new=st.sampled_from(PATHS),
        flag=st.booleans(),
    )
    def names(self, what: str, pick: int, path: str, new: str, flag: bool) -> None:
        match what:
            case "save":
                self.save(pick, path, flag)
            case "link":
                self.link(pick, path)
            case "open":
                self.open(pick, path, flag)
            case "rename":
                self.rename(pick, path, new)
            case _:
                self.unlink(pick, path)

    @precondition(lambda self: self.handles)
    @rule(
        what=st.sampled_from(["dont-need", "dont-need", "dont-need", "will-need", "resume", "pin", "unpin", "measure"]),
        pick=PICK,
        seconds=st.sampled_from([0.0, 1e-6, 10.0, 10.0]),
    )
    def tiers(self, what: str, pick: int, seconds: float) -> None:
        match what:
            case "resume":
                self.resume(pick)
            case "pin":
                self.pin(pick)
            case "unpin":
                self.unpin()
            case "measure":
                self.measure(seconds)
            case _:
                self.advise(pick, what)

    @precondition(lambda self: self.handles)
    @rule(what=st.sampled_from(["lock", "unlock"]), pick=PICK, shared=st.booleans())
    def locking(self, what: str, pick: int, shared: bool) -> None:
        if what == "lock":
            self.lock(pick, shared)
        else:
            self.unlock(pick)

    # ---- handles and names --------------------------------------------------------------------------------
    def create(self, pick: int) -> None:
        session = self.pick_session(pick)
        handle = self.run(self.core.create(session, None))
        self.admit(session, handle, Shadow(self.sessions[session], self.real(session, handle)))

    def close(self, pick: int) -> None:
        session, handle, _ = self.pick(pick)
        self.run(self.core.close_file(session, handle))
        self.lose_handle(session, handle)

    def fork(self, pick: int) -> None:
        session, handle, shadow = self.pick(pick)
        if shadow.job is not None:
            with self.refused(Busy):
                self.run(self.core.fork(session, handle))
            return
        number = self.run(self.core.fork(session, handle))
        self.admit(session, number, shadow.clone(self.sessions[session], self.real(session, number)))

    def save(self, pick: int, path: str, overwrite: bool) -> None:
        session, handle, shadow = self.pick(pick)
        root, _ = self.root(session, path)
        old = self.named.get((root, path))
        coroutine = self.core.save(session, handle, path, overwrite)
        if shadow.job is not None:
            with self.refused(Busy):
                self.run(coroutine)
        elif old is not None and not overwrite:
            with self.refused(Exists):
                self.run(coroutine)
        elif old is not None and old.tenant != shadow.tenant:
            with self.refused(PermissionDenied):
                self.run(coroutine)
        else:
            self.run(coroutine)
            if old is not None:
                self.lose_name(root, path)
            made = shadow.clone(shadow.tenant, self.find(session, path))
            made.everybody = root == "shared"
            self.name(root, path, made)

    def link(self, pick: int, path: str) -> None:
        session, handle, shadow = self.pick(pick)
        root, _ = self.root(session, path)
        with self.refused(Exists if (root, path) in self.named else None):
            self.run(self.core.link(session, handle, path))
            self.name(root, path, shadow)

    def find(self, session: int, path: str) -> Any:
        tree = self.core._tree
        return tree._spot(self.core._sessions[session].who, path).find()

    def name(self, root: str, path: str, shadow: Shadow) -> None:
        self.named[root, path] = shadow
        shadow.names += 1
        self.shadows[shadow] = None

    def open(self, pick: int, path: str, write: bool) -> None:
        session = self.pick_session(pick)
        tenant = self.sessions[session]
        shadow = self.named.get(self.root(session, path))
        coroutine = self.core.open(session, None, path, write=write)
        if shadow is None:
            with self.refused(NotFound):
                self.run(coroutine)
        elif shadow.tenant != tenant and (write or not shadow.everybody):
            with self.refused(PermissionDenied):
                self.run(coroutine)
        else:
            with self.refused(None, *((Busy,) if not write and shadow.derived and shadow.job else ())):
                handle = self.run(coroutine)
                self.admit(session, handle, shadow if write else shadow.clone(tenant, self.real(session, handle)))

    def rename(self, pick: int, old: str, new: str) -> None:
        session = self.pick_session(pick)
        source, target = self.root(session, old), self.root(session, new)
        shadow = self.named.get(source)
        kinds = [
            NotFound if shadow is None else None,
            Exists if target in self.named else None,
            PermissionDenied if shadow is not None and shadow.tenant != self.sessions[session] else None,
        ]
        with self.refused(*([kind for kind in kinds if kind] or [None])):
            self.run(self.core.rename(session, old, new))
            self.named[target] = self.named.pop(source)

    def unlink(self, pick: int, path: str) -> None:
        session = self.pick_session(pick)
        key = self.root(session, path)
        shadow = self.named.get(key)
        kind: Any = NotFound if shadow is None else None
        if shadow is not None and shadow.tenant != self.sessions[session]:
            kind = PermissionDenied
        with self.refused(kind):
            self.run(self.core.unlink(session, path))
            self.lose_name(*key)

    @rule(pick=PICK)
    def kill(self, pick: int) -> None:
        session = self.pick_session(pick)
        tenant = self.sessions[session]
        if len(self.jobs) > 2:  # not too often
            self.end_session(session)
            self.connect(tenant)

    # ---- rules: contents -----------------------------------------------------------------------------------------
    @precondition(lambda self: self.handles)
    @rule(pick=PICK, tokens=TOKENS, middle=st.booleans(), wait=st.booleans())
    def pred(self, pick: int, tokens: list[int], middle: bool, wait: bool) -> None:
        session, handle, shadow = self.pick(pick)
        op = next(self.ids)
        outputs = [0, len(tokens) - 1] if middle and len(tokens) > 1 else [len(tokens) - 1]
        coroutine = self.core.pred(session, handle, op, tokens, outputs, Readings(sample=GREEDY))
        if shadow.job is not None:
            with self.refused(Busy):
                self.run(coroutine)
            return
        entries = shadow.after(tokens)
        before = len(shadow.entries)
        wanted = [self.engine.greedy_after(entries[: before + i + 1]) for i in outputs]
        self.start_op(Job("pred", session, handle, op, shadow, entries=entries, wanted=wanted), coroutine, wait)

    @precondition(lambda self: self.handles)
    @rule(pick=PICK, count=st.integers(1, 5), right=st.booleans(), wait=st.booleans())
    def follow(self, pick: int, count: int, right: bool, wait: bool) -> None:
        """Choose the most probable token again and again, which the core guesses; the last one may be another."""
        session, handle, shadow = self.pick(pick)
        self.core._sessions[session].files[handle].score = TOP_SCORE
        for left in reversed(range(count)):
            if shadow.job is not None or not shadow.entries:
                return
            token = self.engine.greedy_after(shadow.entries) if left or right else 0
            entries = shadow.after([token])
            op = next(self.ids)
            coroutine = self.core.pred(session, handle, op, [token], (0,), FOLLOWED)
            job = Job("pred", session, handle, op, shadow, entries=entries, wanted=[self.engine.greedy_after(entries)])
            self.start_op(job, coroutine, wait or left > 0)

    @precondition(lambda self: self.handles)
    @rule(pick=PICK, wait=st.booleans())
    def ask_again(self, pick: int, wait: bool) -> None:
        session, handle, shadow = self.pick(pick)
        op = next(self.ids)
        coroutine = self.core.pred(session, handle, op, (), (0,), Readings(sample=GREEDY))
        if shadow.job is not None or not shadow.entries:
            with self.refused(Busy if shadow.entries else Invalid):
                self.run(coroutine)
            return
        wanted = [self.engine.greedy_after(shadow.entries)]
        entries = list(shadow.entries)
        self.start_op(Job("pred", session, handle, op, shadow, entries=entries, wanted=wanted), coroutine, wait)

    @precondition(lambda self: self.handles)
    @rule(pick=PICK, tokens=TOKENS, count=st.integers(1, 15), chunk=st.integers(1, 8), stop=PICK, wait=st.booleans())
    def generate(self, pick: int, tokens: list[int], count: int, chunk: int, stop: int, wait: bool) -> None:
        session, handle, shadow = self.pick(pick)
        op = next(self.ids)
        entries = shadow.after(tokens)
        base = len(entries)
        grown = Shadow(shadow.tenant, None, entries)
        for _ in range(count):
            grown.entries = grown.after([self.engine.greedy_after(grown.entries)])
        stops: list[int] = []
        if stop % 2:
            drawn = [entry.token for entry in grown.entries[base:]]
            stops = [drawn[stop // 2 % count]]
            grown.cut(base + drawn.index(stops[0]) + 1)
        options = GenerateOptions(max_tokens=count, chunk_tokens=chunk, stop_tokens=stops)
        coroutine = self.core.generate(session, handle, op, tokens, options)
        if shadow.job is not None:
            with self.refused(Busy):
                self.run(coroutine)
            return
        job = Job("generate", session, handle, op, shadow, base=base, entries=grown.entries)
        job.finish = ("stop-token", stops[0]) if stops else ("length", None)
        self.start_op(job, coroutine, wait, min(base + self.arena.page_size, base + count - 1))

    def start_op(self, job: Job, coroutine: Coroutine[Any, Any, None], wait: bool, reach: int = 0) -> None:
        """`reach`: entries for which it wants pages at first, whatever it turns out to need."""
        job.excused = self.pages(max(len(job.entries), reach)) > self.limit
        self.begin(job)
        self.run(coroutine)
        if wait and not job.ended:
            self.finish_job(job)

    @precondition(lambda self: self.handles)
    @rule(pick=PICK, where=PICK)
    def truncate(self, pick: int, where: int) -> None:
        session, handle, shadow = self.pick(pick)
        length = where % (len(shadow.entries) + 1)
        with self.refused(Busy if shadow.job is not None else None):
            self.run(self.core.truncate(session, handle, length))
            shadow.cut(length)
            shadow.resident = min(shadow.resident, length)

    @precondition(lambda self: self.handles)
    @rule(pick=PICK, cuts=st.lists(PICK, min_size=2, max_size=4), rebase=st.booleans(), wait=st.booleans())
    def extract(self, pick: int, cuts: list[int], rebase: bool, wait: bool) -> None:
        session, handle, shadow = self.pick(pick)
        places = [cut % (len(shadow.entries) + 1) for cut in cuts]
        if pick % 4:
            places.sort()
        ranges: list[Range] = list(zip(places[::2], places[1::2], strict=False))
        fine = all(a <= b for a, b in ranges)
        entries = shadow.parts(ranges, rebase) if fine else None
        coroutine = self.core.extract(session, handle, ranges, rebase)
        if shadow.job is not None or entries is None:
            with self.refused(Busy if shadow.job is not None else Invalid):
                self.run(coroutine)
            return
        if not entries:
            number = self.run(coroutine)
            self.admit(session, number, Shadow(self.sessions[session], self.real(session, number)))
            return
        indexes = [i for start, end in ranges for i in range(start, end)]
        made = Shadow(self.sessions[session], None)
        job = Job("extract", session, handle, next(self.ids), made, [shadow], entries=entries, indexes=indexes)
        self.start_transfer(job, coroutine, shadow, wait)

    @precondition(lambda self: self.handles)
    @rule(pick=PICK, other=PICK, cuts=st.tuples(PICK, PICK), wait=st.booleans())
    def append_from(self, pick: int, other: int, cuts: tuple[int, int], wait: bool) -> None:
        session, handle, shadow = self.pick(pick)
        mine = [number for owner, number in self.handles if owner == session]
        number = mine[other % len(mine)]
        source = self.handles[session, number]
        start, end = sorted(cut % (len(source.entries) + 1) for cut in cuts)
        coroutine = self.core.append_from(session, handle, number, start, end)
        if shadow.job is not None or source.job is not None:
            with self.refused(Busy):
                self.run(coroutine)
            return
        if start == end:
            self.run(coroutine)
            return
        entries = source.renumbered(start, end, shadow.position)
        others = [] if source is shadow else [source]
        job = Job("append", session, handle, next(self.ids), shadow, others, entries=entries)
        job.indexes = list(range(start, end))
        self.start_transfer(job, coroutine, source, wait)

    def start_transfer(self, job: Job, coroutine: Coroutine[Any, Any, Any], source: Shadow, wait: bool) -> None:
        self.begin(job)
        before = set(self.core._sessions[job.session].operations)
        job.excused = True
        job.task = self.loop.create_task(coroutine)
        job.task.add_done_callback(lambda task: self.transferred(job, source, task))
        while not job.ended and not set(self.core._sessions[job.session].operations) - before:
            assert not self.errors, self.errors
            self.run(asyncio.sleep(1e-4 if self.core._loops["fake"].dying else 0))
        if not job.ended:
            [op] = set(self.core._sessions[job.session].operations) - before
            transfer = self.core._sessions[job.session].operations[op]
            assert isinstance(transfer, Transfer)
            job.transfer = transfer
            job.shadow.real = transfer.target
        if wait and not job.ended:
            self.finish_job(job)

    def transferred(self, job: Job, source: Shadow, task: asyncio.Task[Any]) -> None:
        try:
            error = task.exception()
            if isinstance(error, Cancelled):
                assert (job.session, job.handle) not in self.handles
            elif error is not None:
                self.check_failure(job, error)
            else:
                self.seen["landed"] += 1
                job.shadow.graft(source, job.indexes, job.entries)
                if job.kind == "extract":
                    job.shadow.real = self.real(job.session, task.result())
                    self.admit(job.session, task.result(), job.shadow)
            self.end(job)
        except BaseException as e:
            self.errors.append(e)
        job.changed.set()

    # ---- rules: operations in flight, time, faults ---------------------------------------------------------------
    @precondition(lambda self: self.jobs)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        job = list(self.jobs.values())[pick % len(self.jobs)]
        if job.transfer is not None:
            self.run(self.core.close_file(job.session, job.handle))
            self.lose_handle(job.session, job.handle)
            self.settle()
        else:
            self.run(self.core.cancel(job.session, job.op))
            if not job.ended:
                self.cancelled(job)

    @precondition(lambda self: self.jobs)
    @rule(pick=PICK)
    def wait_for(self, pick: int) -> None:
        self.finish_job(list(self.jobs.values())[pick % len(self.jobs)])

    @precondition(lambda self: any(job.notified for job in self.jobs.values()))
    @rule()
    def chunk(self) -> None:
        self.take_chunk(next(job for job in self.jobs.values() if job.notified))

    @rule(seconds=st.sampled_from([0.0, 0.0003, 0.001, 0.01, 0.05]))
    def let_time_pass(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    def measure(self, seconds: float) -> None:
        """Computing a token is found to take so long: K/V is dropped, or moved."""
        self.arena.costs.token_seconds = seconds

    @precondition(lambda self: self.jobs)
    @rule(what=st.sampled_from(["step", "row", "move", "step", "row", "write"]), pick=PICK)
    def lose(self, what: str, pick: int) -> None:
        if pick % 3:
            return  # not too often
        if what == "step":
            self.engine.lose_steps = 1
        elif what == "row":
            self.engine.lose_rows = 1
        elif what == "write":
            self.store.lose_writes = 1
        elif not pick % 4:
            self.engine.lose_moves = 1

    # ---- rules: tiers, pins, locks -------------------------------------------------------------------------------
    def advise(self, pick: int, what: str) -> None:
        session, handle, _ = self.pick(pick)
        self.run(self.core.advise(session, handle, what))

    def resume(self, pick: int) -> None:
        self.core.resume(self.pick_session(pick))

    def pin(self, pick: int) -> None:
        session, handle, _ = self.pick(pick)
        with self.refused(None, LimitExceeded):
            self.run(self.core.pin(session, handle))
            self.pins.add((session, handle))

    def unpin(self) -> None:
        if not self.pins:
            return
        key = min(self.pins)
        self.run(self.core.unpin(*key))
        self.pins.discard(key)
        self.handles[key].resident = 0

    def lock(self, pick: int, shared: bool) -> None:
        session, handle, shadow = self.pick(pick)
        free = not shadow.locks or (shared and all(shadow.locks.values()))
        with self.refused(None if free else Busy):
            number = self.run(self.core.try_lock(session, handle, shared))
            self.locks[number] = session, shadow
            shadow.locks[number] = shared

    def unlock(self, pick: int) -> None:
        if not self.locks:
            return
        number = list(self.locks)[pick % len(self.locks)]
        session, shadow = self.locks.pop(number)
        self.run(self.core.unlock(session, number))
        del shadow.locks[number]

    # ---- what must always hold -----------------------------------------------------------------------------------
    @invariant()
    def compare(self) -> None:
        self.seen["steps"] += 1
        if not hasattr(self, "core"):
            return
        self.settle()
        assert not self.errors, self.errors
        assert not self.engine.bugs, self.engine.bugs
        assert not self.running.done(), self.running
        self.core.check_integrity()
        loop, kvfs = self.core._loops["fake"], self.core._kvfs
        for shadow in self.shadows:
            if shadow.real is not None:
                self.check_file(shadow, shadow.real in loop.dying)
        for files in self.core._sessions.values():
            for handle in files.files.values():
                assert handle.file in kvfs.files
        unknown = set(kvfs.files) - {shadow.real for shadow in self.shadows}
        unknown -= {job.shadow.real for job in self.jobs.values()}  # being made
        assert all(file.busy and not file.opens and not file.names for file in unknown)
        assert not unknown or self.jobs or loop.dying
        self.seen["shared"] += sum(count > 1 for count in self.arena.pool.refs)
        own = [
            {page for s in self.shadows if s.tenant == tenant and not s.mixed and s.real for page in s.real.pages}
            for tenant in TENANTS
        ]
        assert not own[0] & own[1], "tenants share pages although neither opened a file of the other"
        for tenant in TENANTS:
            if not any(s.mixed for s in self.shadows if s.tenant == tenant):  # nor has inherited a charge
                assert self.arena.pool.used.get(tenant, 0) <= self.arena.tenant_pages
                assert self.arena.host.used.get(tenant, 0) <= self.arena.tenant_slots
        assert kvfs.pinned_pages(self.arena) <= self.arena.pool.capacity // 2

    def check_file(self, shadow: Shadow, dying: bool) -> None:
        file, entries = shadow.real, shadow.entries
        if not dying:
            assert file.length == len(entries)
            assert file.tokens[: file.length].tolist() == shadow.tokens
            if shadow.job is None:
                assert (file.length if file.derived is None else file.derived) == shadow.plain
                assert [file.position(i) for i in range(len(entries) + 1)] == [
                    *[entry.position for entry in entries],
                    shadow.position,
                ]
        size, places = self.engine.info.page_size, file.slots or file.pages
        for index in range(min(file.computed, file.length, len(entries))):
            found = self.engine.entry(places[index // size], index % size, bool(file.slots))
            assert found == entries[index], f"entry {index} is {found}, not {entries[index]}"
        if file.pins and not self.engine.faults:
            resident = 0 if file.slots else min(file.computed, file.length)
            assert resident >= shadow.resident, "pinned K/V left the device"
            shadow.resident = resident


@pytest.fixture(scope="module", autouse=True)
def same_draws() -> Iterator[None]:
    """Hypothesis tries numbers that it finds in the modules there are, and those depend on what ran before in the same
    process. Without them every run is the same."""
    with pytest.MonkeyPatch.context() as patch:
        providers.CONSTANTS_CACHE.cache.clear()
        patch.setattr(providers, "_get_local_constants", providers.Constants)
        yield
    providers.CONSTANTS_CACHE.cache.clear()


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=EXAMPLES or 300,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=not EXAMPLES,
    database=None,
    print_blob=True,
)


def test_that_was_enough() -> None:
    """Runs after the machine; on its own there is nothing to say."""
    seen = Machine.seen
    if not seen:
        pytest.skip("the machine did not run")
    print(dict(sorted(seen.items())))
    assert seen["steps"] >= 10_000
    assert seen["launched ahead"] >= 250
    assert seen["guesses that were right"] >= 50
    assert seen["generations that ended with stop-token"] >= 100
    for what in ("recalled", "stowed", "cleaned", "dropped", "landed", "failed"):
        assert seen[what] >= 100, what
    assert seen["saved"] >= 300
    assert seen["fetched"] >= 30
    assert seen["preemptions"] >= 10

"""Who may do what: every operation by the owner, the same tenant and another tenant, under every mode that matters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from core_harness import Host, run

from symphony.core.messages import GenerateOptions, mode_of
from symphony.errors import Invalid, NotFound, PermissionDenied

PROMPT = list(range(20))
READ, WRITE = 1, 2
PEOPLE = {"owner": ("ann", "ann"), "tenant": ("ann", "ben"), "other": ("eve", "eve")}

Call = Callable[[Host, int, int], Awaitable[Any]]


async def pred(h: Host, s: int, f: int) -> None:
    await h.pred(s, f, [1])


async def generate(h: Host, s: int, f: int) -> None:
    await h.core.generate(s, f, op := next(h.ids), [1], GenerateOptions(max_tokens=1))
    await h.core.cancel(s, op)


async def lock_shared(h: Host, s: int, f: int) -> None:
    await h.core.unlock(s, await h.core.lock(s, f, next(h.ids), True))


async def lock_exclusive(h: Host, s: int, f: int) -> None:
    await h.core.unlock(s, await h.core.try_lock(s, f, False))


async def append_from_it(h: Host, s: int, f: int) -> None:
    await h.core.append_from(s, await h.core.create(s, None), f, 2, 5)


async def append_to_it(h: Host, s: int, f: int) -> None:
    source = await h.core.create(s, None)
    await h.pred(s, source, PROMPT)
    await h.core.append_from(s, f, source, 2, 5)


#: What a handle that was opened with write can be used for, and the rights that it takes.
USES: dict[str, tuple[int, Call]] = {
    "length": (0, lambda h, s, f: h.core.length(s, f)),
    "stat": (0, lambda h, s, f: h.core.stat(s, f)),
    "tokens": (READ, lambda h, s, f: h.core.tokens(s, f, 0, 1)),
    "fork": (READ, lambda h, s, f: h.core.fork(s, f)),
    "save": (READ, lambda h, s, f: h.core.save(s, f, "/copy", True)),
    "lock_shared": (READ, lock_shared),
    "lock_exclusive": (WRITE, lock_exclusive),
    "truncate": (WRITE, lambda h, s, f: h.core.truncate(s, f, 1)),
    "extract": (READ, lambda h, s, f: h.core.extract(s, f, [(3, 9)], True)),
    "append_from_it": (READ, append_from_it),
    "append_to_it": (READ | WRITE, append_to_it),
    "pin": (0, lambda h, s, f: h.core.pin(s, f)),
    "advise": (0, lambda h, s, f: h.core.advise(s, f, "dont-need")),
    "set_ttl": (WRITE, lambda h, s, f: h.core.set_ttl(s, f, 5)),
    "pred": (READ | WRITE, pred),
    "generate": (READ | WRITE, generate),
}

#: What can be done to a name.
NAMES: dict[str, tuple[int, Callable[[Host, int, str], Awaitable[Any]]]] = {
    "stat_path": (0, lambda h, s, path: h.core.stat_path(s, path)),
    "open": (READ, lambda h, s, path: h.core.open(s, None, path)),
    "open_write": (READ | WRITE, lambda h, s, path: h.core.open(s, None, path, write=True)),
    "unlink": (WRITE, lambda h, s, path: h.core.unlink(s, path)),
    "rename": (WRITE, lambda h, s, path: h.core.rename(s, path, "/shared/new")),
    "replace": (WRITE, lambda h, s, path: replace(h, s, path)),
}


async def replace(h: Host, s: int, path: str) -> None:
    await h.core.save(s, await h.core.create(s, None), path, True)


async def shared_file(h: Host) -> tuple[int, int]:
    """Ann's session and her file, /shared/x."""
    ann = h.core.open_session("ann", "ann", share=True)
    f = await h.core.create(ann, None)
    await h.pred(ann, f, PROMPT)
    await h.core.link(ann, f, "/shared/x")
    return ann, f


def bits(who: str, rights: int) -> frozenset[str]:
    return frozenset(f"{who}-{name}" for bit, name in ((READ, "read"), (WRITE, "write")) if rights & bit)


async def attempt(allowed: bool, who: str, wanted: int, call: Callable[[], Awaitable[Any]]) -> None:
    if allowed:
        await call()
        return
    with pytest.raises(PermissionDenied) as caught:
        await call()
    whose = {"owner": "is yours", "tenant": "belongs to ann", "other": "belongs to another tenant"}[who]
    assert whose in caught.value.message
    assert f"{who}-" in caught.value.hint
    if who == "other":
        assert "ann" not in str(caught.value), "not whose it is"


@pytest.mark.parametrize("rights", range(4))
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("who", PEOPLE)
@run
async def test_uses_of_a_handle(who: str, use: str, rights: int) -> None:
    """Opened when everybody might do everything; then the mode is changed to `rights` for them and all for the rest."""
    wanted, call = USES[use]
    async with Host() as h:
        ann, f = await shared_file(h)
        everything = bits("owner", 3) | bits("tenant", 3) | bits("other", 3)
        await h.core.set_mode(ann, f, mode_of(everything))
        s = h.core.open_session(*PEOPLE[who], share=True)
        mine = await h.core.open(s, None, "/shared/x", write=True)
        await h.core.set_mode(ann, f, mode_of(everything - bits(who, 3) | bits(who, rights)))
        await attempt(wanted & rights == wanted, who, wanted, lambda: call(h, s, mine))


@pytest.mark.parametrize("rights", range(4))
@pytest.mark.parametrize("use", NAMES)
@pytest.mark.parametrize("who", PEOPLE)
@run
async def test_uses_of_a_name(who: str, use: str, rights: int) -> None:
    wanted, call = NAMES[use]
    async with Host() as h:
        ann, f = await shared_file(h)
        everything = bits("owner", 3) | bits("tenant", 3) | bits("other", 3)
        await h.core.set_mode(ann, f, mode_of(everything - bits(who, 3) | bits(who, rights)))
        s = h.core.open_session(*PEOPLE[who], share=True)
        await attempt(wanted & rights == wanted, who, wanted, lambda: call(h, s, "/shared/x"))


@pytest.mark.parametrize("use", [*NAMES, "list", "glob", "mkdir"])
@run
async def test_the_tree_of_another_tenant_is_not_there(use: str) -> None:
    """What is not there and what is somebody else's answer alike."""
    calls = {name: call for name, (_, call) in NAMES.items()}
    calls["list"] = lambda h, s, path: h.core.list(s, path)
    calls["glob"] = lambda h, s, path: h.core.glob(s, path)
    calls["mkdir"] = lambda h, s, path: h.core.mkdir(s, path)
    async with Host() as h:
        ann = h.core.open_session("ann")
        f = await h.core.create(ann, None)
        await h.core.link(ann, f, "/x")
        await h.core.set_mode(ann, f, 0b111111)
        eve = h.core.open_session("eve", share=True)
        answers = []
        for path in ("/x", "/not-there"):
            try:
                answers.append(await calls[use](h, eve, path))
            except NotFound as e:
                answers.append(str(e).replace(path, "PATH"))
        assert answers[0] == answers[1]
        assert (await h.core.stat_path(ann, "/x")).owner == "ann"


@pytest.mark.parametrize("who", PEOPLE)
@run
async def test_the_owner_alone_changes_the_mode(who: str) -> None:
    async with Host() as h:
        ann, f = await shared_file(h)
        await h.core.set_mode(ann, f, 0b111111)
        s = h.core.open_session(*PEOPLE[who], share=True)
        mine = await h.core.open(s, None, "/shared/x", write=True)
        if who == "owner":
            await h.core.set_mode(s, mine, 0)
            assert (await h.core.stat_path(ann, "/shared/x")).mode == 0
            await h.core.set_mode(s, mine, 0b111111)
            return
        with pytest.raises(PermissionDenied, match="belongs to") as caught:
            await h.core.set_mode(s, mine, 0b111111)
        assert "only its owner" in caught.value.hint
        await h.core.set_mode(s, await h.core.fork(s, mine), 0)


@run
async def test_a_copy_belongs_to_who_made_it_whatever_becomes_of_the_file() -> None:
    async with Host() as h:
        ann, f = await shared_file(h)
        eve = h.core.open_session("eve")
        copy = await h.core.open(eve, None, "/shared/x") if await readable(h, ann, f) else 0
        await h.core.set_mode(ann, f, 0)
        await h.pred(eve, copy, [5])
        assert await h.contents(eve, copy) == [*PROMPT, 5]
        stat = await h.core.stat(eve, copy)
        assert (stat.tenant, stat.owner, stat.names) == ("eve", "eve", 0)
        with pytest.raises(PermissionDenied, match="is yours, but its mode"):
            await h.pred(ann, f, [1])


async def readable(h: Host, session: int, file: int) -> bool:
    await h.core.set_mode(session, file, mode_of(bits("owner", 3) | bits("other", READ)))
    return True


@run
async def test_what_is_in_flight_goes_on_when_the_mode_changes() -> None:
    async with Host() as h:
        ann, f = await shared_file(h)
        await h.core.set_mode(ann, f, 0b111111)
        eve = h.core.open_session("eve", share=True)
        place = await h.core.open(eve, None, "/shared/x", write=True)
        op = await h.start_pred(eve, place, [1])
        await h.core.set_mode(ann, f, 0b000011)
        assert len(await h.arrival(op)) == 1
        assert await h.core.length(ann, f) == len(PROMPT) + 1
        with pytest.raises(PermissionDenied):
            await h.start_pred(eve, place, [1])


@run
async def test_pages_of_a_shared_file_are_not_computed_again() -> None:
    async with Host() as h:
        await shared_file(h)
        eve = h.core.open_session("eve")
        with pytest.raises(PermissionDenied):
            await h.core.open(eve, None, "/shared/x")  # linked with the mode that it had
        ann = h.core.open_session("ann", "ann", share=True)
        await h.core.save(ann, await h.core.open(ann, None, "/shared/x"), "/shared/y", False)
        copy = await h.core.open(eve, None, "/shared/y")
        await h.pred(eve, copy, [7])
        assert h.core.usage(eve).prompt_tokens == 1
        fresh = await h.core.create(eve, None)
        await h.pred(eve, fresh, PROMPT)
        assert h.core.usage(eve).prompt_tokens == 1 + len(PROMPT), "the prefix cache is each tenant's own"
        assert h.core.usage(eve).reused_tokens == 0


def test_bits_that_there_are_not() -> None:
    with pytest.raises(Invalid, match="no bit group-read"):
        mode_of(frozenset({"owner-read", "group-read"}))

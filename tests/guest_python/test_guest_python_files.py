"""Files of the SDK: names, modes, times to live, locks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from fake_host import FakeHost

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def test_a_stat_in_words(lip: Any, host: FakeHost) -> None:
    ctx = lip.Context()
    stat = ctx.stat()
    assert (stat.tier, stat.mode, stat.tenant, stat.owner, stat.ttl) == ("device", "rwr---", "local", "me", None)
    host.names["/x"] = [1, 2]
    assert (lip.fs.stat("/x").mode, lip.fs.stat("/x").ttl, lip.fs.stat("/x").length) == ("------", 60, 2)


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({}, "rwr---"),
        ({"tenant": "rw"}, "rwrw--"),
        ({"tenant": ""}, "rw----"),
        ({"owner": "r", "other": "r"}, "r-r-r-"),
        ({"owner": "wr", "tenant": "w", "other": ""}, "rw-w--"),
    ],
)
def test_chmod_changes_what_is_named(lip: Any, host: FakeHost, changes: dict[str, str], mode: str) -> None:
    ctx = lip.Context()
    ctx.chmod(**changes)
    assert ctx.stat().mode == mode


def test_chmod_and_ttl_refuse_what_they_do_not_know(lip: Any, host: FakeHost) -> None:
    ctx = lip.Context()
    with pytest.raises(lip.Invalid, match="owner='x'"):
        ctx.chmod(owner="x")
    with pytest.raises(lip.Invalid, match="ttl"):
        ctx.ttl("long")
    ctx.ttl(5)
    assert ctx.stat().ttl == 5
    ctx.ttl(None)
    assert ctx.stat().ttl is None


def test_link_names_the_file_itself_once_it_is_computed(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> None:
        ctx = lip.Context().feed("ab")
        await ctx.link("/x")

    run(app())
    assert host.fed == ["ab"]
    assert host.names["/x"] is host.files[0].ids
    lip.fs.link("/x", "/y")
    assert host.files[-1].closed
    assert lip.fs.glob("/?") == ["/x", "/y"]


def test_a_lock_is_awaited_or_entered(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> None:
        ctx = lip.Context()
        async with ctx.lock():
            assert host.locks[0].is_held
        lock = await ctx.lock(shared=True)
        assert lock.held
        lock.release()
        lock.release()
        assert not lock.held
        task = asyncio.create_task(waits(ctx))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        ctx.try_lock()

    async def waits(ctx: Any) -> None:
        async with ctx.lock():
            raise AssertionError("cancelled before its turn")

    run(app())
    kinds = host.kvfs.LockKind
    assert [lock.kind for lock in host.locks] == [kinds.EXCLUSIVE, kinds.SHARED, kinds.EXCLUSIVE, kinds.EXCLUSIVE]
    assert all(lock.dropped for lock in host.locks), "the last one went with its last reference"
    assert host.open_pollables == 1, "the context's own"


def test_the_line_is_joined_when_lock_is_called(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> list[int]:
        ctx = lip.Context()
        done: list[int] = []

        async def one(number: int, lock: Any) -> None:
            async with lock:
                done.append(number)

        locks = [ctx.lock() for _ in range(3)]
        await asyncio.gather(*(one(number, lock) for number, lock in enumerate(locks)))
        return done

    assert run(app()) == [0, 1, 2]


def test_extract_and_append_compute_what_is_buffered_first(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> list[Any]:
        ctx = lip.Context().feed("abcdef")
        part = ctx.extract([(0, 2), (4, 6)], rebase=True)
        ctx.feed("gh")
        other = lip.Context().feed("xy")
        other.append(part, 1, 3)
        other.append(ctx)
        return [lip.decode(part.tokens()), lip.decode(other.tokens()), ctx.extract([], rebase=False).tokens()]

    assert run(app()) == ["abef", "xybeabcdefgh", []]
    assert host.fed == ["abcdef", "xy", "gh"]
    assert host.extracted == [True, False]


def test_what_is_appended_after_turns_is_the_reply(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> str:
        said = lip.Context().feed("Hello.")
        ctx = lip.Context()
        ctx.user("Hi")
        ctx.append(said)
        ctx.user("Bye")
        await ctx.flush()
        return lip.decode(ctx.tokens())

    text = run(app())
    assert text.endswith(
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
    )


def test_pins_and_advice(lip: Any, host: FakeHost) -> None:
    ctx = lip.Context()
    ctx.pin()
    assert host.files[0].pinned
    ctx.unpin()
    assert not host.files[0].pinned
    ctx.advise("will-need")
    ctx.advise("dont-need")
    assert host.advice == [host.kvfs.Advice.WILL_NEED, host.kvfs.Advice.DONT_NEED]
    with pytest.raises(lip.Invalid, match="'maybe'"):
        ctx.advise("maybe")
    with pytest.raises(lip.Invalid, match="extract: a start is -1"):
        ctx.extract([(-1, 2)])

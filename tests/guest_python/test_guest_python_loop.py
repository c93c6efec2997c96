"""The event loop: everything of asyncio that programs use, over one poll."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fake_host import FakeHost

Run = Callable[..., Any]


def test_gather_waits_in_one_poll(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> list[Any]:
        contexts = [lip.Context() for _ in range(5)]
        return await asyncio.gather(*(ctx.pred("abc") for ctx in contexts))

    assert [dist.argmax() for dist in run(app())] == [65] * 5
    assert host.polled[0] == 5, "the first poll waits for all"


def test_sleeps_overlap_and_share_one_timer(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.gather(asyncio.sleep(0.3), asyncio.sleep(0.1), lip.sleep(0.2))
        return loop.time() - start

    assert run(app()) == pytest.approx(0.3)
    assert max(host.polled) == 1


def test_timeout_and_wait_for(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.sleep(9)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.1)
        return await asyncio.wait_for(asyncio.sleep(0.01, "in time"), 1)

    assert run(app()) == "in time"


def test_queue_and_task_group(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue(1)
        got: list[int] = []

        async def produce() -> None:
            for i in range(3):
                await queue.put(i)

        async def consume() -> None:
            for _ in range(3):
                got.append(await queue.get())

        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            group.create_task(consume())
        return got

    assert run(app()) == [0, 1, 2]


def test_a_failing_task_cancels_its_group(lip: Any, host: FakeHost, run: Run) -> None:
    cancelled: list[int] = []

    async def waits() -> None:
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    async def fails() -> None:
        await asyncio.sleep(0.1)
        raise KeyError("x")

    async def app() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(waits())
            group.create_task(fails())

    with pytest.raises(ExceptionGroup):
        run(app())
    assert cancelled == [1]


def test_a_spinner_does_not_hold_up_the_others(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> int:
        turns = 0
        task = asyncio.create_task(lip.Context().pred("a"))
        while not task.done():
            turns += 1
            await asyncio.sleep(0)
            host.now += 1
            if host.flight and turns > 10:
                host.flight.pop(0).complete()
        return turns

    assert 10 < run(app()) < 500


def test_one_that_always_computes_lets_the_others_run(lip: Any, host: FakeHost, run: Run) -> None:
    order: list[str] = []

    async def chooses(name: str) -> None:
        ctx = lip.Context()
        for _ in range(3):
            await ctx.pred("a")
            order.append(name)

    async def app() -> None:
        await asyncio.gather(chooses("a"), chooses("b"))

    run(app())
    assert sorted(order[:4]) == ["a", "a", "b", "b"]


def test_cancelling_oneself_reaches_the_next_wait(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await lip.Context().pred("a")

    with pytest.raises(asyncio.CancelledError):
        run(app())
    assert len(host.dropped) == 1


def test_a_deadlock_is_an_error(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="every task of the program waits"):
        run(app())


def test_what_is_left_behind_is_cancelled(lip: Any, host: FakeHost, run: Run) -> None:
    ended: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append("finally")

    async def app() -> str:
        task = asyncio.create_task(background())
        await asyncio.sleep(0)
        return task.get_name() and "done"

    assert run(app()) == "done"
    assert ended == ["finally"]
    assert host.now < 1e9


def test_a_failed_callback_is_told_and_the_loop_goes_on(
    lip: Any, host: FakeHost, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    async def app() -> str:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(0.1)
        return "on"

    assert run(app()) == "on"
    assert "ZeroDivisionError" in capsys.readouterr().err

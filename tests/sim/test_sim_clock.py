"""Virtual time: it jumps, in order, and whoever blocks for ever is found."""

from __future__ import annotations

import asyncio

import pytest

from symphony.sim import clock


def test_time_jumps_to_the_next_timer() -> None:
    async def main() -> list[tuple[str, float]]:
        loop, seen = asyncio.get_running_loop(), []

        async def sleeper(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append((name, loop.time()))

        await asyncio.gather(sleeper("slow", 1000.0), sleeper("fast", 0.001), sleeper("hours", 36_000.0))
        return seen

    assert clock.run(main()) == [
        ("fast", pytest.approx(0.001)),
        ("slow", pytest.approx(1000.0)),
        ("hours", pytest.approx(36_000.0)),
    ]


def test_waiting_for_nothing_is_found() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(clock.Stuck, match="everybody waits"):
        clock.run(main())


def test_spinning_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    monkeypatch.setattr(clock, "_STANDSTILL", 1000)
    with pytest.raises(clock.Stuck, match="spins"):
        clock.run(main())


def test_errors_come_out_and_other_tasks_are_cancelled() -> None:
    ended = []

    async def forever() -> None:
        try:
            await asyncio.sleep(1e9)
        finally:
            ended.append(True)

    async def main() -> None:
        others = [asyncio.create_task(forever())]
        await asyncio.sleep(1)
        raise KeyError("this", len(others))

    with pytest.raises(KeyError, match="this"):
        clock.run(main())
    assert ended == [True]

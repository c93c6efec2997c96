"""The simulated CPU: one core, shared by the real level-1 scheduler."""

from __future__ import annotations

import asyncio

import pytest

from symphony.sim import clock
from symphony.sim.cpu import Cpu


def test_one_guest_has_it_alone() -> None:
    async def main() -> float:
        cpu = Cpu()
        cpu.add(1, "a", 0)
        await cpu.use(1, 0.0105)
        await cpu.use(1, 0.0)
        return asyncio.get_running_loop().time()

    assert clock.run(main()) == pytest.approx(0.0105)


def test_two_tenants_share_it_whatever_their_number_of_guests() -> None:
    async def main() -> tuple[float, float]:
        loop, cpu = asyncio.get_running_loop(), Cpu()
        for pid in range(11):
            cpu.add(pid, "one" if pid == 0 else "ten", 0)
        ends = {}

        async def guest(pid: int) -> None:
            await cpu.use(pid, 0.1)
            ends[pid] = loop.time()

        await asyncio.gather(*(guest(pid) for pid in range(11)))
        return ends[0], max(ends.values())

    one, last = clock.run(main())
    assert one == pytest.approx(0.2, rel=0.05)
    assert last == pytest.approx(1.1)


def test_a_nice_guest_stands_back_and_still_gets_on() -> None:
    async def main() -> dict[int, float]:
        loop, cpu = asyncio.get_running_loop(), Cpu()
        ends = {}

        async def guest(pid: int, nice: int) -> None:
            cpu.add(pid, "a", nice)
            await cpu.use(pid, 0.1)
            ends[pid] = loop.time()

        await asyncio.gather(guest(1, 0), guest(2, 10))
        return ends

    ends = clock.run(main())
    assert ends[1] <= 0.125
    assert ends[2] == pytest.approx(0.2)


def test_a_guest_that_ends_in_its_turn_leaves_the_cpu_to_others() -> None:
    async def main() -> float:
        cpu = Cpu()
        cpu.add(1, "a", 0)
        cpu.add(2, "a", 0)
        first = asyncio.create_task(cpu.use(1, 1.0))
        await asyncio.sleep(0.0105)
        cpu.remove(1)
        await cpu.use(2, 0.01)
        first.cancel()
        return asyncio.get_running_loop().time()

    assert clock.run(main()) == pytest.approx(0.021)

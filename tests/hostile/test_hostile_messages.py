"""Channels and messages under attack: floods, handles by the thousand, waits that are aborted, other tenants."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hostile_host import Host, lip, until

from symphony.errors import NotFound, SymphonyError
from symphony.param import (
    MAX_CHANNELS_PER_TENANT,
    MAX_MAILBOX_TEXTS,
    MAX_MESSAGE_CHARS,
    MAX_OPEN_CHANNELS,
    MAX_RECEIVES,
)
from symphony.process.process import LaunchOptions, Process


async def launch(host: Host, body: str, tenant: str = "local", /, **args: Any) -> Process:
    """A process that has come as far as its first output, or to its end."""
    process = await host.runtime.launch(lip(body, ", ".join(args)), args, LaunchOptions(tenant=tenant))
    async for event in process.events():
        if event.kind == "output":
            break
    return process


async def end(*processes: Process) -> None:
    for process in processes:
        await process.kill()


def test_a_flood_stops_at_the_bound_and_goes_on_with_the_reader(host: Host) -> None:
    flood = """
    jobs, sent = channel("jobs"), 0
    emit("begun")
    while sent < 5000:
        await jobs.send(str(sent))
        sent += 1
    return sent
    """

    async def scenario() -> None:
        writer = await launch(host, flood)
        await until(lambda: host.runtime.view(writer).state == "blocked")
        box = next(iter(host.runtime._processes._channels._tenants["local"].values())).queue
        assert len(box) == MAX_MAILBOX_TEXTS
        reader = await launch(host, "jobs = channel('jobs')\nreturn [await jobs.receive() for _ in range(5000)]")
        assert await reader.wait() == [str(n) for n in range(5000)]
        assert await writer.wait() == 5000

    host.run(scenario())


def test_a_writer_that_waits_for_room_can_be_killed(host: Host) -> None:
    full = "jobs = channel('jobs')\nemit('x')\nwhile True: await jobs.send('x' * (1 << 20))"

    async def scenario() -> None:
        writer = await launch(host, full)
        await until(lambda: host.runtime.view(writer).state == "blocked")
        other = await launch(host, "jobs = channel('jobs')\nemit('x')\nawait jobs.send('y')\nreturn True")
        await until(lambda: host.runtime.view(other).state == "blocked")
        assert other.state.value == "blocked"
        await end(writer)
        reader = await launch(host, "jobs = channel('jobs')\nreturn [(await jobs.receive())[0] for _ in range(2)]")
        assert await reader.wait() == ["x", "y"]
        assert await other.wait() is True

    host.run(scenario())


HOLD = "jobs = channel('jobs')\nmessage = call(jobs._raw.receive)\nemit('in line')\nawait sleep(3600)"


@pytest.mark.parametrize("how", ["in line", "with a text in hand"])
def test_a_dead_reader_loses_nothing(how: str, host: Host) -> None:
    async def scenario() -> None:
        keeper = await launch(host, "jobs = channel('jobs')\nemit('x')\nawait sleep(3600)")
        first = await launch(host, HOLD)
        second = await launch(host, "jobs = channel('jobs')\nemit('x')\nreturn await jobs.receive()")
        if how == "in line":
            await end(first)
        await (await launch(host, "await channel('jobs').send('precious')")).wait()
        if how == "with a text in hand":
            assert second.state.value == "blocked"
            await end(first)
        assert await second.wait() == "precious"
        await end(keeper)

    host.run(scenario())


def test_a_wait_that_is_given_up_takes_nothing_away(host: Host) -> None:
    body = """
    async with channel("jobs") as jobs:
        for _ in range(200):
            try:
                async with asyncio.timeout(0):
                    await jobs.receive()
            except TimeoutError:
                pass
        tasks = [asyncio.create_task(jobs.receive()) for _ in range(20)]
        await sleep(0)
        await jobs.send("a")
        await jobs.send("b")
        for task in tasks[:19]:
            task.cancel()
        last = await tasks[19]
        return sorted([last, await jobs.receive()])
    """
    assert host.result(lip(body)) == ["a", "b"]


def test_handles_are_bounded_by_errors_not_by_the_end(host: Host) -> None:
    body = """
    def fill(make):
        held = []
        try:
            while True: held.append(make())
        except LimitExceeded as e:
            return len(held), str(e)
        finally:
            del held
            gc.collect()
    import gc
    mine = channel("first")
    channels = fill(lambda: channel("jobs"))
    waits = fill(lambda: call(mine._raw.receive))
    inbox = fill(lambda: call(_host.ipc.receive))
    await mine.send("still works")
    return [channels[0], waits[0], inbox[0], await mine.receive()]
    """
    assert host.result(lip(body)) == [MAX_OPEN_CHANNELS - 1, MAX_RECEIVES, MAX_RECEIVES, "still works"]


def test_a_tenant_has_so_many_channels_and_another_its_own(host: Host) -> None:
    grab = """
    held = []
    try:
        for n in range(64): held.append(channel(f"{who} {n}"))
    except LimitExceeded as e:
        emit(len(held))
    else:
        emit(len(held))
    await sleep(3600)
    """

    async def scenario() -> None:
        greedy = [await launch(host, grab, "a", who=n) for n in range(5)]
        assert [int(p.output) for p in greedy] == [64] * (MAX_CHANNELS_PER_TENANT // 64) + [0]
        other = await launch(host, grab, "b", who=0)
        assert int(other.output) == 64
        await end(*greedy, other)

    host.run(scenario())


def test_a_channel_is_its_tenants_own(host: Host) -> None:
    spy = """
    found = []
    async def listen(broadcast):
        async with channel("jobs" if not broadcast else "news", broadcast=broadcast) as c:
            found.append(await c.receive())
    emit("listening")
    try:
        async with asyncio.timeout(0.2):
            await asyncio.gather(listen(False), listen(True))
    except TimeoutError:
        return found
    """
    talk = """
    jobs, news = channel("jobs"), channel("news", broadcast=True)
    emit("open")
    for _ in range(20):
        await news.send("the launch code")
        await jobs.send("the launch code")
        await sleep(0.001)
    return await jobs.receive()
    """

    async def scenario() -> None:
        spies = [await launch(host, spy, "b"), await launch(host, spy, "../a"), await launch(host, spy, "")]
        assert await (await launch(host, talk, "a")).wait() == "the launch code"
        for process in spies:
            assert await process.wait() == []

    host.run(scenario())


def test_the_other_kind_bad_names_and_long_texts(host: Host) -> None:
    body = """
    found = []
    held = channel("jobs")
    for action in (
        lambda: channel("jobs", broadcast=True), lambda: channel(""), lambda: channel("x" * 257),
        lambda: call(held._raw.send, "x" * ((1 << 20) + 1)),
    ):
        try:
            action()
        except Error as e:
            found.append(type(e).__name__)
    await held.send("x" * (1 << 20))
    odd = channel("\\0 /../ \\u2028 \\U0001f600")
    await odd.send("\\0\\ud800")
    return [found, len(await held.receive()), await odd.receive()]
    """
    names = ["Invalid", "Invalid", "Invalid", "LimitExceeded"]
    assert host.result(lip(body)) == [names, MAX_MESSAGE_CHARS, "\0?"]


def test_a_slow_listener_is_told_what_it_missed(host: Host) -> None:
    body = f"""
    speaker, listener = channel("news", broadcast=True), channel("news", broadcast=True)
    for n in range({MAX_MAILBOX_TEXTS} + 5):
        await speaker.send(str(n))
    try:
        await listener.receive()
    except LimitExceeded as e:
        return [e.message.split()[0], await listener.receive()]
    """
    assert host.result(lip(body)) == ["5", "5"]


def test_messages_from_outside(host: Host) -> None:
    """`send` waits for room, and ends with the process."""

    async def scenario() -> None:
        process = await launch(host, "emit('x')\nreturn [await receive() for _ in range(3000)]")
        for n in range(3000):
            await process.send(str(n))
        assert await process.wait() == [str(n) for n in range(3000)]
        with pytest.raises(NotFound, match="has ended"):
            await process.send("late")
        deaf = await launch(host, "emit('x')\nawait sleep(3600)")
        for n in range(MAX_MAILBOX_TEXTS):
            deaf.post(str(n))
        stuck = [asyncio.ensure_future(deaf.send("x")) for _ in range(3)]
        gone = asyncio.ensure_future(deaf.send("x"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        assert not any(task.done() for task in stuck)
        await end(deaf)
        for task in stuck:
            with pytest.raises(NotFound):
                await task

    host.run(scenario())


def test_an_idle_channel_costs_nothing(host: Host) -> None:
    """Who waits for a message has no turn, whatever happens elsewhere."""
    wait = "jobs = channel(f'idle {n}')\nemit('x')\nreturn await jobs.receive()"
    busy = "for n in range(100): await sleep(0)\nasync with Context() as c:\n    await c.pred([1])\nreturn True"

    async def scenario() -> None:
        idle = [await launch(host, wait, n=n) for n in range(8)]
        await until(lambda: all(host.runtime.view(p).waits_for == ["message"] for p in idle))
        before = [p.cpu_ns for p in idle]
        for _ in range(3):
            assert await (await launch(host, busy)).wait() is True
        assert [p.cpu_ns for p in idle] == before
        await end(*idle)

    host.run(scenario())


@pytest.mark.parametrize("seed", range(3))
def test_many_readers_and_writers_that_die_at_any_moment(seed: int, host: Host) -> None:
    """What readers that live took are different texts."""
    write = "jobs = channel('jobs')\nemit('x')\nfor n in range(300): await jobs.send(f'{who}.{n}')"
    read = """
    jobs = channel("jobs")
    emit("x")
    got = []
    try:
        async with asyncio.timeout(0.5):
            while True: got.append(await jobs.receive())
    except TimeoutError:
        return got
    """

    async def scenario() -> None:
        keeper = await launch(host, "jobs = channel('jobs')\nemit('x')\nawait sleep(3600)")
        readers = [await launch(host, read) for _ in range(4)]
        writers = [await launch(host, write, who=n) for n in range(4)]
        for victim in (writers[seed], readers[seed], readers[3]):
            await asyncio.sleep(0.01 * seed)
            await end(victim)
        taken = [text for n in (0, 1, 2) if n != seed for text in await readers[n].wait()]
        assert taken
        assert len(set(taken)) == len(taken)
        await end(keeper, *writers)

    host.run(scenario())


def test_nobody_is_woken_twice_by_one_text(host: Host) -> None:
    """A line, not a race: of many that wait, one has a turn."""
    wait = "jobs = channel('jobs')\nemit('x')\nreturn await jobs.receive()"

    async def scenario() -> None:
        readers = [await launch(host, wait) for _ in range(8)]
        await until(lambda: all(host.runtime.view(p).state == "blocked" for p in readers))
        before = [p.cpu_ns for p in readers]
        await (await launch(host, "await channel('jobs').send('one')")).wait()
        assert await readers[0].wait() == "one"
        assert [p.cpu_ns for p in readers[1:]] == before[1:]
        await end(*readers)

    host.run(scenario())


def test_forged_calls_are_errors_of_the_caller(host: Host) -> None:
    body = """
    message = call(_host.ipc.receive)
    first = message.get()
    jobs = channel("jobs")
    jobs.close()
    try:
        await jobs.send("x")
    except Exception as e:
        return [first, type(e).__name__]
    """
    assert host.result(lip(body)) == [None, "Invalid"]


def test_a_deadlock_over_a_channel_ends_by_the_time_limit(host: Host) -> None:
    async def scenario() -> None:
        options = LaunchOptions(wall_seconds=0.3)
        process = await host.runtime.launch(lip("await channel('never').receive()"), {}, options)
        with pytest.raises(SymphonyError, match="longer than"):
            await process.wait()

    host.run(scenario())

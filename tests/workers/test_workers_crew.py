"""Programs in workers: one host to all of them, whatever becomes of a worker. One runtime with three of them serves
the file; `SYMPHONY_TEST_WORKERS=3 make test` gives every host of every test as many."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from symphony import Config, LimitExceeded, ProgramError, Runtime
from symphony.engine.fake import FakeEngine
from symphony.errors import Cancelled, TimedOut, Unavailable
from symphony.param import MAX_WORKER_PAUSE_SECONDS
from symphony.process.process import LaunchOptions, Process
from symphony.sandbox.config import SandboxConfig
from symphony.workers import lobby
from symphony.workers.crew import Crew, how_it_ended, pause_after
from symphony.workers.worker import Worker

CACHE = Path(__file__).resolve().parents[2] / "build" / "test-programs"
WORKERS = 3

COMPLETE = """
from lip import Context, emit, main, usage

@main
async def complete(prompt: str = "tell", tokens: int = 40) -> dict:
    ctx = Context()
    ctx.feed(prompt)
    chosen = [await ctx.pred(token, sample={"temperature": 1.0, "seed": 7}) for token in range(1, 6)]
    text = ""
    async for chunk in ctx.stream(max_tokens=tokens):
        text += chunk.text
    emit(text)
    return {"text": text, "chosen": [dist.sampled for dist in chosen], "tokens": usage().generated_tokens}
"""
SPELL = """
from lip import Context, decode, main
@main
async def spell(n: int) -> str:
    ctx = Context()
    text = ""
    for token in range(65, 65 + n):
        await ctx.pred(token)
        text += decode([token])
    print("spelled", text)
    return text
"""
SPIN = "from lip import main\n@main\ndef spin() -> None:\n    while True: pass\n"
SLEEP = "from lip import emit, main, sleep\n@main\nasync def wait() -> None:\n    emit('here')\n    await sleep(3600)\n"
HOLD = """
from lip import Context, emit, main, sleep

@main
async def hold(path: str, seconds: float = 0) -> str:
    async with Context.open(path, write=True, create=True) as ctx, ctx.lock():
        emit("held")
        await sleep(seconds)
    return "released"
"""
READER = """
from lip import channel, emit, main

@main
async def read(n: int) -> list:
    queue = channel("words")
    emit("open")
    return [await queue.receive() for _ in range(n)]
"""
WRITER = """
from lip import channel, main

@main
async def write(n: int) -> None:
    queue = channel("words")
    for i in range(n):
        await queue.send(str(i))
"""
PARENT = """
from lip import main, spawn

CHILD = '''
from lip import main, receive
@main
async def child() -> str:
    return await receive()
'''

@main
async def parent() -> list:
    children = [await spawn(CHILD) for _ in range(4)]
    for i, child in enumerate(children):
        await child.send(f"to {i}")
    return [await child.wait() for child in children]
"""
Scenario = Callable[[Runtime], Awaitable[None]]


def double(x: int) -> int:
    """Twice as much."""
    return 2 * x


class Host:
    """A runtime with workers, on a loop of its own."""

    def __init__(self, home: Path) -> None:
        self._runner = asyncio.Runner()
        config = Config(cache=CACHE, workers=WORKERS)
        self.runtime = Runtime([FakeEngine(pages=512)], tools={"double": double}, home=home, config=config)
        self._runner.run(self.runtime.__aenter__())

    def run(self, scenario: Scenario) -> None:
        """Nothing may be left behind."""

        async def whole() -> None:
            async with asyncio.timeout(60):
                await scenario(self.runtime)
                while not all(up for _, up, _ in states(self.runtime)):  # noqa: ASYNC110 - a lost one is replaced
                    await asyncio.sleep(0.01)
            assert all(not guests for _, _, guests in states(self.runtime))
            assert self.runtime.core.idle()
            assert not self.runtime.core._sessions
            self.runtime.core.check_integrity()

        self._runner.run(whole())

    def close(self) -> None:
        self._runner.run(self.runtime.__aexit__(None, None, None))
        self._runner.close()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    made = Host(tmp_path_factory.mktemp("home"))
    yield made
    children = [pid for _, pid, _ in states(made.runtime) if pid]
    made.close()
    for pid in children:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def states(runtime: Runtime) -> list[tuple[int, int, int]]:
    assert runtime.crew is not None
    return [(w.number, w.pid if w.serving else 0, len(w.guests)) for w in runtime.crew.workers]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - conditions are on plain state
        await asyncio.sleep(0.002)


async def started(runtime: Runtime, program: str, args: dict[str, Any], **options: Any) -> Process:
    """A process that has said something."""
    process = await runtime.launch(program, args, LaunchOptions(**options))
    await until(lambda: bool(process.output) or process.state.ended)
    return process


def kill_worker_of(runtime: Runtime, process: Process) -> int:
    """kill -9; which one it was."""
    assert runtime.crew is not None
    [worker] = [worker for worker in runtime.crew.workers if process.pid in worker.guests]
    os.kill(worker.pid, signal.SIGKILL)
    return worker.number


def test_programs_do_in_workers_what_they_do_without(host: Host, tmp_path: Path) -> None:
    plain: list[Any] = []

    async def without() -> None:
        async with Runtime([FakeEngine(pages=512)], home=tmp_path, config=Config(cache=CACHE, workers=0)) as runtime:
            process = await runtime.spawn(COMPLETE)
            plain.extend((await process.wait(), process.output, process.usage[:5]))

    async def scenario(runtime: Runtime) -> None:
        processes = [await runtime.launch(COMPLETE, {}, LaunchOptions(tenant=f"t{i}")) for i in range(5)]
        counts = [guests for _, _, guests in states(runtime)]
        assert sorted(counts) == [1, 2, 2], "guests are spread"
        for process in processes:
            assert [await process.wait(), process.output, process.usage[:5]] == plain
            assert process.usage.cpu_us > 0

    asyncio.run(without())
    host.run(scenario)


def test_names_and_locks_are_one_and_go_free_with_the_worker_that_held_them(host: Host) -> None:
    async def scenario(runtime: Runtime) -> None:
        holder = await started(runtime, HOLD, {"path": "/held", "seconds": 3600})
        waiting = [await runtime.spawn(HOLD, path="/held") for _ in range(3)]
        await until(lambda: [runtime.view(process).waits_for for process in waiting] == [["lock"]] * 3)
        beside = [process for process in waiting if _worker(runtime, process) != _worker(runtime, holder)]
        assert len(beside) >= 2, "others wait from other workers"
        lost = kill_worker_of(runtime, holder)
        with pytest.raises(Unavailable, match=rf"worker {lost}, which ran the program, was lost") as error:
            await holder.wait()
        assert "run it again" in error.value.hint
        assert [await process.wait() for process in beside] == ["released"] * len(beside)
        assert holder.output == "held", "what it said is still there"
        await until(lambda: all(up for _, up, _ in states(runtime)))
        assert await runtime.run(HOLD, path="/held") == "released"

    host.run(scenario)


def _worker(runtime: Runtime, process: Process) -> int:
    assert runtime.crew is not None
    return next(worker.number for worker in runtime.crew.workers if process.pid in worker.guests)


def test_channels_messages_and_children_reach_across_workers(host: Host) -> None:
    async def scenario(runtime: Runtime) -> None:
        reader = await started(runtime, READER, {"n": 20})
        writer = await runtime.spawn(WRITER, n=20)
        assert _worker(runtime, reader) != _worker(runtime, writer)
        assert await reader.wait() == [str(i) for i in range(20)]
        parent = await runtime.spawn(PARENT)
        assert await parent.wait() == ["to 0", "to 1", "to 2", "to 3"]
        pids = [process.pid for process in runtime.processes()]
        assert len(pids) == len(set(pids))
        born = [process.pid for process in runtime.processes() if process.parent == parent.pid]
        assert sorted(born) == list(range(parent.pid + 1, parent.pid + 5)), "process ids are one row"

    host.run(scenario)


def test_limits_hold_and_ends_are_clean_in_workers(host: Host) -> None:
    async def scenario(runtime: Runtime) -> None:
        spinner = await runtime.launch(SPIN, {}, LaunchOptions(cpu_seconds=0.15))
        late = await runtime.launch(SPIN, {}, LaunchOptions(wall_seconds=0.3, trace=True))
        killed = await started(runtime, SLEEP, {})
        await until(lambda: runtime.view(killed).waits_for == ["timer"])
        assert runtime.view(spinner).state in ("running", "done", "killed")
        await killed.kill()
        with pytest.raises(Cancelled):
            await killed.wait()
        with pytest.raises(LimitExceeded, match=r"0\.15 s of CPU"):
            await spinner.wait()
        with pytest.raises(TimedOut):
            await late.wait()
        assert late.timeline is not None
        assert late.timeline.turn_count > 10
        assert late.cpu_ns > 0
        with pytest.raises(ProgramError, match="no such luck"):
            await runtime.run("from lip import main\n@main\ndef f():\n    raise ValueError('no such luck')\n")
        with pytest.raises(ProgramError, match="empty list of pollables"):
            await runtime.run("from lip import _host, main\n@main\ndef f():\n    _host.poll.poll([])\n")
        tool = "from lip import main, tool\n@main\nasync def f() -> int:\n    return await tool('double', x=21)\n"
        assert await runtime.run(tool) == 42

    host.run(scenario)


def test_tokens_are_spelled_in_the_worker_and_lines_are_logged_in_order(host: Host) -> None:
    async def scenario(runtime: Runtime) -> None:
        process = await runtime.launch(SPELL, {"n": 5}, LaunchOptions(trace=True))
        assert await process.wait() == "ABCDE"
        assert process.timeline is not None
        asked = [key for key, _, _ in process.timeline.syscalls]
        assert asked.count("symphony:lip/infer#predict") == 5
        assert not [key for key in asked if "detokenize" in key]
        assert [event.data["text"] for event in process.log_events.events if event.kind == "log"] == ["spelled ABCDE"]
        flood = "from lip import main\n@main\ndef f():\n    for i in range(2000): print('x' * 2000)\n"
        process = await runtime.launch(flood, {}, LaunchOptions())
        await process.wait()
        assert process.log_events.events[-2].data["text"].endswith("log lines were dropped")

    host.run(scenario)


def test_all_workers_may_be_lost_and_come_back(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(runtime: Runtime) -> None:
        assert runtime.crew is not None
        before = runtime.crew.lost
        runs = [await started(runtime, SLEEP, {}) for _ in range(WORKERS)]
        for process in runs:
            kill_worker_of(runtime, process)
        for process in runs:
            with pytest.raises(Unavailable, match="was lost"):
                await process.wait()
        await until(lambda: runtime.crew is not None and runtime.crew.lost == before + WORKERS)
        await until(lambda: all(up for _, up, _ in states(runtime)))
        assert (await runtime.run(COMPLETE))["tokens"] > 0

    host.run(scenario)
    assert caplog.text.count("ended with SIGKILL") == WORKERS


def test_a_worker_is_replaced_once_that_is_possible_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a while there are too many open files."""
    real, failures = socket.socketpair, [OSError(errno.EMFILE, "Too many open files")] * 2

    def scarce(*of: Any) -> Any:
        if failures:
            raise failures.pop()
        return real(*of)

    async def scenario(runtime: Runtime) -> None:
        process = await started(runtime, SLEEP, {})
        number = _worker(runtime, process)
        with monkeypatch.context() as patch:
            patch.setattr("symphony.workers.worker.socket.socketpair", scarce)
            kill_worker_of(runtime, process)
            with pytest.raises(Unavailable, match="was lost"):
                await process.wait()
            await until(lambda: states(runtime)[number - 1][1] > 0)
        assert not failures

    host.run(scenario)


def test_a_worker_that_is_starting_takes_no_guests(host: Host) -> None:
    async def scenario(runtime: Runtime) -> None:
        assert runtime.crew is not None
        first = runtime.crew.workers[0]
        first.serving = False
        try:
            runs = [await started(runtime, SLEEP, {}) for _ in range(4)]
            assert not first.guests, "although it has the fewest"
        finally:
            first.serving = True
        for process in runs:
            await process.kill()

    host.run(scenario)


def test_programs_wait_for_a_worker_where_all_were_lost(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for ever; and what ends meanwhile is not begun."""

    async def scenario(runtime: Runtime) -> None:
        crew = runtime.crew
        assert crew is not None
        for worker in crew.workers:
            worker.serving = False
        try:
            with pytest.raises(Unavailable, match="are being replaced"):
                await runtime.ready()
            runs = [await runtime.spawn(COMPLETE) for _ in range(2)]
            gone = await runtime.spawn(SLEEP)
            assert [guests for _, _, guests in states(runtime)] == [0, 0, 0]
            await until(lambda: runtime.view(runs[0]).state == "blocked")
            await gone.kill()
            assert len(crew.lobby) == 2
            monkeypatch.setattr(lobby, "WORKER_WAIT_SECONDS", 0.01)
            with pytest.raises(Unavailable, match=r"none was back within 0\.01 s") as error:
                await runtime.run(COMPLETE)
            assert error.value.retry_after == 1
        finally:
            for worker in crew.workers:
                worker._ready()
        for process in runs:
            assert (await process.wait())["tokens"] > 40

    host.run(scenario)


def test_a_worker_that_hangs_is_killed_and_replaced(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(runtime: Runtime) -> None:
        assert runtime.crew is not None
        process = await started(runtime, SLEEP, {})
        beside = [await started(runtime, SLEEP, {}) for _ in range(WORKERS - 1)]
        worker = runtime.crew.workers[_worker(runtime, process) - 1]
        os.kill(worker.pid, signal.SIGSTOP)
        with monkeypatch.context() as patch:
            patch.setattr("symphony.workers.worker.WORKER_PING_SECONDS", 0.01)
            patch.setattr("symphony.workers.worker.WORKER_SILENCE_SECONDS", 0.05)
            worker.ping()
            with pytest.raises(Unavailable, match=f"worker {worker.number}, which ran the program, does not answer"):
                await process.wait()
        await until(lambda: worker.serving)
        assert all(not other.state.ended for other in beside)
        for other in beside:
            await other.kill()

    host.run(scenario)
    assert "ended with SIGKILL" in caplog.text


def test_a_worker_whose_guests_compute_answers(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(runtime: Runtime) -> None:
        crew = runtime.crew
        assert crew is not None
        spinners = [await runtime.spawn(SPIN) for _ in range(WORKERS)]
        await until(lambda: all(spinner.cpu_ns > 0 for spinner in spinners))
        monkeypatch.setattr("symphony.workers.worker.WORKER_PING_SECONDS", 60.0)
        for _ in range(5):
            for worker in crew.workers:
                worker.ping()
                assert worker.unanswered > 0
            await until(lambda: not any(worker.unanswered for worker in crew.workers))
        for spinner in spinners:
            await spinner.kill()

    host.run(scenario)


def test_a_worker_that_hangs_while_it_starts_stops_the_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symphony.workers.worker.WORKER_PING_SECONDS", 0.01)
    monkeypatch.setattr("symphony.workers.worker.WORKER_START_SECONDS", 0.02)

    async def begin(worker: Worker) -> socket.socket:
        ours, theirs = socket.socketpair()
        worker._child = await asyncio.create_subprocess_exec("/bin/sleep", "60", pass_fds=[theirs.fileno()])
        theirs.close()
        return ours

    async def boot() -> None:
        crew = Crew(1, SandboxConfig(), {}, {}, lambda process, error: None)
        try:
            await crew.start()
        finally:
            await crew.close()

    monkeypatch.setattr(Worker, "_begin", begin)
    with pytest.raises(Unavailable, match="worker 1 ended while it was starting"):
        asyncio.run(boot())


def test_a_worker_that_is_lost_while_others_start_stops_the_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(worker: Worker, hello: object) -> None:
        worker.up = worker.number == 2
        worker.settled.set_result(None)

    async def boot() -> None:
        await Crew(2, SandboxConfig(), {}, {}, lambda process, error: None).start()

    monkeypatch.setattr(Worker, "start", start)
    with pytest.raises(Unavailable, match="worker 1 ended while it was starting"):
        asyncio.run(boot())


def test_syscalls_that_go_on_at_once_take_one_round_at_a_time() -> None:
    """However often they do: each round leaves the event loop to others."""

    class Eager:
        def __init__(self, crew: Crew) -> None:
            self.crew, self.left = crew, 1000

        def go_on(self) -> None:
            self.left -= 1
            if self.left:
                self.crew.ready(self)  # type: ignore[arg-type]

    async def scenario() -> None:
        crew = Crew(1, SandboxConfig(), {}, {}, lambda process, error: None)
        rounds, real = 0, crew._go_on

        def counted() -> None:
            nonlocal rounds
            rounds += 1
            real()

        crew._go_on = counted  # type: ignore[method-assign]
        eager = Eager(crew)
        crew.ready(eager)  # type: ignore[arg-type]
        await until(lambda: not eager.left)
        await asyncio.sleep(0.01)
        assert rounds < 20

    asyncio.run(scenario())


def test_how_a_worker_ended() -> None:
    assert [how_it_ended(status) for status in (-9, -6, 0, 1, -999)] == [
        "SIGKILL",
        "SIGABRT",
        "status 0",
        "status 1",
        "status -999",
    ]


def test_a_worker_that_cannot_start_stops_the_boot_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symphony.workers.worker.sys.executable", "/bin/false")
    config = Config(cache=CACHE, workers=2)

    async def boot() -> None:
        async with Runtime([FakeEngine()], home=tmp_path, config=config):
            raise AssertionError("it is up")

    with pytest.raises(Unavailable, match=r"worker [12] ended while it was starting"):
        asyncio.run(boot())
    monkeypatch.setattr("symphony.workers.worker.sys.executable", "/no/such/python")
    with pytest.raises(Unavailable, match="a worker cannot be started: No such file"):
        asyncio.run(boot())


def test_a_worker_that_keeps_failing_is_replaced_ever_more_slowly() -> None:
    pauses = [pause_after(failures) for failures in range(40)]
    assert pauses[:3] == [0.0, 0.1, 0.2]
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_WORKER_PAUSE_SECONDS

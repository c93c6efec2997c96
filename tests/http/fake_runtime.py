"""The Runtime facade in memory: the content of a "program" names a coroutine of this module. No sandbox, no model."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from symphony import param
from symphony.core.core import Core
from symphony.core.inspect import Inspector, ModelGauge
from symphony.core.messages import Principal
from symphony.core.operator import Operator
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import ModelInfo, Readings
from symphony.errors import (
    Cancelled,
    Exists,
    Invalid,
    InvalidProgram,
    NotFound,
    ProgramError,
    SymphonyError,
    TimedOut,
    Unavailable,
)
from symphony.process.events import Cursor, Event, EventLog
from symphony.process.process import LaunchOptions, State
from symphony.process.tally import Tally
from symphony.process.view import View
from symphony.sandbox.timeline import Timeline
from symphony.syscall.process import UsageRecord

TINY = ModelInfo("tiny", 512, 1024, 16, 64, (0,), 1, "digest")


@dataclass
class FakeInfo:
    id: str
    name: str
    kind: str
    size: int
    created: float = 1000.0
    names: tuple[str, ...] = ()
    parameters: dict[str, str] | None = None
    fresh: bool = True


class FakeProcess:
    """A coroutine in place of a guest, with the real event log."""

    def __init__(self, pid: int, program: str, options: LaunchOptions) -> None:
        self.pid = pid
        self.parent: int | None = None
        self.program = program
        self.tenant = options.tenant
        self.options = options
        self.state = State.RUNNING
        self.session = 0
        """A test may open one in the core."""
        self.started = 1000.0
        self.usage = UsageRecord(3, 10, 4, 29, 0, 2, 1500, 420_000)
        self.cpu_ns = 1_500_000
        self.log = EventLog()
        self.log.add("start", {"pid": pid})
        self.error: SymphonyError | None = None
        self.value: Any = None
        self.ended = asyncio.Event()
        self.timeline: Timeline | None = Timeline() if options.trace else None
        self.began_ns = 0
        self.released = asyncio.Event()
        """A test sets it to let `wait_for_release` go on."""
        self.task: asyncio.Task[None] | None = None

    def usage_within(self, most: int) -> UsageRecord:
        return self.usage

    @property
    def output(self) -> str:
        return self.log.text()

    def events(self) -> AsyncIterator[Event]:
        return self.log.read()

    def cursor(self, after: int = 0) -> Cursor:
        return self.log.cursor(after)

    @property
    def event_count(self) -> int:
        return len(self.log.events)

    async def wait(self) -> Any:
        await self.ended.wait()
        if self.error is not None:
            raise self.error
        return self.value

    async def drive(self, work: Awaitable[Any]) -> None:
        try:
            async with asyncio.timeout(self.options.wall_seconds):
                self.value = await work
            self.finish(State.DONE, None)
        except TimeoutError:
            text = f"the program ran longer than {self.options.wall_seconds:g} s"
            self.finish(State.KILLED, TimedOut(text, "raise the run's timeout"))
        except asyncio.CancelledError:
            self.finish(State.KILLED, Cancelled(f"process {self.pid} was killed"))
        except SymphonyError as error:
            self.finish(State.DONE, error)

    def finish(self, state: State, error: SymphonyError | None) -> None:
        self.state, self.error = state, error
        if error is None:
            self.log.end("result", {"value": self.value})
        else:
            traceback = error.traceback if isinstance(error, ProgramError) else ""
            fields = {"code": error.code, "message": error.message, "hint": error.hint, "traceback": traceback}
            self.log.end("error", fields)
        self.ended.set()


class FakeRuntime:
    """Implements what http and cli use of `symphony.host.Runtime`; KV files are in a real core."""

    def __init__(self, model: Sequence[str] = ("tiny",), **options: Any) -> None:
        if list(model) != ["tiny"]:
            raise NotFound(f"there is no model {model[0]!r}", "use tiny")
        self.options = options
        config = options.get("config")
        self.least_nice = 0 if config is None else config.least_nice
        self.models = [TINY]
        self.notes: list[str] = []
        self.core = Core([FakeEngine(pages=256, host_pages=64)])
        self.broken = ""
        """Why no model works."""
        self.asked_ready = 0
        self.tally = Tally()
        self.crew = None
        self.launched: list[tuple[str | bytes | Path, dict[str, Any], LaunchOptions]] = []
        self._programs: dict[str, dict[str, FakeInfo]] = {}
        self._contents: dict[str, bytes] = {}
        self._processes: dict[int, FakeProcess] = {}

    async def __aenter__(self) -> FakeRuntime:
        self.loop = asyncio.create_task(self.core.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            await self.kill(process)
        await self.core.close()
        await self.loop

    async def launch(self, program: str | Path | bytes, args: Mapping[str, Any], options: LaunchOptions) -> FakeProcess:
        self.launched.append((program, dict(args), options))
        if isinstance(program, str):
            info = self.program(program, tenant=options.tenant)
            name, content = info.name, self._contents[info.id]
        else:
            content = program.read_bytes() if isinstance(program, Path) else program  # noqa: ASYNC240
            name = content.decode()
        behaviour = BEHAVIOURS.get(content.decode().splitlines()[-1].strip("# "))
        if behaviour is None:
            raise InvalidProgram("the bytes are not a LIP", "upload a .py or a component")
        process = FakeProcess(len(self._processes) + 1, name, options)
        self._processes[process.pid] = process
        process.task = asyncio.create_task(process.drive(behaviour(process, dict(args))))
        return process

    async def kill(self, process: FakeProcess) -> None:
        if process.task is not None:
            process.task.cancel()
            await process.ended.wait()

    def processes(self) -> list[FakeProcess]:
        return list(self._processes.values())

    def process(self, pid: int) -> FakeProcess:
        if pid not in self._processes:
            raise NotFound(f"there is no process {pid}", "symphony ps lists them")
        return self._processes[pid]

    async def upload(
        self, source: str | Path | bytes, /, name: str | None = None, *, tenant: str = "local"
    ) -> FakeInfo:
        assert isinstance(source, bytes), "http and cli upload content only"
        ident = "sha256-" + hashlib.sha256(source).hexdigest()
        if name is not None and not name.replace("-", "").isalnum():
            raise Invalid(f"{name!r} is not a program name", "letters, digits and -")
        taken = next((info for info in self.programs(tenant=tenant) if info.name == name and info.id != ident), None)
        if taken is not None:
            raise Exists(f"the name {name!r} is taken")
        programs = self._programs.setdefault(tenant, {})
        fresh = ident not in programs
        info = programs.setdefault(ident, FakeInfo(ident, name or ident[:12], "python", len(source)))
        info.fresh, info.names = fresh, (info.name,)
        if b"@main" in source:
            info.parameters = {"prompt": "str", "n": "int"}
        self._contents[ident] = source
        return info

    def programs(self, *, tenant: str = "local") -> list[FakeInfo]:
        return list(self._programs.get(tenant, {}).values())

    def program(self, ref: str, *, tenant: str = "local") -> FakeInfo:
        for info in self.programs(tenant=tenant):
            if ref in (info.id, info.name):
                return info
        raise NotFound(f"there is no program {ref!r}", "symphony programs ls lists them")

    def remove_program(self, ref: str, *, tenant: str = "local") -> None:
        found = self.program(ref, tenant=tenant)
        del self._programs[tenant][found.id]

    def model_infos(self) -> list[ModelInfo]:
        return self.models

    async def ready(self) -> None:
        self.asked_ready += 1
        if self.broken:
            raise Unavailable(self.broken, "mend it")

    def state(self, process: FakeProcess) -> str:
        return process.state.value

    def view(self, process: FakeProcess, most: int = param.MAX_SURVEY_PAGES) -> View:
        activity = Inspector(self.core).activity(process.session, most)
        return View(process.state.value, ["tool"] if process.program == "wait" else [], activity)

    def gauges(self) -> list[ModelGauge]:
        return Inspector(self.core).gauges()

    def operator(self, tenant: str, user: str = "") -> Operator:
        return Operator(self.core, Principal(tenant, user or tenant, share=True))

    async def write(self, path: str, text: str, tenant: str = "local", base: str | None = None) -> int:
        """A named file with that text, and its session's id, which has it open. `base`: what it is a fork of."""
        session = self.core.open_session(tenant, share=True)
        file = await (self.core.create(session, None) if base is None else self.core.open(session, None, base))
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.core.connect(lambda _, answer: done.set_result(answer))
        await self.core.pred(session, file, 1, list(text.encode()), (0,), Readings())
        await done
        if path:
            await self.core.link(session, file, path)
        return session

    def describe(self) -> dict[str, str]:
        home = {"home": "/nowhere", "model": "tiny", "device": "cpu", "attention": "torch"}
        return home | {"pages": "64 x 16 tokens", "host tier": "32 x 16 tokens"}


async def echo(process: FakeProcess, args: dict[str, Any]) -> Any:
    """Emits each word of `prompt`, logs, returns all arguments."""
    for word in str(args.get("prompt", "")).split(" "):
        await process.log.output(word + " ")
    process.log.log("info", "echoed\ntwo lines")
    return args


async def complete(process: FakeProcess, args: dict[str, Any]) -> Any:
    """Streams a text and returns the same."""
    for piece in ("Once", " upon", " a time"):
        await process.log.output(piece)
    return "Once upon a time"


async def fail(process: FakeProcess, args: dict[str, Any]) -> Any:
    await process.log.output("before")
    raise ProgramError("ValueError: no", "look at line 3", "Traceback\n  line 3\nValueError: no")


async def wait_for_release(process: FakeProcess, args: dict[str, Any]) -> Any:
    """Emits `started`, waits for the test, emits `late`."""
    await process.log.output("started")
    await process.released.wait()
    await process.log.output("late")
    return "released"


async def flood(process: FakeProcess, args: dict[str, Any]) -> Any:
    """Emits without end; only back-pressure or a kill holds it up."""
    while True:
        await process.log.output("x" * 65536)
        await asyncio.sleep(0)


async def bug(process: FakeProcess, args: dict[str, Any]) -> Any:
    raise SymphonyError("internal text")


async def odd(process: FakeProcess, args: dict[str, Any]) -> Any:
    """Values that JSON or UTF-8 cannot say."""
    await process.log.output("a\r\nb\u2028\ud800")
    return {"nan": float("nan"), "big": 2**70, "text": "\ud800"}


async def deep(process: FakeProcess, args: dict[str, Any]) -> Any:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


BEHAVIOURS: dict[str, Callable[[FakeProcess, dict[str, Any]], Awaitable[Any]]] = {
    "echo": echo,
    "complete": complete,
    "fail": fail,
    "wait": wait_for_release,
    "flood": flood,
    "bug": bug,
    "odd": odd,
    "deep": deep,
}


def parse_sse(text: str) -> list[tuple[str, Any]]:
    """The events of a stream, strictly as our server must frame them: one `id:`, `event:` and `data:` line each."""
    events: list[tuple[str, Any]] = []
    assert text.endswith("\n\n")
    for block in text[:-2].split("\n\n"):
        if block.startswith(":"):
            continue
        ident, event, data = block.split("\n")
        assert int(ident.removeprefix("id: ")) > len(events)
        events.append((event.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events

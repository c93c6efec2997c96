"""The host: boots the parts in order, and the facade that `http`, `cli` and embedding services see.

    async with Runtime(model="tiny") as rt:
        text = await rt.run("agent.py", question="...")

Reads like a table of contents: store, sandbox, engine, core, programs, processes. Policy lives in the parts.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from symphony.core.config import CoreConfig
from symphony.core.core import Core
from symphony.core.inspect import Inspector, ModelGauge
from symphony.core.messages import Principal
from symphony.core.operator import Operator
from symphony.engine.engine import Engine
from symphony.engine.messages import ModelInfo
from symphony.errors import Invalid, LimitExceeded, Unavailable
from symphony.outside.boot import granted
from symphony.outside.config import OutsideConfig
from symphony.outside.functions import toolbox
from symphony.param import MAX_ARGS_BYTES, MAX_SURVEY_PAGES, MAX_WORKERS, TENANT_PROGRAM_BYTES
from symphony.process.probe import Probe
from symphony.process.process import LaunchOptions, Process
from symphony.process.table import ProcessTable
from symphony.process.tally import Tally
from symphony.process.view import View, state_of, view
from symphony.program.programs import Launchable, ProgramInfo, Programs
from symphony.program.store import LOCAL
from symphony.resources import resource
from symphony.sandbox.config import InstanceLimits, SandboxConfig
from symphony.sandbox.sandbox import Sandbox
from symphony.sched.admission import AdmissionLimits
from symphony.store.disk import Folder, make_directory
from symphony.store.store import Store
from symphony.syscall.table import HANDLERS
from symphony.workers.crew import Crew

_OPENAI = ("samples/openai", "samples/openai")
ToolFunctions = Mapping[str, Callable[..., Any]]


@dataclass(slots=True, frozen=True)
class Config:
    """How to boot a host; the defaults suit a laptop."""

    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    limits: InstanceLimits = field(default_factory=InstanceLimits)
    core: CoreConfig = field(default_factory=CoreConfig)
    pages: int | None = None
    """KV pages on the device for each model, the scratch page included; None: as many as its memory suggests."""
    host_pages: int | None = None
    """KV pages in the host's memory, for files that leave the device; None likewise, 0: there is no such tier."""
    admission: AdmissionLimits = field(default_factory=AdmissionLimits)
    """How many processes may be live (at most as many as the sandbox has room for), and how many launches may wait."""
    least_nice: int = 0
    """Clients over HTTP may ask for this nice value and larger ones."""
    trace: bool = False
    """Whether the timelines of all processes are recorded."""
    workers: int = 0
    """Processes of the operating system that run programs beside the models' own; 0: that one runs them."""
    openai: Path | None = None
    """The program that answers OpenAI's routes, a `.py` or `.wasm`; default: the one that ships (`samples/openai`)."""
    outside: OutsideConfig = field(default_factory=OutsideConfig)
    """Tools behind URLs and MCP servers, and who may call what and fetch from where."""
    program_bytes: int = TENANT_PROGRAM_BYTES
    """Bytes that the stored programs of one tenant may take..."""
    programs_bytes: Mapping[str, int] = field(default_factory=dict[str, int])
    """...and those of tenants with a number of their own."""
    sharers: frozenset[str] = frozenset()
    """Tenants whose programs and operators may change names below `/shared`."""
    cache: Path | None = None
    """Where compiled code is kept; default: the user's cache directory."""


class Runtime:
    """A whole host inside this process. An async context manager; every method belongs to its event loop.

    `model` is a name or a directory, several of them (the first one is the default; NAME=MODEL gives one a name), or
    loaded engines; `device` is `cpu`, `cuda` or `cuda:N` (default: CUDA if there is one); `tools` are Python functions,
    plain or async, that programs may call. `home` keeps uploaded programs; default: the user's data directory if no
    other host owns it, else a temporary one.
    """

    def __init__(
        self,
        model: str | Sequence[str] | Sequence[Engine] = "tiny",
        *,
        device: str | None = None,
        attention: str | None = None,
        tools: ToolFunctions | None = None,
        home: Path | None = None,
        config: Config | None = None,
    ) -> None:
        self._model = model
        self._device = device
        self._attention = attention
        self._tools = toolbox(tools or {})
        self._home = home
        self._config = config or Config()
        self._openai: Launchable | None = None
        self.notes: list[str] = []
        """What the person who started this host should know, a sentence each."""

    # ---- boot and shutdown
    async def __aenter__(self) -> Runtime:
        async with AsyncExitStack() as parts:  # a part that fails takes those before it down again
            await self._boot(parts)
            self._parts = parts.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._parts.aclose()

    async def _boot(self, parts: AsyncExitStack) -> None:
        """Start the parts in order; `parts` stops them in the opposite one. What fails fast comes first."""
        self._store = _Home(self._home)
        parts.callback(self._store.close)
        if self._store.note:
            self.notes.append(self._store.note)
        self.sandbox = Sandbox(self._config.sandbox, HANDLERS)
        parts.callback(self.sandbox.close)
        self._engines = await self._load_engines()
        for engine in self._engines:
            parts.callback(engine.close)
        self._durable = await self._open_store(parts)
        self.core = Core(self._engines, self._config.core, self._durable)
        self._inspector = Inspector(self.core)
        parts.push_async_callback(self._stop_core, asyncio.ensure_future(self.core.run()))
        self._grants = await parts.enter_async_context(granted(self._config.outside, self._tools))
        if idle := self._grants.idle_tools():
            self.notes.append(f"no grant lets anybody call {', '.join(idle)}")
        cache, quotas = self._config.cache or cache_directory(), self._config.programs_bytes
        self._programs = Programs(
            self.sandbox, self._store.path, cache, quotas=quotas, quota=self._config.program_bytes
        )
        self._crew = await self._start_workers(parts)
        self._processes = self._process_table()
        parts.push_async_callback(self._processes.close)
        self._probe = Probe(self.core, self._processes.inbox)
        parts.push_async_callback(self._probe.close)

    def _process_table(self) -> ProcessTable:
        config = self._config
        admission = replace(config.admission, live=min(config.admission.live, config.sandbox.max_instances))
        weights = config.core.tenant_weights
        ground = self._crew or self.sandbox
        return ProcessTable(ground, self.core, config.limits, admission, weights, self._load_for_guest)

    async def _start_workers(self, parts: AsyncExitStack) -> Crew | None:
        """None: there are none. Raises Unavailable."""
        config = self._config
        if not config.workers:
            return None
        if not 0 < config.workers <= MAX_WORKERS:
            raise Invalid(f"{config.workers} workers", f"use 1 to {MAX_WORKERS}, or 0 for none")
        crew = Crew(
            config.workers,
            config.sandbox,
            config.core.tenant_weights,
            {engine.info.name: engine.tokenizer for engine in self._engines},
            lambda process, error: self._processes.kill(process, error),
        )
        parts.push_async_callback(crew.close)
        await crew.start()
        return crew

    async def _load_for_guest(self, program: str, tenant: str) -> Launchable:
        return await self._programs.load(program, tenant=tenant, paths=False)

    async def _open_store(self, parts: AsyncExitStack) -> Store | None:
        """Of files that were synced; none where the home goes with the host. Raises Unavailable, Invalid."""
        if self._store.temporary:
            return None
        folder = self._store.path / "kv"
        try:
            store = await asyncio.to_thread(lambda: Store(Folder(folder)))
        except OSError as e:
            hint = "look after the disk; or move that folder aside, and start without the files that were synced"
            raise Unavailable(f"the KV store {folder} cannot be opened: {e.strerror or e}", hint) from e
        parts.push_async_callback(store.close)
        return store

    async def _stop_core(self, loop: asyncio.Future[None]) -> None:
        await self.core.close()
        await loop

    async def _load_engines(self) -> list[Engine]:
        models = [self._model] if isinstance(self._model, str) else list(self._model)
        names = [model for model in models if isinstance(model, str)]
        if len(names) < len(models):
            return [model for model in models if not isinstance(model, str)]
        if not names:
            raise Invalid("there is no model to run", "name one, such as 'tiny'")
        from symphony.engine.loading import load_models  # imports torch: only who runs a model pays for it

        pages, slots = self._config.pages, self._config.host_pages
        if (pages is not None and pages < 2) or (slots is not None and slots < 0):
            raise Invalid(f"a pool of {pages} pages and {slots} on the host", "use 2 pages or more, and 0 or more")
        load = partial(load_models, device=self._device, attention=self._attention, pages=pages, host_pages=slots)
        return [*await asyncio.to_thread(load, names)]

    # ---- running programs
    async def run(self, program: str | Path | bytes, /, args: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
        """Run a program and return its result, a JSON value.

        `program` is a path (.py, .wasm), source text, bytes, or the name or id of an uploaded program; keyword
        arguments (or `args`) are the program's. Raises ProgramError, LimitExceeded, InvalidProgram, NotFound.
        """
        process = await self.spawn(program, args, **kwargs)
        try:
            return await process.wait()
        except asyncio.CancelledError:
            await self.kill(process)
            raise

    async def spawn(
        self, program: str | Path | bytes, /, args: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Process:
        """Start a program and return its process at once; arguments as `run`."""
        return await self.launch(program, {**(args or {}), **kwargs}, LaunchOptions())

    async def launch(self, program: str | Path | bytes, args: Mapping[str, Any], options: LaunchOptions) -> Process:
        """Start a program on behalf of a tenant, with limits."""
        text = _arguments(args)
        return self._start(await self._programs.load(program, tenant=options.tenant), text, options)

    async def answer(self, route: str, request: Mapping[str, Any], options: LaunchOptions) -> Process:
        """Start the program that answers OpenAI's routes: "chat" or "completions". `lip.openai` has its contract."""
        text = _arguments({"route": route, "request": request})
        if self._openai is None:
            self._openai = await self._programs.load(self._config.openai or resource(*_OPENAI) / "openai.py")
        return self._start(self._openai, text, options)

    def _start(self, loaded: Launchable, text: str, options: LaunchOptions) -> Process:
        argument = loaded.argument(text)
        if options.tenant in self._config.sharers:
            options = replace(options, share=True)
        if self._config.trace:
            options = replace(options, trace=True)
        reach = self._grants.reach(options.tenant, loaded.called)
        return self._processes.launch(loaded.program, loaded.name, argument, options, reach, origin=loaded)

    async def kill(self, process: Process) -> None:
        """End a process; returns when everything it held is released. No-op if it has ended."""
        await process.kill()

    @property
    def least_nice(self) -> int:
        """The least nice value that clients may ask for."""
        return self._config.least_nice

    def processes(self) -> list[Process]:
        return self._processes.all()

    def process(self, pid: int) -> Process:
        return self._processes.get(pid)

    # ---- programs
    async def upload(
        self, source: str | Path | bytes, /, name: str | None = None, *, tenant: str = "local"
    ) -> ProgramInfo:
        """Store a program under its content's id, and a name. The same content twice is the same program.

        Tenants do not see each other's programs; so it is with what follows.
        """
        return await self._programs.upload(source, name, tenant=tenant)

    def programs(self, *, tenant: str = "local") -> list[ProgramInfo]:
        return self._programs.list(tenant)

    def program(self, ref: str, *, tenant: str = "local") -> ProgramInfo:
        return self._programs.get(ref, tenant)

    def remove_program(self, ref: str, *, tenant: str = "local") -> None:
        self._programs.remove(ref, tenant)

    # ---- looking inside
    async def ready(self) -> None:
        """Return if programs can run, and each model ran a token within the last few seconds, or does so now. Raises
        Unavailable: why not."""
        if self._crew is not None and not any(worker.serving for worker in self._crew.workers):
            raise Unavailable("all workers were lost and are being replaced", "try again in a moment")
        await self._probe.check()

    def model_infos(self) -> list[ModelInfo]:
        return [engine.info for engine in self._engines]

    def view(self, process: Process, most: int = MAX_SURVEY_PAGES) -> View:
        """What the process does, waits for and holds now; `most`: entries of page tables to look at."""
        return view(process, self._inspector, most)

    def state(self, process: Process) -> str:
        """What `view` says of its state, for less."""
        return state_of(process, self._inspector)

    @property
    def tally(self) -> Tally:
        """How many processes there were, and how they went."""
        return self._processes.tally

    @property
    def crew(self) -> Crew | None:
        """The workers, if there are any."""
        return self._crew

    def gauges(self) -> list[ModelGauge]:
        """Steps, rates and pages of each model now; the first is the default."""
        return self._inspector.gauges()

    def operator(self, tenant: str, user: str = "") -> Operator:
        """Who looks after the files of a tenant as one of its users, and those below `/shared`."""
        share = tenant == LOCAL or tenant in self._config.sharers
        return Operator(self.core, Principal(tenant, user or tenant, share))

    def describe(self) -> dict[str, str]:
        """The boot report."""
        debug = {"debug": "freed pages are poisoned, the books are audited when idle"}
        shown = {"home": str(self._store.path)}
        if self._durable is not None:
            shown["durable"] = str(self._durable.recovery)
        shown |= self._engines[0].describe()
        for engine in self._engines[1:]:
            shown |= {f"{engine.info.name}: {what}": value for what, value in engine.describe().items()}
        if self._crew is not None:
            shown["workers"] = f"{len(self._crew.workers)} processes run the programs"
        shown |= self._grants.describe()
        return shown | debug if self._config.core.debug else shown


_encode = json.JSONEncoder(allow_nan=False).encode  # `json.dumps` makes one each time


def _arguments(args: Mapping[str, Any]) -> str:
    """The JSON of a run's arguments."""
    try:
        text = _encode(args)
    except (TypeError, ValueError, RecursionError) as e:
        raise Invalid(f"the arguments are not JSON values: {e}") from None
    if len(text) > MAX_ARGS_BYTES:
        raise LimitExceeded(f"the arguments have {len(text)} bytes, at most {MAX_ARGS_BYTES}")
    return text


class _Home:
    """The directory of uploaded programs; one host owns it at a time (a lock file says who)."""

    def __init__(self, path: Path | None) -> None:
        self.note = ""
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        wanted = path or data_directory()
        make_directory(wanted)
        self._lock = os.open(wanted / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.path = wanted
        except OSError:
            os.close(self._lock)
            if path is not None:
                raise Invalid(f"{path} belongs to another running host", "give this one another home") from None
            self._temporary = tempfile.TemporaryDirectory(prefix="symphony-")
            self.path = Path(self._temporary.name)
            self.note = f"{wanted} belongs to another running host: using a temporary store, without its programs"

    @property
    def temporary(self) -> bool:
        return self._temporary is not None

    def close(self) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()
        else:
            os.close(self._lock)


def data_directory() -> Path:
    """Where uploaded programs are kept by default: SYMPHONY_HOME, else the user's data directory."""
    root = os.environ.get("SYMPHONY_HOME")
    if root:
        return Path(root)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "symphony"


def cache_directory() -> Path:
    """Where compiled code is kept by default: the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "symphony"

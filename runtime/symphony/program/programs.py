"""Programs, from what a user has in hand to what the sandbox can run: the facade that the host sees.

    upload   bytes -> checked (and compiled, if it is a component) -> store
    load     a path, source text, bytes, a name or an id -> LoadedProgram, and how its `run` takes the arguments

A component runs as it is; a Python source runs on the interpreter component, which is built and compiled when the first
one is met.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from symphony.errors import Invalid, NotFound
from symphony.param import MAX_LOADED_PROGRAMS
from symphony.program import interpreter, source
from symphony.program.check import is_wasm, text_of
from symphony.program.compile import CompileLimits, Compiler
from symphony.program.store import ProgramInfo, Store, check_name, check_size, is_name
from symphony.sandbox import LoadedProgram, Sandbox

__all__ = ["Launchable", "ProgramInfo", "Programs"]


_OWN_LIMITS = CompileLimits(cpu_seconds=600, wall_seconds=600.0)
"""For our own component: a slow machine is no reason to refuse it."""


@dataclass(frozen=True, slots=True)
class Launchable:
    """A program ready to run: `argument` turns the run's arguments (a JSON object as text) into what `run` takes."""

    program: LoadedProgram
    name: str
    argument: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class _Given:
    """What a user handed in."""

    content: bytes
    name: str
    filename: str


class Programs:
    """The store, the compiler and the loaded programs of one host. Belongs to the event loop."""

    def __init__(self, sandbox: Sandbox, home: Path, cache: Path, *, limits: CompileLimits | None = None) -> None:
        self._sandbox = sandbox
        self._store = Store(home)
        self._cache = cache
        self._compiler = Compiler(cache, sandbox.config, limits or CompileLimits())
        self._loaded: OrderedDict[str, LoadedProgram] = OrderedDict()
        self._last = (b"", "")
        """The component that was run last, and its id: hashing it again takes as long as running it."""
        self._interpreter: LoadedProgram | None = None
        self._building = asyncio.Lock()

    async def upload(self, given: str | Path | bytes, name: str | None = None, *, tenant: str = "local") -> ProgramInfo:
        """Check a program and keep it: a path, source text, or bytes. Under `name`, else a path's file name.

        Raises `InvalidProgram`, `LimitExceeded`, `Invalid` (bad name), `NotFound` (no such file).
        """
        found = _read(given)
        if name is not None:
            check_name(name)
        elif is_name(found.name):
            name = found.name
        parameters = None
        if is_wasm(found.content):
            kind = "component"
            await self._component(found.content, tenant)
        else:
            kind = "python"
            filename = f"{name}.py" if name and not name.endswith(".py") else name or found.filename
            parameters = await source.look(self._sandbox, await self.interpreter(), text_of(found.content), filename)
        return self._store.add(found.content, kind, name, parameters)

    def list(self) -> list[ProgramInfo]:
        """The stored programs, the oldest first."""
        return self._store.list()

    def get(self, ref: str) -> ProgramInfo:
        """A stored program by name, id, or the beginning of an id. Raises `NotFound`."""
        return self._store.get(ref)

    def remove(self, ref: str) -> None:
        """Forget a stored program. What runs goes on. Raises `NotFound`."""
        info = self._store.remove(ref)
        self._loaded.pop(info.id, None)
        self._compiler.forget(info.id)

    async def load(self, given: str | Path | bytes, *, tenant: str = "local") -> Launchable:
        """A program ready to run: stored (by name or id), a path, source text, or bytes. Raises as `upload`.

        One that is known costs well under a millisecond; a new component is compiled first.
        """
        found = self._stored(given) if isinstance(given, str) and not _is_source(given) else None
        found = found or _read(given)
        if is_wasm(found.content):
            program = await self._component(found.content, tenant)
            return Launchable(program, found.name or "component", _as_it_is)
        text, filename = text_of(found.content), found.filename
        program = await self.interpreter()
        return Launchable(program, found.name or "program", lambda args: source.request(text, filename, args))

    async def interpreter(self) -> LoadedProgram:
        """The component that runs Python sources; the first call in a new cache takes half a minute."""
        async with self._building:
            if self._interpreter is None:
                wasm = await asyncio.to_thread(interpreter.ensure, self._cache)
                ours = Compiler(self._cache, self._sandbox.config, _OWN_LIMITS)
                cwasm = await ours.compiled(f"interpreter-{wasm.stem}", wasm)
                self._interpreter = self._sandbox.load(cwasm)
            return self._interpreter

    def _stored(self, ref: str) -> _Given | None:
        try:
            info = self._store.get(ref)
        except NotFound:
            if _is_file(ref):
                return None
            raise
        return _Given(self._store.content(info), info.name, f"{info.name.removesuffix('.py')}.py")

    async def _component(self, content: bytes, tenant: str) -> LoadedProgram:
        """Compiled and loaded; both are remembered by content."""
        if content is not self._last[0]:
            self._last = (content, hashlib.sha256(content).hexdigest())
        id = self._last[1]
        program = self._loaded.get(id)
        if program is None:
            self._sandbox.check(content)
            program = self._sandbox.load(await self._compiler.compiled(id, content, tenant))
            self._loaded[id] = program
            while len(self._loaded) > MAX_LOADED_PROGRAMS:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(id)
        return program


def _as_it_is(args: str) -> str:
    return args


def _is_source(given: str) -> bool:
    return "\n" in given


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # too long to be a path, or a NUL in it
        return False


def _read(given: str | Path | bytes) -> _Given:
    """The content of what a user handed in, with the names that it suggests."""
    if isinstance(given, bytes):
        check_size(len(given))
        return _Given(given, "", "program.py")
    if isinstance(given, str) and _is_source(given):
        content = given.encode("utf-8", "surrogatepass")
        check_size(len(content))
        return _Given(content, "", "program.py")
    path = Path(given)
    try:
        check_size(path.stat().st_size)
        return _Given(path.read_bytes(), path.stem, path.name)
    except IsADirectoryError:
        raise Invalid(f"{path} is a directory", f"build it first: symphony build {path} -o program.wasm") from None
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(
            f"there is no file {str(given)[:200]}",
            "give a path, source text of several lines, or an uploaded program's name",
        ) from None
    except (OSError, ValueError) as error:
        raise Invalid(f"{str(given)[:200]!r} cannot be read: {error}") from None

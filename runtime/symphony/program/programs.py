"""Programs, from what a user has in hand to what the sandbox can run: the facade that the host sees.

    upload   bytes -> checked (and compiled, if it is a component) -> store
    load     a path, source text, bytes, a name or an id -> LoadedProgram, and how its `run` takes the arguments

A component runs as it is; a Python source runs on the interpreter component, which is built and compiled when the first
one is met. A source that names packages becomes a component, where it is a file (`packaged`).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from symphony.errors import Invalid, NotFound
from symphony.param import MAX_LOADED_PROGRAMS, MAX_UPLOAD_BYTES, TENANT_PROGRAM_BYTES
from symphony.program import interpreter, source
from symphony.program.check import is_wasm, text_of
from symphony.program.compile import CompileLimits, Compiler
from symphony.program.packaged import built, packages_of, refuse
from symphony.program.store import ProgramInfo, Store, all_stores, check_name, check_size, home_of, is_name
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
    called: tuple[str, ...] = ()
    """What grants may call it: its name, or its file's, and its id. None for a text that somebody handed in."""


@dataclass(frozen=True, slots=True)
class _Given:
    """What a user handed in."""

    content: bytes
    name: str
    filename: str
    id: str = ""
    """Of a stored one."""
    path: Path | None = None
    """Where it lies, if it was handed in so."""

    @property
    def called(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.name, self.id)))


class Programs:
    """The store, the compiler and the loaded programs of one host. Belongs to the event loop."""

    def __init__(
        self,
        sandbox: Sandbox,
        home: Path,
        cache: Path,
        *,
        limits: CompileLimits | None = None,
        quotas: Mapping[str, int] | None = None,
        quota: int = TENANT_PROGRAM_BYTES,
    ) -> None:
        """`quota`: bytes that the programs of one tenant may take, unless `quotas` says otherwise."""
        self._quotas, self._quota = quotas or {}, quota
        self._sandbox = sandbox
        self._home = home
        self._stores: dict[str, Store] = {}
        self._cache = cache
        self._compiler = Compiler(cache, sandbox.config, limits or CompileLimits())
        self._loaded: OrderedDict[str, LoadedProgram] = OrderedDict()
        self._last = (b"", "")
        """The component that was run last, and its id: hashing it again takes as long as running it."""
        self._found: dict[tuple[str, str], _Given] = {}
        """Stored programs by tenant and what they were last asked for as: nobody else writes to the stores."""
        self._known: dict[tuple[str, str], ProgramInfo] = {}
        """The same of what is known of them."""
        self._interpreter: LoadedProgram | None = None
        self._building = asyncio.Lock()

    async def upload(self, given: str | Path | bytes, name: str | None = None, *, tenant: str = "local") -> ProgramInfo:
        """Check a program and keep it: a path, source text, or bytes. Under `name`, else a path's file name. A path's
        packages come along; a text that names some is refused.

        Raises `InvalidProgram`, `LimitExceeded`, `Invalid` (bad name), `NotFound` (no such file).
        """
        found = await self._read(given)
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
        self._forget()  # a name may mean something else now
        return self._store(tenant).add(found.content, kind, name, parameters)

    def list(self, tenant: str = "local") -> list[ProgramInfo]:
        """The tenant's stored programs, the oldest first."""
        return self._store(tenant).list()

    def get(self, ref: str, tenant: str = "local") -> ProgramInfo:
        """A stored program by name, id, or the beginning of an id. Raises `NotFound`."""
        known = self._known.get((tenant, ref))
        if known is None:
            known = self._store(tenant).get(ref)
            if len(self._known) >= MAX_LOADED_PROGRAMS:
                self._known.clear()
            self._known[tenant, ref] = known
        return known

    def remove(self, ref: str, tenant: str = "local") -> None:
        """Forget a stored program. What runs goes on, and so does what another tenant has. Raises `NotFound`."""
        info = self._store(tenant).remove(ref)
        self._forget()
        if not any(info.id in store for store in all_stores(self._home)):
            self._loaded.pop(info.id, None)
            self._compiler.forget(info.id)

    async def load(self, given: str | Path | bytes, *, tenant: str = "local", paths: bool = True) -> Launchable:
        """A program ready to run: stored (by name or id), a path, source text, or bytes. Raises as `upload`.

        One that is known costs well under a millisecond; a new component is compiled first. Without `paths` a text is
        never one: a guest must not reach the host's files.
        """
        found = self._stored(given, tenant, paths) if isinstance(given, str) and not _is_source(given) else None
        found = found or await self._read(given)
        if is_wasm(found.content):
            program = await self._component(found.content, tenant, found.id)
            return Launchable(program, found.name or "component", _as_it_is, found.called)
        text, filename = text_of(found.content), found.filename
        program = await self.interpreter()
        name = found.name or "program"
        return Launchable(program, name, lambda args: source.request(text, filename, args), found.called)

    async def interpreter(self) -> LoadedProgram:
        """The component that runs Python sources; the first call in a new cache takes half a minute."""
        async with self._building:
            if self._interpreter is None:
                wasm = await asyncio.to_thread(interpreter.ensure, self._cache)
                ours = Compiler(self._cache, self._sandbox.config, _OWN_LIMITS)
                cwasm = await ours.compiled(f"interpreter-{wasm.stem}", wasm)
                self._interpreter = self._sandbox.load(cwasm)
            return self._interpreter

    async def _read(self, given: str | Path | bytes) -> _Given:
        """What was handed in, with the packages that it names. Raises what reading and building it does."""
        found = _read(given)
        if found.path is None:
            refuse(found.content)
            return found
        if not packages_of(found.content):
            return found
        component = await asyncio.to_thread(built, found.path, found.content, self._cache)
        return replace(found, content=component.read_bytes())

    def _forget(self) -> None:
        self._found.clear()
        self._known.clear()

    def _store(self, tenant: str) -> Store:
        store = self._stores.get(tenant)
        if store is None:
            quota = self._quotas.get(tenant, self._quota)
            store = self._stores[tenant] = Store(home_of(self._home, tenant), quota)
        return store

    def _stored(self, ref: str, tenant: str, paths: bool) -> _Given | None:
        found = self._found.get((tenant, ref))
        if found is not None:
            return found
        try:
            info = self.get(ref, tenant)
        except NotFound:
            if paths and _is_file(ref):
                return None
            raise
        found = _Given(self._store(tenant).content(info), info.name, f"{info.name.removesuffix('.py')}.py", info.id)
        held = sum([len(other.content) for other in self._found.values()])
        if len(self._found) >= MAX_LOADED_PROGRAMS or held + len(found.content) > MAX_UPLOAD_BYTES:
            self._found.clear()
        self._found[tenant, ref] = found
        return found

    async def _component(self, content: bytes, tenant: str, id: str = "") -> LoadedProgram:
        """Compiled and loaded; both are remembered by content. `id`: its hash, if that is known."""
        if not id and content is not self._last[0]:
            self._last = (content, hashlib.sha256(content).hexdigest())
        id = id or self._last[1]
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
        return _Given(path.read_bytes(), path.stem, path.name, path=path)
    except IsADirectoryError:
        raise Invalid(f"{path} is a directory", f"build it first: symphony build {path} -o program.wasm") from None
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(
            f"there is no file {str(given)[:200]}",
            "give a path, source text of several lines, or an uploaded program's name",
        ) from None
    except (OSError, ValueError) as error:
        raise Invalid(f"{str(given)[:200]!r} cannot be read: {error}") from None

"""The store of uploaded programs: content under its hash, names that point at hashes. Survives restarts.

    programs/objects/<id>.py|.wasm     the content; <id> is its SHA-256 in hex
    programs/objects/<id>.json         what is known of it; written last: an object exists when this file does
    programs/names/<name>              the id that the name means

A tenant has a store of its own, below tenants/<tenant>; that of `local` is at the top.

Every file is written aside and renamed into place, so that a crash leaves the old state or the new one. It knows
nothing of Wasm or Python, and one host owns it at a time (`host` holds the lock).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from symphony.errors import Invalid, LimitExceeded, NoSpace, NotFound
from symphony.param import MAX_PROGRAMS_PER_TENANT, MAX_UPLOAD_BYTES, TENANT_PROGRAM_BYTES

LOCAL = "local"
"""The tenant of hosts without keys."""
_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ID = re.compile(r"[0-9a-f]{64}")
_SUFFIX = {"python": ".py", "component": ".wasm"}
_SHORTEST_PREFIX = 8


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """A stored program. `kind` is 'python' or 'component', `size` in bytes, `created` in seconds since the epoch;
    `parameters` are those of a Python program's main function with their annotations, where they are known."""

    id: str
    name: str
    kind: str
    size: int
    created: float
    names: tuple[str, ...] = ()
    parameters: dict[str, str] | None = None
    fresh: bool = False
    """Only from an upload: whether the content was new."""


def home_of(home: Path, tenant: str) -> Path:
    """The directory of a tenant's store. Raises Invalid for what cannot be a tenant's name."""
    if tenant == LOCAL:
        return home
    if not _TENANT.fullmatch(tenant):
        raise Invalid(f"{tenant[:100]!r} is not a tenant's name", "use lower-case letters, digits, '.', '_' and '-'")
    return home / "tenants" / tenant


def all_stores(home: Path) -> Iterator[Store]:
    """Of every tenant that has one."""
    for path in (home, *sorted(home.glob("tenants/*"))):
        yield Store(path)


class Store:
    """Content-addressed, below one private directory. Methods block for the disk, no longer."""

    def __init__(self, home: Path, quota: int = TENANT_PROGRAM_BYTES) -> None:
        """`quota`: bytes of all programs together."""
        self._quota = quota
        self._objects = home / "programs/objects"
        self._names = home / "programs/names"
        for folder in (home / "programs", self._objects, self._names):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)

    def add(
        self, content: bytes, kind: str, name: str | None = None, parameters: dict[str, str] | None = None
    ) -> ProgramInfo:
        """Keep a program, and let `name` mean it. The same content twice is the same program: `fresh` tells.

        Raises `LimitExceeded` (too large), `Invalid` (bad name), `NoSpace` (the tenant's programs take too much).
        """
        check_size(len(content))
        if name is not None:
            check_name(name)
        id = hashlib.sha256(content).hexdigest()
        fresh = id not in self
        if fresh:
            self._check_room(len(content))
            _write(self._objects / f"{id}{_SUFFIX[kind]}", content)
            meta = {"kind": kind, "size": len(content), "created": time.time(), "parameters": parameters}
            _write(self._meta(id), json.dumps(meta).encode())
        if name is not None:
            self._check_names(name)
            _write(self._names / name, id.encode())
        return replace(self._info(id, self._all_names().get(id, ())), fresh=fresh)

    def __contains__(self, id: str) -> bool:
        return self._meta(id).is_file()

    def list(self) -> list[ProgramInfo]:
        """Every program, the oldest first."""
        names = self._all_names()
        found = [self._info(path.stem, names.get(path.stem, ())) for path in self._objects.glob("*.json")]
        return sorted(found, key=lambda info: (info.created, info.id))

    def get(self, ref: str) -> ProgramInfo:
        """By name, id, or the first characters of an id (at least 8). Raises `NotFound`."""
        id = self._resolve(ref)
        return self._info(id, self._all_names().get(id, ()))

    def content(self, info: ProgramInfo) -> bytes:
        """The bytes that were uploaded. Raises `NotFound` if the program was removed."""
        try:
            return (self._objects / f"{info.id}{_SUFFIX[info.kind]}").read_bytes()
        except FileNotFoundError:
            raise NotFound(f"program {info.id[:12]} was removed") from None

    def remove(self, ref: str) -> ProgramInfo:
        """Forget a program and all its names. Raises `NotFound`."""
        info = self.get(ref)
        self._meta(info.id).unlink(missing_ok=True)
        (self._objects / f"{info.id}{_SUFFIX[info.kind]}").unlink(missing_ok=True)
        for name in info.names:
            (self._names / name).unlink(missing_ok=True)
        return info

    def _check_room(self, size: int) -> None:
        sizes = [json.loads(path.read_bytes())["size"] for path in self._objects.glob("*.json")]
        if sum(sizes) + size > self._quota:
            raise NoSpace(
                f"the stored programs have {sum(sizes)} bytes, and this one {size}: at most {self._quota} together",
                "remove some: symphony programs rm",
            )
        if len(sizes) >= MAX_PROGRAMS_PER_TENANT:
            raise NoSpace(f"there are {len(sizes)} stored programs", "remove some: symphony programs rm")

    def _check_names(self, name: str) -> None:
        if not (self._names / name).is_file() and len(list(self._names.iterdir())) >= MAX_PROGRAMS_PER_TENANT:
            raise NoSpace(f"programs have {MAX_PROGRAMS_PER_TENANT} names", "remove some: symphony programs rm")

    def _meta(self, id: str) -> Path:
        return self._objects / f"{id}.json"

    def _info(self, id: str, names: tuple[str, ...]) -> ProgramInfo:
        meta: dict[str, Any] = json.loads(self._meta(id).read_bytes())
        name = names[0] if names else id[:12]
        return ProgramInfo(id, name, meta["kind"], meta["size"], meta["created"], names, meta.get("parameters"))

    def _all_names(self) -> dict[str, tuple[str, ...]]:
        by_id: dict[str, tuple[str, ...]] = {}
        for path in sorted(self._names.glob("[!.]*")):
            id = path.read_text()
            by_id[id] = (*by_id.get(id, ()), path.name)
        return by_id

    def _resolve(self, ref: str) -> str:
        if _NAME.fullmatch(ref):
            named = self._names / ref
            if named.is_file():
                ref = named.read_text()
            if _ID.fullmatch(ref) and self._meta(ref).is_file():
                return ref
            if len(ref) >= _SHORTEST_PREFIX and re.fullmatch("[0-9a-f]+", ref):
                found = [path.stem for path in self._objects.glob(f"{ref}*.json")]
                if len(found) == 1:
                    return found[0]
        raise NotFound(f"no program is called {ref[:100]!r}", "`symphony programs ls` lists those that are uploaded")


def check_size(size: int) -> None:
    """Raises `LimitExceeded` for an upload that is too large."""
    if size > MAX_UPLOAD_BYTES:
        raise LimitExceeded(f"the program has {size} bytes, at most {MAX_UPLOAD_BYTES} are accepted")


def is_name(name: str) -> bool:
    """Whether a program can be called so: like no path, and like no id."""
    return _NAME.fullmatch(name) is not None and _ID.fullmatch(name) is None


def check_name(name: str) -> None:
    """Raises `Invalid` for a name that cannot be one."""
    if not is_name(name):
        raise Invalid(
            f"{name[:100]!r} is not a program name",
            "use letters, digits, '.', '_' and '-', starting with a letter or digit",
        )


def _write(path: Path, content: bytes) -> None:
    """All of it or nothing, on the disk when this returns."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

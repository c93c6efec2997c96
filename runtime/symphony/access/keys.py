"""The file of keys. A key is 256 random bits, shown once when it is made; kept is its SHA-256.

    sy-3f9a01c2-W0rQ...      what a client sends: an id, which the file has in the clear, and the secret

`symphony keys` writes the file while servers read it: it is replaced in one piece, and read again when it has been.
Random keys need no slow hash: there is nothing to guess.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Any, TypeVar, cast

from symphony.access.identity import Identity, Role, check_name
from symphony.errors import Invalid, LimitExceeded, NotFound, Unavailable
from symphony.param import MAX_KEYS

T = TypeVar("T")

PREFIX = "sy"
_NOBODY = sha256(b"").hexdigest()


@dataclass(slots=True, frozen=True)
class Key:
    """What is kept of a key."""

    id: str
    digest: str
    """SHA-256 of the whole text, in hex."""
    tenant: str
    user: str
    roles: tuple[str, ...]
    created: float
    """Seconds since 1970."""
    note: str = ""
    """Whatever helps the operator to remember."""

    @property
    def identity(self) -> Identity:
        return Identity(self.tenant, self.user, frozenset(map(Role, self.roles)), self.id)


def _key(record: dict[str, Any]) -> Key:
    """Raises TypeError and ValueError for what is none: an unknown role is an error now, not at a request."""
    roles = tuple(Role(role).value for role in record.pop("roles"))
    return Key(roles=roles, **record)


class KeyFile:
    """The keys in `path`; no file is no keys. Methods block for the disk, no longer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = None
        """Of the file as it was read: when it has another, it was replaced."""
        self._keys: dict[str, Key] = {}

    def all(self) -> list[Key]:
        """The oldest first. Raises Unavailable if the file cannot be read or is not ours."""
        self._look()
        return sorted(self._keys.values(), key=lambda key: (key.created, key.id))

    def find(self, text: str) -> Key | None:
        """The key that a client sent, which takes as long for a wrong one. Raises as `all`."""
        self._look()
        ident = text.split("-", 2)[1] if text.count("-") >= 2 else ""
        key = self._keys.get(ident)
        right = compare_digest(sha256(text.encode(errors="replace")).hexdigest(), key.digest if key else _NOBODY)
        return key if right else None

    def get(self, ident: str) -> Key | None:
        """The key with this id. Raises as `all`."""
        self._look()
        return self._keys.get(ident)

    def __len__(self) -> int:
        self._look()
        return len(self._keys)

    def add(self, tenant: str, user: str, roles: Iterable[Role], note: str = "") -> tuple[Key, str]:
        """A new key, and its text, which nobody can find out later. Raises Invalid, LimitExceeded too."""
        check_name(tenant, "tenant")
        check_name(user, "user")
        given = tuple(sorted({role.value for role in roles}))
        if not given:
            raise Invalid("a key without roles opens nothing", f"give it some of {', '.join(Role)}")

        def change(keys: dict[str, Key]) -> tuple[Key, str]:
            if len(keys) >= MAX_KEYS:
                raise LimitExceeded(f"there are {MAX_KEYS} keys", "remove some that nobody uses")
            ident = secrets.token_hex(4)
            while ident in keys:
                ident = secrets.token_hex(4)
            text = f"{PREFIX}-{ident}-{secrets.token_urlsafe(32)}"
            key = Key(ident, sha256(text.encode()).hexdigest(), tenant, user, given, round(time.time(), 3), note)
            keys[ident] = key
            return key, text

        return self._change(change)

    def remove(self, ident: str) -> Key:
        """From now on it opens nothing. Raises NotFound."""

        def change(keys: dict[str, Key]) -> Key:
            if ident not in keys:
                raise NotFound(f"there is no key {ident[:100]!r}", "symphony keys ls lists their ids")
            return keys.pop(ident)

        return self._change(change)

    # ---- the file
    def _look(self) -> None:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            self._seen, self._keys = None, {}
            return
        except OSError as cause:
            raise Unavailable(f"cannot read {self._path}: {cause.strerror}", "check its permissions") from None
        seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if seen != self._seen:
            self._keys = self._load()
            self._seen = seen

    def _load(self) -> dict[str, Key]:
        try:
            records = cast("list[dict[str, Any]]", json.loads(self._path.read_bytes())["keys"])
            return {key.id: key for key in map(_key, records)}
        except OSError as cause:
            raise Unavailable(f"cannot read {self._path}: {cause.strerror}", "check its permissions") from None
        except (ValueError, KeyError, TypeError, AttributeError) as cause:
            raise Unavailable(
                f"{self._path} is not a file of keys: {cause}", "restore it, or move it away and make new keys"
            ) from None

    def _change(self, change: Callable[[dict[str, Key]], T]) -> T:
        """Alone among all processes, and in one piece."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._look()
            keys = dict(self._keys)
            made = change(keys)
            aside = self._path.with_suffix(".new")
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
                json.dump({"keys": [asdict(key) for key in keys.values()]}, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            self._look()
            return made

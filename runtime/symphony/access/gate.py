"""From what a client sends to who it is, or a refusal.

    OPEN ── somebody makes a key ──▶ SHUT         a server that others can reach is SHUT from its start

While it is open everybody is the tenant `local`, in all roles. Once shut it stays so until the server ends, also when
the last key goes: that nobody may enter must not mean that everybody may.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from symphony.access.identity import LOCAL, Identity
from symphony.access.keys import KeyFile
from symphony.errors import Invalid, LimitExceeded, PermissionDenied, Unavailable
from symphony.pace import Pace


class KeyNeeded(PermissionDenied):
    """Nobody knows who asks."""

    http_status = 401


class Gate:
    """Of one server."""

    def __init__(
        self,
        keys: KeyFile | None = None,
        *,
        exposed: bool = False,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without a file of keys it is open for ever. `exposed`: others than this machine reach the server; `pace`: of
        each tenant's requests. Raises Invalid if others reach it and there is no key, Unavailable if the file cannot be
        read."""
        self._keys = keys
        self._pace = pace or Pace()
        self._clock = clock
        self._shut = keys is not None and len(keys) > 0
        if exposed and not self._shut:
            raise Invalid(
                "refusing to serve beyond this machine without keys: whoever can reach the port could run programs",
                "make one: symphony keys add TENANT; or serve on --host 127.0.0.1",
            )

    @property
    def shut(self) -> bool:
        """Whether a key is needed. Raises Unavailable."""
        if not self._shut:
            self._shut = self._keys is not None and len(self._keys) > 0
        return self._shut

    def identify(self, authorization: str | None) -> Identity:
        """Who sends this `Authorization` header. Raises KeyNeeded, Unavailable."""
        if not self.shut or self._keys is None:
            return LOCAL
        if authorization is None:
            raise KeyNeeded(
                "this server asks for a key",
                "send the header Authorization: Bearer KEY (symphony: --key, SYMPHONY_KEY)",
            )
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise KeyNeeded("the Authorization header has no bearer key", "send Authorization: Bearer KEY")
        key = self._keys.find(text.strip())
        if key is None:
            raise KeyNeeded(
                "there is no such key", "it may have been removed; the operator makes keys: symphony keys add"
            )
        return key.identity

    def knows(self, identity: Identity) -> bool:
        """Whether who was let in as this would be let in again: its key is there, or none is needed. A file that cannot
        be read puts nobody out."""
        try:
            if not self.shut or self._keys is None:
                return True
            key = self._keys.get(identity.key)
        except Unavailable:
            return True
        return key is not None and key.identity == identity

    def admit(self, identity: Identity) -> None:
        """Count a request. Raises LimitExceeded, which says when to try again."""
        now = self._clock()
        wait = self._pace.wait(identity.tenant, now)
        if wait:
            error = LimitExceeded(
                f"the tenant {identity.tenant} makes more requests than it may", f"try again in {max(wait, 0.1):.1f} s"
            )
            error.retry_after = wait
            raise error
        self._pace.take(identity.tenant, 1.0, now)

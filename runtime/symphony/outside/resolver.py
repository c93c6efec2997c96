"""The addresses of names, as the system knows them. Each name is asked for anew: nothing is remembered.

A name server that does not answer holds up a thread for as long as the system likes: those are counted, by tenant,
until they end; of one of the operator's own URLs there is one.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Sequence

from symphony.errors import Unavailable
from symphony.outside.addresses import Address, literal
from symphony.outside.threads import in_thread
from symphony.param import MAX_LOOKUPS, MAX_LOOKUPS_PER_TENANT


class Resolver:
    """`fetch.Resolve`, by the system."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()

    async def __call__(self, host: str, port: int, tenant: str) -> Sequence[Address]:
        """Raises Unavailable: there is no such host, or too many names are being looked up."""
        for running, limit in ((self._running[tenant], MAX_LOOKUPS_PER_TENANT), (self._running.total(), MAX_LOOKUPS)):
            if running >= limit:
                raise Unavailable(f"{running} names are being looked up already", "try again later")
        self._running[tenant] += 1

        def ended() -> None:
            self._running[tenant] -= 1
            self._running += Counter()  # forgets those without any

        try:
            found = await in_thread(f"look up {host}", lambda: _look_up(host, port), ended)
        except (OSError, UnicodeError) as e:
            raise Unavailable(f"there is no host {host!r}: {e}", "check the name") from None
        return list(dict.fromkeys(found))


class Lookup:
    """The addresses of one URL of the operator's, of whatever kind. Who asks while it is being looked up gets the same
    answer."""

    def __init__(self) -> None:
        self._running: asyncio.Future[list[Address]] | None = None

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        """Raises Unavailable: there is no such host."""
        if (address := literal(host)) is not None:
            return [address]
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(in_thread(f"look up {host}", lambda: _look_up(host, port), _nothing))
            self._running.add_done_callback(_seen)
        try:
            return list(dict.fromkeys(await asyncio.shield(self._running)))
        except (OSError, UnicodeError) as e:
            raise Unavailable(f"there is no host {host!r}: {e}", "check the name") from None


def _nothing() -> None:
    pass


def _seen(done: asyncio.Future[list[Address]]) -> None:
    """Whoever asked may have left."""
    if not done.cancelled():
        done.exception()


def _look_up(host: str, port: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [address for info in found if (address := literal(str(info[4][0]))) is not None]

"""One exchange over HTTP with somebody who may be hostile: a request out, an answer of bounded size in bounded time.

Each has a connection of its own, to one of the addresses that the caller names: nothing is followed, no cookie kept, no
proxy asked. What is packed is unpacked piece by piece, and counted as it comes out. Knows no policy: `fetch` and
`endpoints` decide who may ask whom.
"""

from __future__ import annotations

import asyncio
import socket
import zlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from symphony.errors import LimitExceeded, TimedOut, Unavailable
from symphony.outside.addresses import Address
from symphony.outside.places import Target
from symphony.outside.resolver import Lookup
from symphony.outside.unpack import Unpacker

_AGENT = {"User-Agent": "symphony", "Accept": "*/*", "Accept-Encoding": "gzip, deflate"}

Headers = Sequence[tuple[str, str]]


class Reply(NamedTuple):
    status: int
    headers: Headers
    """Names in lower case."""
    body: bytes

    def header(self, name: str) -> str:
        """The first one of that name, which is in lower case; empty if there is none."""
        return next((value for key, value in self.headers if key == name), "")


class Stream:
    """An answer that is being read."""

    def __init__(self, response: aiohttp.ClientResponse, limit: int) -> None:
        self.status = response.status
        self.headers: Headers = [(_text(key).lower(), _text(value)) for key, value in response.raw_headers]
        self._response = response
        self._limit = limit

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The body, unpacked. LimitExceeded once there is more than the limit of it, packed or unpacked."""
        unpacker = Unpacker(", ".join(value for key, value in self.headers if key == "content-encoding"))
        came = out = 0
        async for packed in self._response.content.iter_any():
            came += len(packed)
            for piece in unpacker.unpack(packed):
                out += len(piece)
                if max(came, out) > self._limit:
                    raise LimitExceeded(f"the answer has more than {self._limit} bytes", "ask for less of it")
                yield piece
                await asyncio.sleep(0)  # unpacking is work, and others wait
        unpacker.finish()


@asynccontextmanager
async def stream(
    method: str,
    target: Target,
    headers: Headers = (),
    body: bytes | None = None,
    *,
    addresses: Sequence[Address] | Lookup,
    limit: int,
    seconds: float,
) -> AsyncGenerator[Stream]:
    """Ask, and read the answer in the block; at most `limit` bytes, `seconds` from here to the end of the block.

    `addresses`: of the target's host, which are tried in turn; or how these are found (of an operator's own URL).
    Raises TimedOut, LimitExceeded, Unavailable; the connection is closed in any case.
    """
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            if isinstance(addresses, Lookup):
                addresses = await addresses(target.host, target.port)
            async with (
                _session(addresses) as session,
                session.request(
                    method,
                    URL(target.url, encoded=True),
                    headers=[*headers, *_missing(headers)],
                    data=body,
                    allow_redirects=False,
                ) as response,
            ):
                yield Stream(response, limit)
                response.close()
    except TimeoutError as e:
        if not deadline.expired():
            raise Unavailable(f"{target.origin} did not answer: {_why(e)}") from e
        raise TimedOut(f"{target.origin} took longer than {seconds:g} s", "ask for less, or give it more time") from e
    except (aiohttp.ClientError, ValueError, OSError, zlib.error, EOFError) as e:
        raise Unavailable(f"{target.origin} did not answer properly: {_why(e)}") from e


async def exchange(
    method: str,
    target: Target,
    headers: Headers = (),
    body: bytes | None = None,
    *,
    addresses: Sequence[Address] | Lookup,
    limit: int,
    seconds: float,
) -> Reply:
    """`stream`, read to its end."""
    async with stream(method, target, headers, body, addresses=addresses, limit=limit, seconds=seconds) as answer:
        return Reply(answer.status, answer.headers, b"".join([piece async for piece in answer.pieces()]))


class _Pinned(AbstractResolver):
    """Answers with the addresses that were checked, whatever is asked."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=socket.IPPROTO_TCP,
                flags=flags,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        pass


def _session(addresses: Sequence[Address]) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=_Pinned(addresses), use_dns_cache=False, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        auto_decompress=False,
        trust_env=False,
        raise_for_status=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    )


def _missing(headers: Headers) -> Headers:
    given = {name.lower() for name, _ in headers}
    return [(name, value) for name, value in _AGENT.items() if name.lower() not in given]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _why(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500].encode("utf-8", "replace").decode()

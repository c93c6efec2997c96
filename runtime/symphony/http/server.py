"""Where the application listens: a socket bound before the model is loaded, a runner, a clean end."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from symphony import param
from symphony.errors import Invalid, SymphonyError, Unavailable
from symphony.http.context import DRAIN
from symphony.http.errors import bug, error_fields, error_response
from symphony.http.guard import check_bind
from symphony.http.wire import encode

TURNS_OF_AN_ACCEPT = 3
"""Turns of the event loop until what it has accepted is a connection: closing the listener before loses it."""


def bind(host: str, port: int, *, keyed: bool = False) -> socket.socket:
    """A bound socket, on a loopback address unless clients need keys; port 0 takes a free one.

    Clients that connect before the application serves are queued, not refused.

    Raises Invalid for an address that needs keys or is not this machine's, Unavailable if the port is taken.
    """
    if not keyed:
        check_bind(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, param.HTTP_SEND_BUFFER_BYTES)  # connections inherit it
    try:
        listener.bind((host, port))
        listener.listen(param.HTTP_BACKLOG)
    except OSError as cause:
        listener.close()
        if cause.errno == errno.EADDRINUSE:
            raise Unavailable(
                f"port {port} of {host} is in use",
                f"another server may be running; take another port: --port {port + 1 if port < 65535 else 0}",
            ) from None
        raise Invalid(
            f"cannot serve on {host}, port {port}: {cause.strerror}", "try --host 127.0.0.1 --port 8080"
        ) from None
    return listener


def url_of(listener: socket.socket) -> str:
    """The base URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def make_runner(app: web.Application) -> web.AppRunner:
    """A runner under which a client that disconnects cancels its handler, and with it its run."""
    return web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        keepalive_timeout=param.HTTP_IDLE_SECONDS,
        shutdown_timeout=param.HTTP_SHUTDOWN_SECONDS,
    )


@asynccontextmanager
async def serving(app: web.Application, listener: socket.socket) -> AsyncGenerator[None]:
    """Accept connections on `listener` inside the block; after it, running processes are killed and all is closed."""
    runner = make_runner(app)
    await runner.setup()
    try:
        accepting = await asyncio.get_running_loop().create_server(
            _acceptor(runner),
            sock=listener,
            backlog=param.HTTP_BACKLOG,  # it listens anew, and would take 100
        )
        try:
            yield
        finally:
            rest = listener.dup()
            asyncio.get_running_loop().remove_reader(listener)
            for _ in range(TURNS_OF_AN_ACCEPT):
                await asyncio.sleep(0)
            accepting.close()
            await _accept_rest(rest, _acceptor(runner))
            if app[DRAIN].closed:
                await _linger(runner)
    finally:
        await runner.cleanup()


async def _accept_rest(listener: socket.socket, accept: Callable[[], asyncio.Protocol]) -> None:
    """Take those who are connected as the kernel has it, and whom nobody has accepted yet, then close: it would reset
    them."""
    connections: list[socket.socket] = []
    with listener, suppress(OSError):  # there is no other
        while True:
            connections.append(listener.accept()[0])
    for connection in connections:
        connection.setblocking(False)
        await asyncio.get_running_loop().connect_accepted_socket(accept, connection)


async def _linger(runner: web.AppRunner) -> None:
    """Connections that were accepted last may have requests on their way: these are refused rather than cut off."""
    server = runner.server
    assert server is not None, "the runner was set up"
    with suppress(TimeoutError):
        async with asyncio.timeout(param.HTTP_LINGER_SECONDS):
            while server.connections:  # noqa: ASYNC110 - aiohttp has no event for it
                await asyncio.sleep(0.01)


def _acceptor(runner: web.AppRunner) -> Callable[[], asyncio.Protocol]:
    """What serves a new connection: the application, as long as there is room."""
    server, most, loop = runner.server, _most_connections(), asyncio.get_running_loop()
    assert server is not None, "the runner was set up"

    def accept() -> asyncio.Protocol:
        if len(server.connections) >= most:
            return _Full()
        return _Connection(server, loop=loop, **server._kwargs)  # as the server makes them

    return accept


def _most_connections() -> int:
    """As many as the limit says, and as half of the files that this process may open: programs need some, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return min(param.MAX_CONNECTIONS, soft // 2)


class _Connection(web.RequestHandler):
    """A connection of aiohttp's, which answers what is no request (lines that are too long, bytes that are no HTTP) in
    the shape of all errors."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is on its way, and cannot be taken back")
        if status < 500:  # aiohttp would log each with its stack
            said = " ".join((message or "").split())[:300]
            error: SymphonyError = Invalid(
                f"this is no request that the server reads: {said}",
                "the lines of a request's head have at most 8,190 bytes; longer arguments go into the body",
            )
        else:
            error = bug(request, exc or AssertionError(message))
        response = error_response(error)
        response.set_status(status)
        response.force_close()
        return response


class _Full(asyncio.Protocol):
    """A connection beyond the limit: told so, and closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        error = Unavailable("the server has as many connections as it serves", "try again in a moment")
        body = encode({"error": error_fields(error)})
        head = (
            f"HTTP/1.1 {error.http_status} Service Unavailable\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
        )
        assert isinstance(transport, asyncio.Transport)
        transport.write(head.encode() + body)
        transport.close()

"""Where the application listens: a socket bound before the model is loaded, a runner, a clean end."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web

from symphony import param
from symphony.errors import Invalid, Unavailable
from symphony.http.guard import check_bind


def bind(host: str, port: int) -> socket.socket:
    """A bound socket on a loopback address; port 0 takes a free one.

    Clients that connect before the application serves are queued, not refused.

    Raises Invalid for an address that needs keys or is not this machine's, Unavailable if the port is taken.
    """
    check_bind(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
    return web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=param.HTTP_SHUTDOWN_SECONDS)


@asynccontextmanager
async def serving(app: web.Application, listener: socket.socket) -> AsyncGenerator[None]:
    """Accept connections on `listener` inside the block; after it, running processes are killed and all is closed."""
    runner = make_runner(app)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()

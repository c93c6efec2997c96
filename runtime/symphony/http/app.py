"""The application: the route table behind its middlewares, and what it does when it starts and ends.

It does not know where it listens (server.py) nor what runs behind the facade (host.py).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiohttp import web

from symphony import param
from symphony.access.gate import Gate
from symphony.errors import Unavailable
from symphony.http.answers import answers
from symphony.http.auth import auth, register
from symphony.http.bodies import Bodies, bodies
from symphony.http.context import BODIES, DOCUMENT, DRAIN, KEEP_ALIVE, PACE, RUNTIME, SOCKETS, WATCH
from symphony.http.drain import Drain, drain
from symphony.http.errors import errors
from symphony.http.feed import Pace
from symphony.http.guard import guard
from symphony.http.openapi import encoded
from symphony.http.table import ROUTES
from symphony.http.watch import Watch, name_answer, watch
from symphony.http.ws import close_all
from symphony.process.process import State

if TYPE_CHECKING:
    from symphony.host import Runtime

log = logging.getLogger(__name__)


def create_app(
    runtime: Runtime, *, gate: Gate | None = None, keep_alive: float = param.SSE_KEEP_ALIVE_SECONDS
) -> web.Application:
    """An application that serves `runtime`, which the caller has started and will close, to those whom `gate` lets in
    (default: everybody who can reach it).

    Serve it through `server.make_runner`: only with `handler_cancellation` does a client that leaves cancel its run.
    """
    app = web.Application(middlewares=[answers, watch, errors, guard, drain, auth, bodies])
    app[RUNTIME] = runtime
    app[KEEP_ALIVE] = keep_alive
    app[PACE] = Pace()
    app[DOCUMENT] = encoded(ROUTES)
    app[SOCKETS] = set()
    app[BODIES] = Bodies()
    app[DRAIN] = Drain()
    app[WATCH] = Watch()
    register(app, ROUTES, gate or Gate())
    app.on_response_prepare.append(name_answer)
    app.on_startup.append(_try_models)
    app.on_shutdown.extend((_end_processes, close_all))
    return app


async def _try_models(app: web.Application) -> None:
    """Say at once, not at the first request, if a model does not work; the first pass may also take longest."""
    try:
        await app[RUNTIME].ready()
    except Unavailable as error:
        log.warning("not ready: %s (%s)", error.message, error.hint)


async def _end_processes(app: web.Application) -> None:
    """Kill what still runs, so that open streams end with an error event instead of a torn connection. What waits for a
    place goes first, so that none of it begins."""
    runtime = app[RUNTIME]
    processes = sorted(runtime.processes(), key=lambda process: process.state is not State.NEW)
    await asyncio.gather(*(runtime.kill(process) for process in processes))

"""The HTTP interface as one table: route --> handler. Handlers check what comes in and call the runtime's facade.

It does not know where it listens (server.py) nor what runs behind the facade (host.py).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiohttp import web

from symphony import param
from symphony.errors import Unavailable
from symphony.http import fs, models, processes, programs, runs, status
from symphony.http.context import KEEP_ALIVE, RUNTIME
from symphony.http.errors import errors
from symphony.http.guard import guard
from symphony.http.wire import takes
from symphony.process.process import State

if TYPE_CHECKING:
    from symphony.host import Runtime

log = logging.getLogger(__name__)

FS = r"/v1/fs{path:(/[\s\S]*)?}"
"""Whatever the path is: what is wrong with it says the KVFS."""


def create_app(runtime: Runtime, *, keep_alive: float = param.SSE_KEEP_ALIVE_SECONDS) -> web.Application:
    """An application that serves `runtime`, which the caller has started and will close.

    Serve it through `server.make_runner`: only with `handler_cancellation` does a client that leaves cancel its run.
    """
    app = web.Application(middlewares=[errors, guard])
    app[RUNTIME] = runtime
    app[KEEP_ALIVE] = keep_alive
    app.add_routes(
        [
            web.post("/v1/programs", takes(programs.upload, "name")),
            web.get("/v1/programs", takes(programs.listing)),
            web.get("/v1/programs/{ref}", takes(programs.show)),
            web.delete("/v1/programs/{ref}", takes(programs.remove)),
            web.post("/v1/programs/{ref}/run", takes(runs.run_program, *runs.OPTIONS)),
            web.post("/v1/run", takes(runs.run_once, "args", *runs.OPTIONS)),
            web.get("/v1/processes", takes(processes.listing)),
            web.get("/v1/processes/{pid}", takes(processes.show)),
            web.delete("/v1/processes/{pid}", takes(processes.kill)),
            web.get("/v1/processes/{pid}/events", takes(processes.events)),
            web.get(FS, takes(fs.look, "what", "tree", "du")),
            web.post(FS, takes(fs.do, "do", "to", "overwrite")),
            web.delete(FS, takes(fs.remove, "recursive")),
            web.get("/v1/status", takes(status.show)),
            web.get("/v1/models", takes(models.listing)),
            web.get("/healthz", models.healthz),
            web.get("/readyz", models.readyz),
        ]
    )
    app.on_startup.append(_try_models)
    app.on_shutdown.append(_end_processes)
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

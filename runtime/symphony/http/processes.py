"""Processes over HTTP: list, look at, kill, read the events of (also after the end, always from the beginning)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from symphony.errors import NotFound
from symphony.http import sse
from symphony.http.context import KEEP_ALIVE, RUNTIME
from symphony.http.wire import json_response

if TYPE_CHECKING:
    from symphony.host import Runtime
    from symphony.process.process import Process


def process_fields(runtime: Runtime, process: Process) -> dict[str, Any]:
    """What clients see of a process; `started` is in seconds since 1970. `state`, `waits_for`: `process/view.py`."""
    view = runtime.view(process)
    activity = view.activity
    return {
        "pid": process.pid,
        "program": process.program,
        "tenant": process.tenant,
        "nice": process.options.nice,
        "state": view.state,
        "waits_for": view.waits_for,
        "started": process.started,
        "usage": process.usage._asdict(),
        "files": activity.files,
        "pages": {"device": activity.device_pages, "host": activity.host_pages},
        "operations": activity.operations,
    }


async def listing(request: web.Request) -> web.Response:
    """GET /v1/processes"""
    runtime = request.app[RUNTIME]
    return json_response({"processes": [process_fields(runtime, process) for process in runtime.processes()]})


async def show(request: web.Request) -> web.Response:
    """GET /v1/processes/{pid}: with the output so far."""
    process = _process(request)
    return json_response({**process_fields(request.app[RUNTIME], process), "output": process.output})


async def kill(request: web.Request) -> web.Response:
    """DELETE /v1/processes/{pid}: ends it if it still runs; answers with what it is then."""
    process = _process(request)
    await request.app[RUNTIME].kill(process)
    return json_response(process_fields(request.app[RUNTIME], process))


async def events(request: web.Request) -> web.StreamResponse:
    """GET /v1/processes/{pid}/events: leaving does not disturb the process."""
    return await sse.stream(request, _process(request).events(), keep_alive=request.app[KEEP_ALIVE])


def _process(request: web.Request) -> Process:
    text = request.match_info["pid"]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFound(f"no process {text!r}", "GET /v1/processes lists them")
    return request.app[RUNTIME].process(int(text))

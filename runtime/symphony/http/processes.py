"""Processes over HTTP: list, look at, kill, read the events of (also after the end, always from the beginning)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from symphony.errors import NotFound
from symphony.http import sse
from symphony.http.context import KEEP_ALIVE, RUNTIME
from symphony.http.wire import json_response

if TYPE_CHECKING:
    from symphony.process.process import Process


def process_fields(process: Process) -> dict[str, Any]:
    """What clients see of a process; `started` is in seconds since 1970."""
    return {
        "pid": process.pid,
        "program": process.program,
        "tenant": process.tenant,
        "state": process.state.value,
        "started": process.started,
        "usage": process.usage._asdict(),
    }


async def listing(request: web.Request) -> web.Response:
    """GET /v1/processes"""
    return json_response({"processes": [process_fields(process) for process in request.app[RUNTIME].processes()]})


async def show(request: web.Request) -> web.Response:
    """GET /v1/processes/{pid}: with the output so far."""
    process = _process(request)
    return json_response({**process_fields(process), "output": process.output})


async def kill(request: web.Request) -> web.Response:
    """DELETE /v1/processes/{pid}: ends it if it still runs; answers with what it is then."""
    process = _process(request)
    await request.app[RUNTIME].kill(process)
    return json_response(process_fields(process))


async def events(request: web.Request) -> web.StreamResponse:
    """GET /v1/processes/{pid}/events: leaving does not disturb the process."""
    return await sse.stream(request, _process(request).events(), keep_alive=request.app[KEEP_ALIVE])


def _process(request: web.Request) -> Process:
    text = request.match_info["pid"]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFound(f"no process {text!r}", "GET /v1/processes lists them")
    return request.app[RUNTIME].process(int(text))

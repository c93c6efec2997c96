"""Running a program for a client: as events, as one JSON, or detached.

    launch --> detach=1: 202 {pid}, the process lives on
           --> Accept: text/event-stream: its events
           --> else: {pid, result, output, usage} when it ends

A client that leaves before the end of a run that is not detached cancels it. (That needs a runner with
`handler_cancellation`; `server.py` and the tests make one.)
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web

from symphony import param
from symphony.errors import PermissionDenied, SymphonyError
from symphony.http import sse
from symphony.http.context import KEEP_ALIVE, RUNTIME, TENANT
from symphony.http.errors import error_response
from symphony.http.wire import flag, integer, json_response, parse_args, read_body, read_program, seconds
from symphony.process.process import LaunchOptions, Process

if TYPE_CHECKING:
    from symphony.host import Runtime

OPTIONS = ("detach", "timeout", "nice")
"""Query parameters of a run."""


async def run_program(request: web.Request) -> web.StreamResponse:
    """POST /v1/programs/{ref}/run: the body is the JSON of the arguments."""
    info = request.app[RUNTIME].program(request.match_info["ref"])
    body = await read_body(request, param.MAX_ARGS_BYTES, "the JSON of the arguments")
    return await _run(request, info.id, parse_args(body, param.MAX_ARGS_BYTES))


async def run_once(request: web.Request) -> web.StreamResponse:
    """POST /v1/run: the body is the program, the query parameter `args` the JSON of the arguments."""
    args = parse_args(request.query.get("args", "").encode(errors="surrogateescape"), param.MAX_ARGS_BYTES)
    body = await read_program(request)
    return await _run(request, body, args)


async def _run(request: web.Request, program: str | bytes, args: dict[str, Any]) -> web.StreamResponse:
    runtime = request.app[RUNTIME]
    detach = flag(request, "detach")
    process = await runtime.launch(program, args, _options(request))
    if detach:
        return json_response({"pid": process.pid}, status=202, headers={"Location": f"/v1/processes/{process.pid}"})
    if sse.wanted(request):
        abandoned = partial(runtime.kill, process)
        return await sse.stream(request, process.events(), keep_alive=request.app[KEEP_ALIVE], abandoned=abandoned)
    return await _answer(runtime, process)


def _options(request: web.Request) -> LaunchOptions:
    timeout = seconds(request, "timeout")
    wall = param.DEFAULT_WALL_SECONDS if timeout is None else timeout
    return LaunchOptions(tenant=TENANT, wall_seconds=wall, nice=_nice(request))


def _nice(request: web.Request) -> int:
    """A client may stand back as far as it likes, and come forward as far as the operator lets it."""
    least = request.app[RUNTIME].least_nice
    nice = integer(request, "nice", -param.NICEST - 1, param.NICEST)
    if nice is None:
        return max(least, 0)
    if nice < least:
        raise PermissionDenied(
            f"nice={nice} is less than {least}, the least that clients of this server may have",
            f"use {least} to {param.NICEST}, or have the operator allow less: symphony serve --least-nice N",
        )
    return nice


async def _answer(runtime: Runtime, process: Process) -> web.Response:
    """Wait for the end, and answer once. A failed run says what it wrote and used before, too."""
    try:
        result = await process.wait()
    except asyncio.CancelledError:
        await runtime.kill(process)
        raise
    except SymphonyError as error:
        return error_response(error, **_run_fields(process))
    return json_response({"result": result, **_run_fields(process)})


def _run_fields(process: Process) -> dict[str, Any]:
    return {"pid": process.pid, "output": process.output, "usage": process.usage._asdict()}

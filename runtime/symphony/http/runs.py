"""Running a program for a client: as events, as one JSON, or detached.

    launch --> detach=1: 202 {pid}, the process lives on; its events are read at /v1/processes/{pid}/events
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
from symphony.http.auth import who
from symphony.http.bodies import forget
from symphony.http.context import RUNTIME
from symphony.http.errors import error_response
from symphony.http.wire import flag, integer, json_response, parse_args, read_body, read_program, seconds
from symphony.observe.logs import REQUEST
from symphony.process.process import LaunchOptions, Process

if TYPE_CHECKING:
    from symphony.host import Runtime


async def run_program(request: web.Request) -> web.StreamResponse:
    """POST /v1/programs/{ref}/run: the body is the JSON of the arguments."""
    info = request.app[RUNTIME].program(request.match_info["ref"], tenant=who(request).tenant)
    body = await read_body(request, param.MAX_ARGS_BYTES, "the JSON of the arguments")
    process = await _launch(request, info.id, parse_args(body, param.MAX_ARGS_BYTES))
    return await _answer(request, process)


async def run_once(request: web.Request) -> web.StreamResponse:
    """POST /v1/run: the body is the program, the query parameter `args` the JSON of the arguments."""
    args = parse_args(request.query.get("args", "").encode(errors="surrogateescape"), param.MAX_ARGS_BYTES)
    process = await _launch(request, await read_program(request), args)
    return await _answer(request, process)


async def _launch(request: web.Request, program: str | bytes, args: dict[str, Any]) -> Process:
    """Nothing of the request's body is kept while the process runs."""
    flag(request, "detach")
    process = await request.app[RUNTIME].launch(program, args, _options(request))
    forget(request)
    return process


async def _answer(request: web.Request, process: Process) -> web.StreamResponse:
    runtime = request.app[RUNTIME]
    if flag(request, "detach"):
        return json_response({"pid": process.pid}, status=202, headers={"Location": f"/v1/processes/{process.pid}"})
    if sse.wanted(request):
        return await sse.stream(request, process.cursor(), abandoned=partial(runtime.kill, process))
    return await _result(runtime, process)


def _options(request: web.Request) -> LaunchOptions:
    timeout = seconds(request, "timeout")
    wall = param.DEFAULT_WALL_SECONDS if timeout is None else timeout
    identity = who(request)
    return LaunchOptions(
        tenant=identity.tenant,
        owner=identity.user,
        wall_seconds=wall,
        nice=_nice(request),
        trace=flag(request, "trace"),
        request=REQUEST.get(),
    )


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


async def _result(runtime: Runtime, process: Process) -> web.Response:
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

"""Processes over HTTP: list, look at, kill, send messages to, read the events of (also after the end; from the
beginning, or from where a reader was), have the timeline of."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import web

from symphony.errors import Invalid, NotFound
from symphony.http import sse
from symphony.http.auth import may_see, who
from symphony.http.context import RUNTIME
from symphony.http.wire import decoded, json_response, read_body
from symphony.param import MAX_MESSAGE_CHARS, MAX_SURVEY_PAGES
from symphony.process.trace import chrome_trace

if TYPE_CHECKING:
    from symphony.host import Runtime
    from symphony.process.process import Process
    from symphony.process.view import View


def process_fields(runtime: Runtime, process: Process) -> dict[str, Any]:
    """What clients see of a process; `started` is in seconds since 1970. `state`, `waits_for`: `process/view.py`."""
    return _fields(process, runtime.view(process), process.usage._asdict())


def _fields(process: Process, view: View, usage: dict[str, int]) -> dict[str, Any]:
    activity = view.activity
    return {
        "pid": process.pid,
        "parent": process.parent,
        "program": process.program,
        "tenant": process.tenant,
        "nice": process.options.nice,
        "state": view.state,
        "waits_for": view.waits_for,
        "started": process.started,
        "usage": usage,
        "files": activity.files,
        "pages": {"device": activity.device_pages, "host": activity.host_pages},
        "operations": activity.operations,
    }


async def listing(request: web.Request) -> web.Response:
    """GET /v1/processes: one's own; for an operator, the tenant's. Looks at MAX_SURVEY_PAGES entries of page tables for
    them all together, twice: beyond, pages that a process' files share count for each."""
    runtime, identity = request.app[RUNTIME], who(request)
    fields: list[dict[str, Any]] = []
    left = MAX_SURVEY_PAGES
    for process in runtime.processes():
        if may_see(identity, process):
            view = runtime.view(process, left)
            fields.append(_fields(process, view, process.usage_within(left)._asdict()))
            left = max(left - view.activity.entries, 0)
    return json_response({"processes": fields})


async def show(request: web.Request) -> web.Response:
    """GET /v1/processes/{pid}: with the output so far."""
    process = _process(request)
    return json_response({**process_fields(request.app[RUNTIME], process), "output": process.output})


async def kill(request: web.Request) -> web.Response:
    """DELETE /v1/processes/{pid}: ends it if it still runs; answers with what it is then."""
    process = _process(request)
    await request.app[RUNTIME].kill(process)
    return json_response(process_fields(request.app[RUNTIME], process))


async def message(request: web.Request) -> web.Response:
    """POST /v1/processes/{pid}/messages: the body is a text, for the program's `receive`. 204, or Busy (409) while it
    does not keep up."""
    process = _process(request)
    process.post(decoded(await read_body(request, MAX_MESSAGE_CHARS, "the message"), "the message"))
    return web.Response(status=204)


async def events(request: web.Request) -> web.StreamResponse:
    """GET /v1/processes/{pid}/events: those after the first `after`. Leaving does not disturb the process."""
    process, after = _process(request), sse.seen(request)
    if after > process.event_count:
        raise Invalid(f"process {process.pid} has had {process.event_count} events, not {after}", "ask for fewer")
    return await sse.stream(request, process.cursor(after))


async def trace(request: web.Request) -> web.Response:
    """GET /v1/processes/{pid}/trace: its timeline so far, for a trace viewer."""
    return json_response(chrome_trace(_process(request)))


def _process(request: web.Request) -> Process:
    text = request.match_info["pid"]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFound(f"no process {text!r}", "GET /v1/processes lists them")
    with suppress(NotFound):
        process = request.app[RUNTIME].process(int(text))
        if may_see(who(request), process):
            return process
    # in the same words whether it is another's or nobody's
    raise NotFound(f"there is no process {int(text)}", "GET /v1/processes lists them")

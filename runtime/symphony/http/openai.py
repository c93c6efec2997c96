"""OpenAI's routes: a request goes to the program that answers them, and what it says goes into OpenAI's framing.

    body --> launch --> the program's first word
                          a line of output: it streams; each line becomes `data: ...`, the end `data: [DONE]`
                          its result: one JSON with its status

The contract with the program is in `lip.openai`. What a request means is the program's business, which the operator may
replace; here are only sizes, framing and failures. A client that leaves ends the program, and with it what it held.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web

from symphony import param
from symphony.errors import BY_CODE, InternalError, Invalid, LimitExceeded
from symphony.http import sse
from symphony.http.auth import who
from symphony.http.context import RUNTIME
from symphony.http.errors import openai_fields
from symphony.http.feed import Item
from symphony.http.wire import encode, json_response, parse_args, read_body
from symphony.observe.logs import REQUEST
from symphony.process.process import LaunchOptions

if TYPE_CHECKING:
    from symphony.process.events import Cursor, Event

MAX_DEPTH = 64
"""Levels of a request's JSON."""
DONE = b"data: [DONE]\n\n"


async def chat(request: web.Request) -> web.StreamResponse:
    """POST /v1/chat/completions."""
    return await _answer(request, "chat")


async def completions(request: web.Request) -> web.StreamResponse:
    """POST /v1/completions."""
    return await _answer(request, "completions")


async def _answer(request: web.Request, route: str) -> web.StreamResponse:
    runtime = request.app[RUNTIME]
    body = await read_body(request, param.MAX_ARGS_BYTES, "the request")
    asked = parse_args(body, param.MAX_ARGS_BYTES)
    if _depth(asked) > MAX_DEPTH:
        raise Invalid(f"the request is nested more than {MAX_DEPTH} deep", "send a flatter one")
    identity = who(request)
    options = LaunchOptions(
        tenant=identity.tenant, owner=identity.user, nice=max(runtime.least_nice, 0), request=REQUEST.get()
    )
    process = await runtime.answer(route, asked, options)
    cursor = process.cursor()
    try:
        first = await _first_word(cursor)
    except asyncio.CancelledError:
        cursor.close()
        await runtime.kill(process)
        raise
    if first.kind == "output":
        rest = process.cursor(cursor.at - 1)
        cursor.close()
        return await sse.stream(request, rest, abandoned=partial(runtime.kill, process), frame=frame)
    cursor.close()
    status, answer = _verdict(first.kind, first.data)
    return json_response(answer, status=status)


def _depth(value: Any) -> int:
    """Levels of objects and arrays, as far as MAX_DEPTH + 1. A program's stack is small."""
    level: list[Any] = [value]
    for depth in range(MAX_DEPTH + 2):
        if not level:
            return depth - 1
        children = (
            v for one in level for v in (cast("dict[str, Any]", one).values() if isinstance(one, dict) else one)
        )
        level = [child for child in children if isinstance(child, dict | list)]
    return MAX_DEPTH + 1


async def _first_word(cursor: Cursor) -> Event:
    """The first event that says which kind of answer it is."""
    while not cursor.ended:
        await cursor.wait()
        for event in cursor.take(1, 1):
            if event.kind in ("output", "result", "error"):
                return event
    raise InternalError("the events of a process ended without a result")


def frame(item: Item) -> bytes:
    """One event of the process in OpenAI's framing. A failure is the stream's last word, without `[DONE]`."""
    kind, data, _ = item
    if kind == "output":
        lines = cast(str, data["text"]).encode(errors="replace").splitlines()
        return b"".join(b"data: " + line + b"\n\n" for line in lines if line)
    if kind not in ("result", "error"):
        return b""
    status, answer = _verdict(kind, data)
    return DONE if status == 200 else b"data: " + encode(answer) + b"\n\n"


def _verdict(kind: str, data: Any) -> tuple[int, Any]:
    """Status and body of the program's end. What it did not mean to say is a fault of the server."""
    if kind == "error":
        known = BY_CODE.get(data["code"], InternalError)
        status = 400 if known is LimitExceeded else known.http_status  # 429 would have the client try again
        return status, {"error": openai_fields(known(data["message"], data["hint"]))}
    value = data["value"]
    if isinstance(value, dict):
        status, body = value.get("status"), value.get("body")
        if status == 200 or (type(status) is int and 400 <= status < 600 and isinstance(body, dict)):
            return status, body
    error = InternalError("the program that answers OpenAI's routes broke its contract", "docs/openai.md has it")
    return error.http_status, {"error": openai_fields(error)}

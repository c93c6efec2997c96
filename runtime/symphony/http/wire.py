"""Bytes in, bytes out: JSON answers, bounded bodies, query parameters.

Everything a client sends passes through here once and is checked: size before content, then UTF-8, then JSON, then
type. Knows nothing of programs or processes.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from symphony import param
from symphony.errors import Invalid, LimitExceeded, TimedOut
from symphony.http.bodies import count


class TooSlow(TimedOut):
    """A request did not arrive in time."""

    http_status = 408


class TooLarge(LimitExceeded):
    """A request's body or arguments are longer than the published limit."""

    http_status = 413

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"{what} is larger than {limit} bytes", "send less, or have the operator raise the limit")


def encode(value: Any) -> bytes:
    """`value` as one line of UTF-8 JSON: NaN and infinity become null, a lone surrogate becomes `?`.

    Raises LimitExceeded for a value that is nested too deeply.
    """
    try:
        try:
            return msgspec.json.encode(value)
        except UnicodeEncodeError:
            return msgspec.json.encode(_without_surrogates(value))
    except RecursionError:
        raise LimitExceeded("the value is nested too deeply to be sent as JSON", "return a flatter one") from None


def json_response(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=encode(value), status=status, content_type="application/json", headers=headers)


async def read_body(request: web.Request, limit: int, what: str) -> bytes:
    """The whole body, at most `limit` bytes (counted after decompression).

    Raises TooLarge as soon as the limit is passed, before the rest is read; TooSlow if it takes HTTP_BODY_SECONDS;
    Invalid where it does not unpack as its header says; LimitExceeded or Unavailable where bodies in flight take too
    much memory.
    """
    if request.content_length is not None and request.content_length > limit:
        raise TooLarge(what, limit)
    body = bytearray()
    try:
        async with asyncio.timeout(param.HTTP_BODY_SECONDS):
            async for chunk in request.content.iter_any():
                if len(body) + len(chunk) > limit:
                    raise TooLarge(what, limit)
                count(request, len(chunk))
                body += chunk
    except web.RequestPayloadError as cause:
        request.content.feed_eof()  # else aiohttp reads on behind the answer, and logs the same failure
        request.protocol.close()  # behind the answer: where the next request begins, nobody knows
        raise Invalid(f"{what} cannot be read: {cause}", "send it as Content-Encoding says, or without one") from None
    except TimeoutError:
        raise TooSlow(
            f"{what} did not arrive within {param.HTTP_BODY_SECONDS:g} s", "send it faster, or in smaller parts"
        ) from None
    return bytes(body)


async def read_program(request: web.Request) -> bytes:
    """The body as a program's bytes; what is in them is for the runtime to check."""
    body = await read_body(request, param.MAX_UPLOAD_BYTES, "the program")
    if not body:
        raise Invalid("the body is empty", "send the program: curl --data-binary @my.py URL")
    return body


def decoded(body: bytes, what: str) -> str:
    """A body as text. Raises Invalid where it is not UTF-8."""
    try:
        return body.decode()
    except UnicodeDecodeError as cause:
        raise Invalid(f"{what} is not UTF-8 text: {cause}", "send text; put other data into base64") from None


def parse_args(text: bytes, limit: int) -> dict[str, Any]:
    """A run's arguments: a JSON object in UTF-8; nothing at all means no arguments."""
    if len(text) > limit:
        raise TooLarge("the JSON of the arguments", limit)
    if not text.strip():
        return {}
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as cause:
        raise Invalid(f"the arguments are not JSON: {cause}", 'send an object, such as {"prompt": "Hello"}') from None
    if not isinstance(value, dict):
        raise Invalid(
            f"the arguments are {_json_type(value)}, not a JSON object",
            'name each argument: {"prompt": "Hello"}',
        )
    return value


def takes(handler: Handler, *known: str) -> Handler:
    """The handler, for requests without query parameters that it does not know: a typing error is no default."""

    async def checked(request: web.Request) -> web.StreamResponse:
        for name in request.query:
            if name not in known:
                there = f"known here: {', '.join(known)}" if known else "this takes none"
                raise Invalid(f"there is no query parameter {name!r}", there)
        return await handler(request)

    return checked


def seconds(request: web.Request, name: str) -> float | None:
    """The query parameter `name` as a positive number of seconds; None if it is absent."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise Invalid(f"{name}={text!r} is not a positive number of seconds", f"for example {name}=30")
    return value


def integer(request: web.Request, name: str, least: int, most: int) -> int | None:
    """The query parameter `name` as a whole number in a range; None if it is absent."""
    text = request.query.get(name)
    if text is None:
        return None
    number = whole(text, least, most)
    if number is None:
        raise Invalid(f"{name}={text!r} is not a whole number from {least} to {most}", f"for example {name}={most}")
    return number


def whole(text: str, least: int, most: int) -> int | None:
    """`text` as a whole number in a range; None if it is none."""
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) < 19 and least <= int(text) <= most:
        return int(text)
    return None


def flag(request: web.Request, name: str) -> bool:
    """The query parameter `name`, 1 or 0; absent means 0."""
    text = request.query.get(name, "0")
    if text not in ("0", "1"):
        raise Invalid(f"{name}={text!r} is neither 0 nor 1", f"say {name}=1 or leave it out")
    return text == "1"


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    return value


def _json_type(value: Any) -> str:
    return {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}.get(type(value), "a number")

"""Failures on the wire: every one is `{"error": {code, message, hint}}` with its status; on OpenAI's routes, with the
members that its clients read as well.

The middleware is the only place that turns an exception into an answer; handlers just raise. It knows the tree of
`symphony.errors` and aiohttp's own exceptions, nothing of programs or processes.
"""

from __future__ import annotations

import logging
import math
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from symphony.errors import InternalError, Invalid, NotFound, ProgramError, SymphonyError
from symphony.http.wire import json_response

log = logging.getLogger(__name__)

OPENAI_PATHS = ("/v1/chat/completions", "/v1/completions")
ROUTES_HINT = (
    "the routes are /v1/programs, /v1/run, /v1/processes, /v1/fs, /v1/status, /v1/models, /v1/chat/completions, "
    "/v1/completions, /v1/ws, /healthz and /readyz; /openapi.json describes them"
)


def error_fields(error: SymphonyError) -> dict[str, Any]:
    """What clients see of `error`; a program's own failure carries its traceback too."""
    fields: dict[str, Any] = {"code": error.code, "message": error.message, "hint": error.hint}
    if isinstance(error, ProgramError):
        fields["traceback"] = error.traceback
    return fields


def openai_fields(error: SymphonyError) -> dict[str, Any]:
    """What clients of OpenAI's routes see; `hint` is ours."""
    kind = "invalid_request_error" if error.http_status < 500 else "server_error"
    code = error.code.replace("-", "_")
    return {"message": error.message, "type": kind, "param": None, "code": code, "hint": error.hint}


def error_response(error: SymphonyError, **beside: Any) -> web.Response:
    """The answer for `error`; `beside` are further members of the envelope."""
    return json_response({"error": error_fields(error), **beside}, status=error.http_status)


def bug(request: web.BaseRequest, cause: BaseException) -> InternalError:
    """A bug of the host: logged with its stack, shown to the client without details."""
    log.error("%s %s failed", request.method, request.path, exc_info=cause)
    return InternalError("the host met a bug of its own", "the server's log has the stack; please report it")


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every failure in the one documented shape. Must stand before all that raise."""
    try:
        return await handler(request)
    except SymphonyError as error:
        if isinstance(error, InternalError):
            log.error("%s %s failed", request.method, request.path, exc_info=error)
        return _answer(request, error)
    except web.HTTPException as refusal:
        if refusal.status < 400:
            raise
        return _from_aiohttp(request, refusal)
    except ConnectionError:
        raise
    except Exception as cause:
        return _answer(request, bug(request, cause))


def _answer(request: web.Request, error: SymphonyError) -> web.Response:
    if request.path in OPENAI_PATHS:
        response = json_response({"error": openai_fields(error)}, status=error.http_status)
    else:
        response = error_response(error)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(max(math.ceil(error.retry_after), 1))
    if error.http_status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _from_aiohttp(request: web.Request, refusal: web.HTTPException) -> web.Response:
    """aiohttp's own refusals (no such route, method or size) in our shape, with aiohttp's status."""
    if isinstance(refusal, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(refusal.allowed_methods))
        error: SymphonyError = Invalid(f"{request.method} is not served at {request.path}", f"allowed here: {allowed}")
    elif refusal.status == 404:
        error = NotFound(f"nothing is served at {request.path}", ROUTES_HINT)
    elif refusal.status >= 500:
        error = bug(request, refusal)
    else:
        error = Invalid(refusal.text or refusal.reason)
    response = _answer(request, error)
    response.set_status(refusal.status)
    if isinstance(refusal, web.HTTPMethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(refusal.allowed_methods))
    return response

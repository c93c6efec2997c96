"""The OpenAPI document of the server, made from its route table (https://spec.openapis.org/oas/v3.1.0).

Nothing is described twice: paths, query parameters and bodies are those that the server registers and checks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from aiohttp import web

from symphony.http.auth import OPEN
from symphony.http.context import DOCUMENT
from symphony.http.errors import OPENAI_PATHS
from symphony.http.route import JSON, Answer, Body, Query, Route
from symphony.http.schemas import SCHEMAS, ref
from symphony.http.wire import encode

_INTRODUCTION = (
    "Symphony serves programs instead of prompts. Errors are `{error: {code, message, hint}}`; on OpenAI's routes they "
    "have the members that its clients read as well. A query parameter that a route does not know is an error."
)


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The document of `routes`, as JSON values."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.template, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Symphony", "version": _version(), "description": _INTRODUCTION},
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


async def show(request: web.Request) -> web.Response:
    """GET /openapi.json"""
    return web.Response(body=request.app[DOCUMENT], content_type="application/json")


def encoded(routes: Iterable[Route]) -> bytes:
    return encode(document(routes))


def _operation(route: Route) -> dict[str, Any]:
    handler = route.handler
    module = handler.__module__.rsplit(".", 1)[-1]
    error = "OpenAIError" if route.path in OPENAI_PATHS else "Error"
    operation: dict[str, Any] = {
        "operationId": f"{module}_{handler.__name__}",
        "tags": [module],
        "summary": route.says,
        "parameters": [*map(_in_path, re.findall(r"{(\w+)}", route.template)), *map(_in_query, route.query)],
        "responses": {
            **{str(answer.status): _response(answer) for answer in route.answers},
            "default": _response(Answer("What went wrong, and what to do about it.", {JSON: ref(error)})),
        },
    }
    if route.template in OPEN:
        operation["security"] = []
    elif route.needs:
        operation["description"] = f"Where keys are needed, one in the role {', '.join(route.needs)}."
    if route.body is not None:
        operation["requestBody"] = _request_body(route.body)
    return operation


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _in_query(query: Query) -> dict[str, Any]:
    return {"name": query.name, "in": "query", "description": query.says, "schema": query.schema}


def _request_body(body: Body) -> dict[str, Any]:
    return {"required": body.needed, "description": body.says, "content": {body.media: {"schema": body.schema}}}


def _response(answer: Answer) -> dict[str, Any]:
    content = {media: {"schema": schema} for media, schema in answer.media.items()}
    return {"description": answer.says, **({"content": content} if content else {})}


def _version() -> str:
    try:
        return version("symphony-lip")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0"

"""The tenant's programs over HTTP: upload, list, look at, remove."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from symphony.http.auth import who
from symphony.http.context import RUNTIME
from symphony.http.wire import json_response, read_program

if TYPE_CHECKING:
    from symphony.program.store import ProgramInfo


def program_fields(info: ProgramInfo) -> dict[str, Any]:
    """What clients see of a program: `created` is in seconds since 1970, `parameters` maps names to annotations and is
    null where nothing is known of them."""
    return {
        "id": info.id,
        "name": info.name,
        "kind": info.kind,
        "size": info.size,
        "created": info.created,
        "names": info.names,
        "parameters": info.parameters,
    }


async def upload(request: web.Request) -> web.Response:
    """POST /v1/programs?name=N: 201 with the new program, 200 if the content is known already."""
    body = await read_program(request)
    info = await request.app[RUNTIME].upload(body, name=request.query.get("name"), tenant=who(request).tenant)
    status = 201 if info.fresh else 200
    return json_response(program_fields(info), status=status, headers={"Location": f"/v1/programs/{info.id}"})


async def listing(request: web.Request) -> web.Response:
    """GET /v1/programs"""
    programs = request.app[RUNTIME].programs(tenant=who(request).tenant)
    return json_response({"programs": [program_fields(info) for info in programs]})


async def show(request: web.Request) -> web.Response:
    """GET /v1/programs/{id|name}"""
    return json_response(
        program_fields(request.app[RUNTIME].program(request.match_info["ref"], tenant=who(request).tenant))
    )


async def remove(request: web.Request) -> web.Response:
    """DELETE /v1/programs/{id|name}: 204. Processes that run it are not disturbed."""
    request.app[RUNTIME].remove_program(request.match_info["ref"], tenant=who(request).tenant)
    return web.Response(status=204)

"""The loaded models, in the list shape that OpenAI's clients read, and whether they work."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from symphony.engine.messages import ModelInfo
from symphony.errors import NotFound
from symphony.http.context import RUNTIME
from symphony.http.wire import json_response


async def listing(request: web.Request) -> web.Response:
    """GET /v1/models: the first is the default."""
    return json_response({"object": "list", "data": [_shown(info) for info in request.app[RUNTIME].model_infos()]})


async def show(request: web.Request) -> web.Response:
    """GET /v1/models/{name}."""
    name, infos = request.match_info["name"], request.app[RUNTIME].model_infos()
    for info in infos:
        if info.name == name:
            return json_response(_shown(info))
    raise NotFound(f"no model {name!r} is loaded", f"there are {', '.join(info.name for info in infos)}")


def _shown(info: ModelInfo) -> dict[str, Any]:
    return {
        "id": info.name,
        "object": "model",
        "created": 0,
        "owned_by": "symphony",
        "vocab_size": info.vocab_size,
        "context_limit": info.context_limit,
        "page_size": info.page_size,
        "pages": info.pages,
        "device": info.device,
    }


async def healthz(_request: web.Request) -> web.Response:
    """GET /healthz: the event loop turns."""
    return json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """GET /readyz: the models ran a token within the last few seconds, or do so now; else 503 with the reason."""
    await request.app[RUNTIME].ready()
    return json_response({"status": "ready"})

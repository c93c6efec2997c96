"""The loaded models, in the list shape that OpenAI's clients read, and whether they work."""

from __future__ import annotations

from aiohttp import web

from symphony.http.context import RUNTIME
from symphony.http.wire import json_response


async def listing(request: web.Request) -> web.Response:
    """GET /v1/models: the first is the default."""
    models = [
        {
            "id": info.name,
            "object": "model",
            "owned_by": "symphony",
            "vocab_size": info.vocab_size,
            "context_limit": info.context_limit,
            "page_size": info.page_size,
            "pages": info.pages,
            "device": info.device,
        }
        for info in request.app[RUNTIME].model_infos()
    ]
    return json_response({"object": "list", "data": models})


async def healthz(_request: web.Request) -> web.Response:
    """GET /healthz: the event loop turns."""
    return json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """GET /readyz: the models ran a token within the last few seconds, or do so now; else 503 with the reason."""
    await request.app[RUNTIME].ready()
    return json_response({"status": "ready"})

"""How the host is doing, as numbers for people and dashboards."""

from __future__ import annotations

from collections import Counter

from aiohttp import web

from symphony.http.context import RUNTIME
from symphony.http.wire import json_response


async def show(request: web.Request) -> web.Response:
    """GET /v1/status: gauges of each model (the default one first), and live processes by state."""
    runtime = request.app[RUNTIME]
    live = [process for process in runtime.processes() if not process.state.ended]
    states = Counter(runtime.view(process).state for process in live)
    return json_response({"models": runtime.gauges(), "processes": {"live": len(live), "states": states}})

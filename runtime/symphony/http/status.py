"""How the host is doing, as numbers for people and dashboards."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from aiohttp import web

from symphony.core.inspect import ModelGauge, TierGauge
from symphony.http.auth import may_see, who
from symphony.http.context import RUNTIME
from symphony.http.wire import json_response


async def show(request: web.Request) -> web.Response:
    """GET /v1/status: gauges of each model (the default one first), and the live processes that one may see."""
    runtime = request.app[RUNTIME]
    identity, gauges = who(request), runtime.gauges()
    live = [process for process in runtime.processes() if not process.state.ended and may_see(identity, process)]
    states = Counter(runtime.state(process) for process in live)
    if not identity.runs_the_host:
        gauges = [_own(gauge, identity.tenant) for gauge in gauges]
    return json_response({"models": gauges, "processes": {"live": len(live), "states": states}})


def _own(gauge: ModelGauge, tenant: str) -> ModelGauge:
    """Without what other tenants have."""

    def own(tier: TierGauge) -> TierGauge:
        return replace(tier, tenants={name: count for name, count in tier.tenants.items() if name == tenant})

    return replace(gauge, pages=own(gauge.pages), slots=own(gauge.slots), disk=own(gauge.disk))

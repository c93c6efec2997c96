"""What handlers find in the application and in a request. Who asks says `auth.who`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    import asyncio

    from symphony.access.gate import Gate
    from symphony.access.identity import Identity, Role
    from symphony.host import Runtime
    from symphony.http.bodies import Bodies
    from symphony.http.drain import Drain
    from symphony.http.feed import Pace, Sink
    from symphony.http.watch import Watch
    from symphony.http.ws import Connection

RUNTIME: web.AppKey[Runtime] = web.AppKey("runtime")
KEEP_ALIVE: web.AppKey[float] = web.AppKey("keep_alive")
PACE: web.AppKey[Pace] = web.AppKey("pace")
"""Of all streams together."""
DOCUMENT: web.AppKey[bytes] = web.AppKey("document")
"""The OpenAPI document."""
SOCKETS: web.AppKey[set[Connection]] = web.AppKey("sockets")
"""Open WebSockets."""
SINK: web.RequestKey[Sink] = web.RequestKey("sink")
"""In a request that came over a WebSocket: where its events go (`feed.Sink`)."""
GATE: web.AppKey[Gate] = web.AppKey("gate")
LAST: web.RequestKey[bool] = web.RequestKey("last")
"""In a request behind whose answer its connection is closed."""
CONNECTIONS: web.AppKey[dict[str, set[asyncio.Task[None]]]] = web.AppKey("connections")
"""Open connections of each tenant, by the tasks that serve them, from the first request with its key on."""
NEEDS: web.AppKey[dict[tuple[str, str], tuple[Role, ...]]] = web.AppKey("needs")
"""The roles that each method and path needs."""
BODIES: web.AppKey[Bodies] = web.AppKey("bodies")
"""Bodies in memory..."""
BODY_BYTES: web.RequestKey[int] = web.RequestKey("body_bytes")
"""...and in a request, the bytes of its own."""
DRAIN: web.AppKey[Drain] = web.AppKey("drain")
WATCH: web.AppKey[Watch] = web.AppKey("watch")
"""What is counted of requests."""
IDENTITY: web.RequestKey[Identity] = web.RequestKey("identity")
"""In a request: who asks."""

"""What handlers find in the application, and who asks.

Until keys exist, everybody who can reach the (loopback) port is the tenant `local`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from symphony.host import Runtime

RUNTIME: web.AppKey[Runtime] = web.AppKey("runtime")
KEEP_ALIVE: web.AppKey[float] = web.AppKey("keep_alive")
TENANT = "local"

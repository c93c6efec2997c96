"""Who may talk to a server that asks for no key: programs of this machine, and no web page from elsewhere. (A key is
what no web page has: a server that asks for one needs no guard.)

Without keys the loopback address is the only protection, and a browser undermines it twice: a page may post to
127.0.0.1 (its `Origin` tells), and a page whose own name is made to resolve to 127.0.0.1 may read the answers too
(DNS rebinding: the `Host` header tells). Both are refused. Knows nothing of routes.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from symphony.errors import Invalid, PermissionDenied
from symphony.http.context import GATE


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or address without port) can only mean this machine. Resolves nothing."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_bind(host: str) -> None:
    """Raises Invalid unless `host` is a loopback address. Of a server without keys."""
    if not is_loopback(host):
        raise Invalid(
            f"refusing to serve on {host!r} without keys: whoever can reach the port could run programs",
            "make a key: symphony keys add TENANT; or serve on --host 127.0.0.1",
        )


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what a foreign web page sends through a browser of this machine."""
    if request.app[GATE].shut:
        return await handler(request)
    host = request.headers.get("Host")
    if host is not None and not is_loopback(_hostname("//" + host)):
        raise PermissionDenied(
            f"the Host header names {host!r}, but this server serves this machine only",
            "use http://127.0.0.1 or http://localhost",
        )
    origin = request.headers.get("Origin")
    if origin is not None and not is_loopback(_hostname(origin)):
        raise PermissionDenied(
            f"the request comes from a web page of {origin!r}",
            "call the server from a program, or from a page that this machine serves",
        )
    return await handler(request)


def _hostname(url: str) -> str:
    """The host of `url` without port and brackets; empty if there is none or it is malformed."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""

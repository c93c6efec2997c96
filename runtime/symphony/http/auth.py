"""Who asks, before any handler runs: a key, a role, a tenant's rate. What nobody gave to anybody is denied.

A route says in the table which roles it needs (`Route.needs`; unless it says something, `operate`); what is routed but
stands in no table needs `operate` as well. Only the routes of OPEN ask for no key. A client without one learns nothing,
not even which routes there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.typedefs import Handler

from symphony import param
from symphony.access.identity import Identity, Role
from symphony.errors import LimitExceeded, PermissionDenied
from symphony.http import ui
from symphony.http.context import CONNECTIONS, GATE, IDENTITY, LAST, NEEDS, SINK
from symphony.http.route import Route

if TYPE_CHECKING:
    from symphony.access.gate import Gate
    from symphony.process.process import Process

OPEN = ui.OPEN | {"/healthz", "/readyz", "/openapi.json"}
"""Paths that need no key."""


def register(app: web.Application, routes: Iterable[Route], gate: Gate) -> None:
    """Serve the routes, each to those who may."""
    needs: dict[tuple[str, str], tuple[Role, ...]] = {}
    for route in routes:
        (added,) = app.add_routes([route.definition()])
        assert added.resource is not None
        needs[added.method, added.resource.canonical] = route.needs
    app[GATE], app[NEEDS], app[CONNECTIONS] = gate, needs, {}


@web.middleware
async def auth(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let in who may, as `request[IDENTITY]`. Must stand behind `errors`."""
    resource = request.match_info.route.resource
    path = resource.canonical if resource is not None else None
    if path in OPEN:
        return await handler(request)
    request[IDENTITY] = identity = request.app[GATE].identify(request.headers.get("Authorization"))
    if identity.key:  # without keys there is one tenant, and the limit of all
        _count_connection(request, identity)
    if path is not None:  # else nothing is served there, or not so, as the handler says
        _check_roles(identity, _needed(request.app[NEEDS], request.method, path))
    request.app[GATE].admit(identity)
    return await handler(request)


def who(request: web.Request) -> Identity:
    """Who asks."""
    return request[IDENTITY]


def still_welcome(request: web.Request) -> bool:
    """Whether who asked would be let in again: their key was not removed since."""
    identity = request.get(IDENTITY)
    return identity is None or request.app[GATE].knows(identity)


def may_see(identity: Identity, process: Process) -> bool:
    """One's own processes; an operator sees all of the tenant, one of the host all."""
    if identity.runs_the_host:
        return True
    if process.tenant != identity.tenant:
        return False
    return process.options.owner == identity.user or Role.OPERATE in identity.roles


def _count_connection(request: web.Request, identity: Identity) -> None:
    """A connection belongs to the tenant whose key came over it, as long as the task lives that serves it. Raises
    LimitExceeded, and closes it behind the answer."""
    open_ones = request.app[CONNECTIONS].setdefault(identity.tenant, set())
    task = request.task
    if SINK in request or task in open_ones:  # a call's task is its own; its connection was counted with the handshake
        return
    if len(open_ones) >= param.MAX_CONNECTIONS_PER_TENANT:
        request[LAST] = True
        raise LimitExceeded(
            f"the tenant {identity.tenant} has {param.MAX_CONNECTIONS_PER_TENANT} connections open",
            "close some, or send several requests over each",
        )
    open_ones.add(task)
    task.add_done_callback(open_ones.discard)


def _needed(needs: Mapping[tuple[str, str], tuple[Role, ...]], method: str, path: str) -> tuple[Role, ...]:
    return needs.get(("GET" if method == "HEAD" else method, path), (Role.OPERATE,))


def _check_roles(identity: Identity, needed: tuple[Role, ...]) -> None:
    missing = [role.value for role in needed if role not in identity.roles]
    if missing:
        raise PermissionDenied(
            f"this needs a key in the role {' and '.join(missing)}; yours has {', '.join(sorted(identity.roles))}",
            f"have the operator make one: symphony keys add {identity.tenant} --role {missing[0]}",
        )

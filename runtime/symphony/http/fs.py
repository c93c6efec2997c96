"""KV files over HTTP, by name: what an operator of the tenant may see and do.

    GET    /v1/fs/{path}                     a directory's members; of a file, what there is to know and its text
           ?what=stat | text | tokens        of a file, that alone
           ?what=export                      the file itself, with its K/V, as safetensors
           ?tree=1                           everything below, with the pages that it shares
           ?du=1                             the space that it takes
    POST   /v1/fs/{path}?do=pin | unpin      keep it on the device until further notice, or no longer
           ?do=copy&to=PATH[&overwrite=1]    name a snapshot of it
           ?do=move&to=PATH                  rename it
           ?do=check[&repair=1]              hold what was synced, of it and below it, against its checksums
    PUT    /v1/fs/{path}[?overwrite=1]        such a file under that name, durable
           &trust=1                          by who runs the host and vouches for its K/V: it may serve other prompts
    DELETE /v1/fs/{path}[?recursive=1]       remove the name, or an empty directory (with all that lies below)

The path is decoded once and is then a key of the KVFS, in whatever spelling it came: nothing of it ever reaches a file
system. Who may do what is decided behind the facade.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import msgspec
from aiohttp import web

from symphony import param
from symphony.errors import Invalid, LimitExceeded, PermissionDenied
from symphony.http import parcels
from symphony.http.auth import may_see, who
from symphony.http.context import RUNTIME
from symphony.http.wire import flag, json_response

if TYPE_CHECKING:
    from symphony.core.operator import Operator

DEEDS = ("pin", "unpin", "copy", "move", "check")
LOOKS = ("stat", "text", "tokens", "export")


async def look(request: web.Request) -> web.StreamResponse:
    """GET /v1/fs/{path}"""
    operator, path, fields = _operator(request), _path(request), _Writer(request).fields
    what = request.query.get("what")
    if what is not None and what not in LOOKS:
        raise Invalid(f"what={what!r} is none of {', '.join(LOOKS)}", "leave it out for all of a file")
    if what == "export":
        return await parcels.send(request, operator, path)
    if flag(request, "tree"):
        return json_response({"path": path, "files": [fields(fork) for fork in operator.forks(path)]})
    if flag(request, "du"):
        return json_response({"path": path, "space": operator.space(path)})
    if what is None and operator.show(path).kind == "directory":
        return json_response(
            {"path": path, "kind": "directory", "entries": [fields(item) for item in operator.list(path)]}
        )
    if what == "tokens":
        return json_response({"path": path, "tokens": operator.tokens(path)})
    answer: dict[str, Any] = {"path": path} if what == "text" else fields(operator.stat(path))
    if what != "stat":
        answer["text"] = await operator.text(path)
    return json_response(answer)


async def do(request: web.Request) -> web.Response:
    """POST /v1/fs/{path}?do=...: answers with what has the name now."""
    operator, path, deed = _operator(request), _path(request), request.query.get("do", "")
    fields = _Writer(request).fields
    if deed not in DEEDS:
        raise Invalid(f"do={deed!r} is none of {', '.join(DEEDS)}", "for example ?do=copy&to=/backup/notes")
    if deed == "pin":
        return json_response(fields(operator.pin(path)))
    if deed == "check":
        return json_response(fields(await operator.check(path, flag(request, "repair"))))
    if deed == "unpin":
        return json_response(fields(operator.unpin(path)))
    target = request.query.get("to", "")
    if not target:
        raise Invalid(f"do={deed} needs a target", f"add &to=PATH, as in ?do={deed}&to=/backup/notes")
    if deed == "move":
        return json_response(fields(operator.move(path, target)))
    copied = operator.copy(path, target, flag(request, "overwrite"))
    return json_response(fields(copied), status=201)


async def put(request: web.Request) -> web.Response:
    """PUT /v1/fs/{path}: 201 with the new file."""
    overwrite, trust = flag(request, "overwrite"), flag(request, "trust")
    if trust and not who(request).runs_the_host:
        hint = "import it without trust: its K/V serves the file and its forks"
        raise PermissionDenied("only who operates the host may vouch for K/V: other tenants may be given it", hint)
    path, source = _path(request), parcels.Incoming(request)
    made = await _operator(request).receive(path, source, overwrite=overwrite, trust=trust)
    return json_response(_Writer(request).fields(made), status=201)


async def remove(request: web.Request) -> web.Response:
    """DELETE /v1/fs/{path}: 204. Processes that have the file open keep it."""
    _operator(request).remove(_path(request), flag(request, "recursive"))
    return web.Response(status=204)


def _operator(request: web.Request) -> Operator:
    identity = who(request)
    return request.app[RUNTIME].operator(identity.tenant, identity.user)


def _path(request: web.Request) -> str:
    """The path as it was meant, decoded once from what was sent. A slash at the end means a directory, as it does
    elsewhere. Raises Invalid, LimitExceeded."""
    _, _, _, *below = request.rel_url.raw_path.split("/", 3)
    raw = "/".join(["", *below])
    if len(raw) > 3 * param.MAX_PATH_BYTES:
        raise LimitExceeded(f"the path is longer than {param.MAX_PATH_BYTES} bytes", "choose a shorter one")
    try:
        path = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid("the path is not UTF-8", "encode it as UTF-8, then each byte as %XX") from None
    return path.removesuffix("/") or "/"


class _Writer:
    """Records as JSON fields; that of a file in one piece, with the processes that have it open instead of sessions (of
    those that the client may see)."""

    def __init__(self, request: web.Request) -> None:
        processes, identity = request.app[RUNTIME].processes(), who(request)
        live = [process for process in processes if not process.state.ended and may_see(identity, process)]
        self._pids = {process.session: process.pid for process in live}

    def fields(self, record: Any) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.to_builtins(record)
        file = fields.pop("file", None)
        if file is not None:
            fields = file | fields
        sessions = fields.pop("sessions", None)
        if sessions is not None:
            fields["pids"] = [self._pids[session] for session in sessions if session in self._pids]
        return fields

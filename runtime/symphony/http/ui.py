"""The page at /ui/: our own HTML, CSS and JavaScript from `ui/`, as they are. No build step, nothing from elsewhere.

The page is a client like any other: it has the key that a person types in, in that tab alone, and asks the routes of
the table. It needs no key itself, for there is nothing in it. Its Content-Security-Policy lets it load and call this
server only, so that what programs print stays text.
"""

from __future__ import annotations

from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from symphony.http.route import Answer, Route

FOLDER = Path(__file__).with_name("ui")
PAGE = "/ui/"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def routes() -> tuple[Route, ...]:
    """One for each file; the page itself is the folder's."""
    assets = sorted(path for path in FOLDER.iterdir() if path.suffix in TYPES)
    return tuple(_route(path) for path in assets)


def _route(path: Path) -> Route:
    page = path.name == "index.html"
    where = PAGE if page else PAGE + path.name
    says = "The page: playground, processes, files, timeline, plots." if page else f"Of the page: {path.name}."
    answer = Answer("The file.", {TYPES[path.suffix]: {"type": "string"}})
    return Route("GET", where, _handler(path), says, (answer,), needs=())


def _handler(path: Path) -> Handler:
    content, kind = path.read_bytes(), TYPES[path.suffix]

    async def asset(request: web.Request) -> web.Response:
        return web.Response(body=content, content_type=kind, charset="utf-8", headers=HEADERS)

    asset.__name__ = path.stem
    return asset


ROUTES = routes()
OPEN = frozenset(route.path for route in ROUTES)
"""Paths that need no key."""

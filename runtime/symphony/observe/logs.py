"""What the host writes about itself, a line an event: for people, or as JSON for machines.

    {"at": "2026-01-31T12:00:00.123Z", "level": "info", "from": "symphony.http", "said": "POST /v1/run: 200",
     "request": "5f0c...", "tenant": "acme", "pid": 7, "program": "chat", "ms": 12.5}

A record's fields are given where it is made (`extra=`); what the HTTP side writes in the course of a request gets the
request's id here. (Elsewhere the course of a request says little: turns of one process are taken in that of another.)
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

FIELDS = ("request", "tenant", "pid", "parent", "program", "outcome", "method", "route", "status", "ms", "tokens")
"""The fields that a record may have beside its text, in the order in which they are written."""
LONGEST = 2000
"""Characters of one value: programs choose their names, clients their paths."""


REQUEST: ContextVar[str] = ContextVar("request", default="")
"""The id of the request that is being served."""
_OF_REQUESTS = "symphony.http"


@contextmanager
def written(form: str, level: str = "info", stream: TextIO | None = None) -> Generator[None]:
    """Inside the block this process writes its log to `stream` (default: stderr), as `text` or `json`: of Symphony from
    `level` on, of the libraries that it uses warnings and worse."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Json() if form == "json" else Text())
    handler.addFilter(_mark)
    root, ours = logging.getLogger(), logging.getLogger("symphony")
    before = ours.level
    root.addHandler(handler)
    ours.setLevel(level.upper())
    try:
        yield
    finally:
        ours.setLevel(before)
        root.removeHandler(handler)


class Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": _time(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": _level(record),
            "from": record.name,
            "said": _short(record.getMessage()),
            **_fields(record),
        }
        if record.exc_info:
            line["stack"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


class Text(logging.Formatter):
    """One line, a stack behind it."""

    def format(self, record: logging.LogRecord) -> str:
        beside = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        line = f"{_time(record):%H:%M:%S} {_level(record):<5} {_short(record.getMessage())}  {beside}"
        line = "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in line.rstrip())  # one line
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _mark(record: logging.LogRecord) -> bool:
    """Adds the request to what is written in its course."""
    if record.name.startswith(_OF_REQUESTS) and not hasattr(record, "request"):
        record.request = REQUEST.get()
    return True


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    given = {name: getattr(record, name, None) for name in FIELDS}
    return {name: _short(value) for name, value in given.items() if value is not None and value != ""}


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > LONGEST:
        return f"{value[:LONGEST]} [...]"
    return value


def _level(record: logging.LogRecord) -> str:
    return {"warning": "warn", "critical": "error"}.get(record.levelname.lower(), record.levelname.lower())


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)

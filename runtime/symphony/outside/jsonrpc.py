"""What goes to and fro between a client of the Model Context Protocol and its server: JSON-RPC 2.0, one message a text.

Only the client's side: requests that it sends, answers that it gets, and the few requests of servers that it answers.
Knows nothing of pipes, HTTP or tools.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping
from typing import Any

from symphony.errors import Invalid, SymphonyError, Unavailable
from symphony.outside.tool import shortened

_INVALID_PARAMS = -32602
_NO_METHOD = -32601

Message = dict[str, Any]


class Peer:
    """The requests that wait for their answers."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Message]] = {}

    def request(self, method: str, params: Mapping[str, Any]) -> tuple[int, str, asyncio.Future[Message]]:
        """An id, the text to send, and the answer to come. Whoever gives up calls `forget`."""
        number = next(self._ids)
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        return number, _text({"id": number, "method": method, "params": params}), future

    def notification(self, method: str, params: Mapping[str, Any]) -> str:
        return _text({"method": method, "params": params})

    def forget(self, number: int) -> None:
        self._waiting.pop(number, None)

    def take(self, text: str | bytes) -> str | None:
        """A message came. Returns what to send back, if it asked for something.

        Raises Unavailable for what is no message: whoever sends that cannot be talked to.
        """
        message = self._read(text)
        if "method" in message:
            return _answer(message) if "id" in message else None
        number = message.get("id")
        future = self._waiting.pop(number, None) if isinstance(number, int) else None
        if future is not None and not future.done():
            self._settle(future, message)
        return None

    def fail(self, error: SymphonyError) -> None:
        """Nothing will come any more."""
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(error)
                future.exception()  # seen: whoever waited may be gone

    def _read(self, text: str | bytes) -> Message:
        try:
            message = json.loads(text)
        except (ValueError, RecursionError) as e:
            raise Unavailable(f"the MCP server {self._name!r} wrote what is not JSON: {str(e)[:200]}") from None
        if not isinstance(message, dict):
            raise Unavailable(f"the MCP server {self._name!r} wrote JSON that is no message")
        return message

    def _settle(self, future: asyncio.Future[Message], message: Message) -> None:
        result, error = message.get("result"), message.get("error")
        if isinstance(result, dict):
            future.set_result(result)
        elif isinstance(error, dict):
            said = shortened(f"the MCP server {self._name!r} refused: {error.get('message')}")
            kind = Invalid if error.get("code") == _INVALID_PARAMS else Unavailable
            future.set_exception(kind(said))
        else:
            future.set_exception(Unavailable(f"the MCP server {self._name!r} answered neither a result nor an error"))


def _answer(message: Message) -> str:
    """Servers may ask whether we are there; nothing else that they may ask for was offered to them."""
    if message["method"] == "ping":
        return _text({"id": message["id"], "result": {}})
    return _text({"id": message["id"], "error": {"code": _NO_METHOD, "message": "not offered by this client"}})


def _text(message: Message) -> str:
    return json.dumps({"jsonrpc": "2.0", **message})

"""Messages: from the client, and over channels between the programs of one tenant.

A message is text; put JSON in it where it has structure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self, cast

from . import _host
from ._loop import Loop
from .errors import Busy, Closed, call, from_wit

_CLOSED: Any = Closed("channel", "use it inside its `async with` block, or open it again")


async def receive() -> str:
    """The next text that the client sent to this program, or, to a child, the program that started it.

    Waits until there is one; who gives up waiting takes nothing away. Raises `LimitExceeded` (64 wait already).
    """
    return await _next(_host.ipc.receive)


def channel(name: str, *, broadcast: bool = False) -> Channel:
    """Open the tenant's channel of that name: a queue, where each text goes to one of those who receive, or a
    broadcast, where it goes to all others who had it open.

    It is there as long as some program has it open; what nobody received by then is gone. Raises `Invalid` (the name,
    or it is of the other kind), `LimitExceeded` (64 in one program, 256 of one tenant).
    """
    kind = _host.ipc.Delivery
    return Channel(name, call(_host.ipc.Channel.open, _host.text(name), kind.ALL if broadcast else kind.ONE))


class Channel:
    """An open channel: `async with lip.channel("jobs") as jobs:` closes it, and `async for text in jobs` receives."""

    def __init__(self, name: str, raw: Any) -> None:
        self.name = name
        self._raw = raw

    async def send(self, text: str) -> None:
        """Send a text, of at most 1 MiB. To a queue: as soon as less than 1,024 texts and 1 MiB lie there untaken."""
        await send(self._raw, text)

    async def receive(self) -> str:
        """The next text; who waits first is served first, and who gives up takes nothing away.

        Raises `LimitExceeded` where a broadcast lost texts because this program was more than 1,024 of them, or 1 MiB,
        behind; the next call goes on with the oldest that is still there.
        """
        return await _next(self._raw.receive)

    def close(self) -> None:
        """Closing twice is fine."""
        if self._raw is not _CLOSED:
            self._raw.__exit__(None, None, None)
            self._raw = _CLOSED

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        return await self.receive()


async def send(receiver: Any, text: str) -> None:
    """Send to a channel or a child of the host, once there is room."""
    loop = cast(Loop, asyncio.get_running_loop())
    text = _host.text(text)
    while True:
        try:
            return call(receiver.send, text)
        except Busy:
            with receiver.room() as room:
                await loop.wait(room)


async def _next(ask: Callable[[], Any]) -> str:
    loop = cast(Loop, asyncio.get_running_loop())
    with call(ask) as message:
        answer = message.get()
        if answer is None:
            with message.subscribe() as pollable:
                while answer is None:
                    await loop.wait(pollable)
                    answer = message.get()
    if answer.__class__ is _host.Err:
        raise from_wit(answer.value)
    return answer.value

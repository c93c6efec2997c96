"""The socket between a host and a worker: messages whole and in order, however the kernel cuts them."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import numpy as np
import pytest

from symphony import param
from symphony.errors import LimitExceeded
from symphony.workers.link import Link


async def pair(got: list[Any], lost: asyncio.Event) -> tuple[Link, Link]:
    ours, theirs = socket.socketpair()
    one, other = Link(lambda message: None, lambda: None), Link(got.append, lost.set)
    await one.open(ours)
    await other.open(theirs)
    return one, other


def test_messages_arrive_whole_and_in_order_and_then_the_end() -> None:
    async def scenario() -> None:
        got: list[Any] = []
        lost = asyncio.Event()
        one, other = await pair(got, lost)
        sent = [[i, "x" * (i * 997 % 300_000), b"y" * i, np.int64(i)] for i in range(60)]
        for message in sent:
            one.send(message)
        one.close()
        await asyncio.wait_for(lost.wait(), 20)
        assert got == sent
        other.send([1])  # nobody is there: no harm
        other.close()

    asyncio.run(scenario())


def test_bytes_one_by_one() -> None:
    async def scenario() -> None:
        got: list[Any] = []
        link = Link(got.append, lambda: None)
        link.send([7, "seven"])
        link.send([[8]])
        for byte in bytes(link._out):
            link.data_received(bytes([byte]))
        assert got == [[7, "seven"], [[8]]]

    asyncio.run(scenario())


def test_what_is_too_large_is_refused_and_nothing_of_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr("symphony.workers.link.MAX_WORKER_MESSAGE_BYTES", 1000)
        link = Link(lambda message: None, lambda: None)
        with pytest.raises(LimitExceeded, match="at most 1000"):
            link.send(["x" * 1000])
        with pytest.raises(UnicodeEncodeError):
            link.send(["\ud800"])
        assert not link._out

    assert param.MAX_WORKER_MESSAGE_BYTES > param.MAX_RESULT_BYTES, "any result may come back"
    asyncio.run(scenario())


def test_a_length_that_nobody_sends_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    """Before its bytes come: they would fill the memory."""

    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        got: list[Any] = []
        lost = asyncio.Event()
        link = Link(got.append, lost.set)
        await link.open(ours)
        with theirs:
            theirs.sendall((param.MAX_WORKER_MESSAGE_BYTES + 1).to_bytes(4, "little") + b"x")
            await asyncio.wait_for(lost.wait(), 20)
        assert not got

    asyncio.run(scenario())
    assert "data_received" in caplog.text

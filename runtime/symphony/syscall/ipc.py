"""`symphony:lip/ipc` and `symphony:lip/log`: what leaves the process, and what reaches it.

Sources: `wit/ipc.wit`, `wit/log.wit`.
"""

from __future__ import annotations

from collections.abc import Mapping

from symphony.errors import LimitExceeded, SymphonyError
from symphony.param import MAX_OPEN_CHANNELS, MAX_OUTPUT_BACKLOG, MAX_RECEIVES
from symphony.syscall.caller import Caller
from symphony.syscall.channels import ChannelHandle
from symphony.syscall.endpoint import Endpoint
from symphony.syscall.mailbox import Mailbox, Message
from symphony.syscall.pollable import Pollable
from symphony.syscall.values import Err, Handler, Ok


class OpenChannel:
    """A guest's handle on a channel."""

    __slots__ = ("endpoint", "handle")

    def __init__(self, endpoint: Endpoint, handle: ChannelHandle) -> None:
        self.endpoint = endpoint
        self.handle = handle

    def drop(self) -> None:
        self.endpoint.open -= 1
        self.handle.close()


async def emit(caller: Caller, text: str) -> None:
    if len(text) > MAX_OUTPUT_BACKLOG:
        raise LimitExceeded(
            f"emit: {len(text)} characters in one call, at most {MAX_OUTPUT_BACKLOG}", "emit the text in pieces"
        )
    await caller.emit(text)


def receive(caller: Caller) -> Message:
    return _stand_in_line(caller, caller.endpoint.mailbox)


def _stand_in_line(caller: Caller, source: Mailbox | ChannelHandle) -> Message:
    endpoint = caller.endpoint
    if endpoint.receives >= MAX_RECEIVES:
        raise LimitExceeded(f"the process waits for {MAX_RECEIVES} messages", "take some of them, or drop them")

    def over() -> None:
        endpoint.receives -= 1

    endpoint.receives += 1
    return source.receive(caller.stirred, over)


def message_subscribe(caller: Caller, message: Message) -> Pollable:
    return message.pollable


def message_get(caller: Caller, message: Message) -> Ok[str] | Err[SymphonyError] | None:
    try:
        text = message.take()
    except SymphonyError as error:
        return Err(error)
    return None if text is None else Ok(text)


def open_channel(caller: Caller, name: str, kind: str) -> OpenChannel:
    endpoint = caller.endpoint
    if endpoint.open >= MAX_OPEN_CHANNELS:
        raise LimitExceeded(f"the process has {MAX_OPEN_CHANNELS} channels open", "close some")
    handle = endpoint.channels.open(caller.tenant, name, kind)
    endpoint.open += 1
    return OpenChannel(endpoint, handle)


def send(caller: Caller, channel: OpenChannel, text: str) -> None:
    channel.handle.send(text)


def room(caller: Caller, channel: OpenChannel) -> Pollable:
    return channel.handle.room


def channel_receive(caller: Caller, channel: OpenChannel) -> Message:
    return _stand_in_line(caller, channel.handle)


def write(caller: Caller, level: str, text: str) -> None:
    caller.log(level, text)


HANDLERS: Mapping[str, Handler] = {
    "symphony:lip/ipc#emit": emit,
    "symphony:lip/ipc#receive": receive,
    "symphony:lip/ipc#[method]message.subscribe": message_subscribe,
    "symphony:lip/ipc#[method]message.get": message_get,
    "symphony:lip/ipc#[static]channel.open": open_channel,
    "symphony:lip/ipc#[method]channel.send": send,
    "symphony:lip/ipc#[method]channel.room": room,
    "symphony:lip/ipc#[method]channel.receive": channel_receive,
    "symphony:lip/log#write": write,
}

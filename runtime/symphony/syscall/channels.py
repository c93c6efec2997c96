"""Named channels between the processes of one tenant: queues and broadcasts.

A channel is there while somebody has it open. A queue is one mailbox that all its handles share; a broadcast gives each
handle a mailbox of its own, which forgets the oldest texts where its owner does not keep up: who is slow holds up
nobody, and all of them together keep hardly more than one mailbox' worth of different texts.

Tenants are separate name spaces: no call takes a tenant from a guest. Knows nothing of processes or Wasm.
"""

from __future__ import annotations

from collections.abc import Callable

from symphony.errors import Invalid, LimitExceeded
from symphony.param import MAX_CHANNEL_NAME_CHARS, MAX_CHANNELS_PER_TENANT
from symphony.syscall.mailbox import Mailbox, Message, check_length
from symphony.syscall.pollable import Pollable

ONE, ALL = "one", "all"
_WORDS = {ONE: "a queue", ALL: "a broadcast"}


class Channel:
    """What the open handles of one name share."""

    __slots__ = ("boxes", "kind", "queue")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.queue = Mailbox()
        """Of a queue: where everything goes. (Of a broadcast: always empty, it lends its room.)"""
        self.boxes: dict[ChannelHandle, Mailbox] = {}
        """The open handles, and where each receives."""


class ChannelHandle:
    """One opening of a channel. `close` gives it back; the last one ends the channel."""

    __slots__ = ("_channel", "_closed")

    def __init__(self, channel: Channel, closed: Callable[[], None]) -> None:
        self._channel = channel
        self._closed = closed
        channel.boxes[self] = channel.queue if channel.kind == ONE else Mailbox(lossy=True)

    def send(self, text: str) -> None:
        """Raises Busy (a queue that is full), LimitExceeded (too long)."""
        channel = self._channel
        if channel.kind == ONE:
            channel.queue.post(text)
            return
        check_length(text)
        for handle, box in channel.boxes.items():
            if handle is not self:
                box.post(text)

    @property
    def room(self) -> Pollable:
        """Ready whenever `send` is not Busy."""
        return self._channel.queue.room

    def receive(self, arrived: Callable[[], None], over: Callable[[], None]) -> Message:
        return self._channel.boxes[self].receive(arrived, over)

    def close(self) -> None:
        if self._channel.boxes.pop(self, None) is not None:
            self._closed()


class Channels:
    """The channels of all tenants."""

    def __init__(self) -> None:
        self._tenants: dict[str, dict[str, Channel]] = {}

    def open(self, tenant: str, name: str, kind: str) -> ChannelHandle:
        """Raises Invalid (the name, the kind), LimitExceeded."""
        if not 0 < len(name) <= MAX_CHANNEL_NAME_CHARS:
            raise Invalid(f"a channel's name has {len(name)} characters", f"use 1 to {MAX_CHANNEL_NAME_CHARS} of them")
        channels = self._tenants.get(tenant, {})
        channel = channels.get(name)
        if channel is None:
            if len(channels) >= MAX_CHANNELS_PER_TENANT:
                raise LimitExceeded(f"there are {len(channels)} channels, the limit", "close some, or share one")
            channel = Channel(kind)
            self._tenants.setdefault(tenant, channels)[name] = channel
        elif channel.kind != kind:
            raise Invalid(f"channel {name!r} is {_WORDS[channel.kind]}", f"open it as {_WORDS[channel.kind]}")
        return ChannelHandle(channel, lambda: self._left(tenant, name, channel))

    def __len__(self) -> int:
        return sum(map(len, self._tenants.values()))

    def _left(self, tenant: str, name: str, channel: Channel) -> None:
        if channel.boxes:
            return
        channels = self._tenants[tenant]
        del channels[name]
        if not channels:
            del self._tenants[tenant]

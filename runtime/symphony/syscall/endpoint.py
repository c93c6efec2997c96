"""What one process has of messages: its mailbox, and how much it has open. Made when it is first needed."""

from __future__ import annotations

from symphony.syscall.channels import Channels
from symphony.syscall.mailbox import Mailbox


class Endpoint:
    __slots__ = ("channels", "mailbox", "open", "receives")

    def __init__(self, channels: Channels) -> None:
        self.channels = channels
        """Those of all tenants."""
        self.mailbox = Mailbox()
        """What its client, or the process that started it, sends."""
        self.open = 0
        """Channels that it has open."""
        self.receives = 0
        """Messages that it waits for, or has not taken."""

"""`symphony run --stdin`: each line of standard input is a message to the program, and at its end an empty one.

Reading blocks, and nothing wakes it, so that it has a thread of its own, which the end of the command leaves behind.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from symphony.errors import SymphonyError

if TYPE_CHECKING:
    from symphony.process.process import Process


def forward(send: Callable[[str], None]) -> None:
    """Begin to hand on lines; `send` blocks while the program is far behind. Ends with the input, or when `send` raises
    a `SymphonyError`: the program has ended."""
    threading.Thread(target=_pump, args=(send,), name="messages", daemon=True).start()


def to_process(process: Process) -> Callable[[str], None]:
    """What sends to a process of this event loop, from another thread."""
    loop = asyncio.get_running_loop()

    def send(text: str) -> None:
        asyncio.run_coroutine_threadsafe(process.send(text), loop).result()

    return send


def _pump(send: Callable[[str], None]) -> None:
    try:
        # of its own: a thread that waits inside of sys.stdin keeps the interpreter from ending
        with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as lines:
            for line in lines:
                send(line.decode(errors="replace").rstrip("\r\n"))
        send("")
    except (SymphonyError, CancelledError, RuntimeError):  # the program, or this command, is at its end
        pass

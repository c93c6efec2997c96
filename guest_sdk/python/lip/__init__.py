"""`lip`: what a program served by Symphony imports.

    from lip import main, Context

    @main
    async def app(prompt: str = "Hello", max_tokens: int = 64) -> str:
        async with Context() as ctx:
            ctx.system("Be brief.").user(prompt)
            out = await ctx.generate(max_tokens=max_tokens)
            return out.text

Runs inside Wasm, on CPython 3.14, where every call that can wait is an `await` over the host. Outside Wasm the package
imports, so that editors and tests can load a program, and each call of the host raises.
"""

from . import fs
from ._entry import main
from ._model import ModelInfo, decode, encode, models
from .batch import Draft, pred_all
from .child import Child, Limits, spawn
from .constraint import Constraint
from .context import Context
from .distribution import Dist
from .errors import (
    Busy,
    Cancelled,
    Error,
    Exists,
    Internal,
    Invalid,
    LimitExceeded,
    NoSpace,
    NotFound,
    PermissionDenied,
    TimedOut,
    Unavailable,
)
from .ipc import Channel, channel, receive
from .lock import Lock
from .stream import Chunk, Completion, Stream
from .tools import Tool, Usage, emit, log, now, pid, sleep, tenant, tool, tools, usage
from .web import Response, fetch

__all__ = [
    "Busy",
    "Cancelled",
    "Channel",
    "Child",
    "Chunk",
    "Completion",
    "Constraint",
    "Context",
    "Dist",
    "Draft",
    "Error",
    "Exists",
    "Internal",
    "Invalid",
    "LimitExceeded",
    "Limits",
    "Lock",
    "ModelInfo",
    "NoSpace",
    "NotFound",
    "PermissionDenied",
    "Response",
    "Stream",
    "TimedOut",
    "Tool",
    "Unavailable",
    "Usage",
    "channel",
    "decode",
    "emit",
    "encode",
    "fetch",
    "fs",
    "log",
    "main",
    "models",
    "now",
    "pid",
    "pred_all",
    "receive",
    "sleep",
    "spawn",
    "tenant",
    "tool",
    "tools",
    "usage",
]

"""The host of `run` and `serve`: booted quickly, with what it loaded out of the garbage collector's sight.

Booting makes a million objects, most of them by importing torch, and nearly all stay. The collector would look through
them again and again: a tenth of the time to the first token, half a second at the end, and pauses in between.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from symphony.host import Runtime


@asynccontextmanager
async def booted(model: Sequence[str], **options: Any) -> AsyncGenerator[Runtime]:
    """A `Runtime` of these models and options, for the command that is its process' only purpose: what was allocated
    until it is there is never collected."""
    async with AsyncExitStack() as parts:
        gc.disable()
        try:
            from symphony.host import Runtime

            runtime = await parts.enter_async_context(Runtime(model, **options))
            gc.freeze()
        finally:
            gc.enable()
        yield runtime

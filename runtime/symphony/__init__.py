"""Symphony serves programs instead of prompts.

    from symphony import Runtime, SymphonyError
    async with Runtime(model="tiny") as rt:
        value = await rt.run("agent.py", question="...")

Names are imported on first use, so that `import symphony` is cheap (no torch, no wasmtime).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from symphony.errors import (
        InvalidProgram as InvalidProgram,
    )
    from symphony.errors import (
        LimitExceeded as LimitExceeded,
    )
    from symphony.errors import (
        ProgramError as ProgramError,
    )
    from symphony.errors import (
        SymphonyError as SymphonyError,
    )
    from symphony.host import Config as Config
    from symphony.host import Runtime as Runtime
    from symphony.process.process import LaunchOptions as LaunchOptions
    from symphony.process.process import Process as Process

_HOME = {
    "Config": "symphony.host",
    "InvalidProgram": "symphony.errors",
    "LaunchOptions": "symphony.process.process",
    "LimitExceeded": "symphony.errors",
    "Process": "symphony.process.process",
    "ProgramError": "symphony.errors",
    "Runtime": "symphony.host",
    "SymphonyError": "symphony.errors",
}

__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'symphony' has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)

"""The WASI 0.2 imports that ordinary components bring, served by the host itself.

`HANDLERS` and `SIGNATURES` have the same keys, without versions: 0.2.0 and later bind alike. What has no handler gets
`fallback`. These modules know nothing of Wasm or wasmtime.
"""

from __future__ import annotations

from symphony.syscall.wasi.cli import cli
from symphony.syscall.wasi.clocks import clocks
from symphony.syscall.wasi.fallback import fallback
from symphony.syscall.wasi.filesystem import filesystem
from symphony.syscall.wasi.io import io
from symphony.syscall.wasi.registry import merged
from symphony.syscall.wasi.signatures import SIGNATURES

HANDLERS = merged((io, clocks, cli, filesystem))

__all__ = ["HANDLERS", "SIGNATURES", "fallback"]

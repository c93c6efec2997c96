"""The syscall table: every WIT function that the host serves, and its handler.

The spine of the ABI: a row a function, and nothing else. Keys carry no version (`sandbox` binds any 0.x). What WASI
asks for is in `syscall.wasi`.
"""

from __future__ import annotations

from collections.abc import Mapping

from symphony.syscall import constraint, fetch, infer, ipc, kvfs, model, process, tool
from symphony.syscall.values import Handler

HANDLERS: Mapping[str, Handler] = {
    **model.HANDLERS,
    **kvfs.HANDLERS,
    **constraint.HANDLERS,
    **infer.HANDLERS,
    **process.HANDLERS,
    **ipc.HANDLERS,
    **tool.HANDLERS,
    **fetch.HANDLERS,
}

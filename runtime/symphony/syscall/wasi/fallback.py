"""Answers for WASI functions that have no handler, made from the type of their result alone.

Their arguments are ignored. A guest sees what a locked-down system says (permission denied, none, false); where a
type has no such value, the call ends the guest.
"""

from __future__ import annotations

from typing import Any

from symphony.errors import PermissionDenied
from symphony.syscall.pollable import Pollable
from symphony.syscall.values import Err, Handler
from symphony.syscall.wasi.io import Always

Type = tuple[Any, ...]

_REFUSALS = ("access-denied", "not-permitted", "access", "not-supported", "unsupported")


def fallback(key: str, result: Type | None) -> tuple[Handler, Type | None]:
    """A handler, and the (smaller) result type by which its answer is written."""
    kind = result[0] if result else None
    if result and kind == "result" and result[2] and result[2][0] == "enum":
        code = next((name for name in _REFUSALS if name in result[2][1]), None)
        if code is not None:
            return _always(Err(code)), ("result", None, result[2])
    if kind == "option":
        return _always(None), ("option", ("bool",))
    if kind == "bool":
        return _always(False), result
    if result and kind == "own":
        return (_pollable if result[1].endswith("#pollable") else _thing), result

    def deny(*_: Any) -> None:
        raise PermissionDenied(f"{key} is not available to a LIP", "see docs/security.md for what the sandbox offers")

    return deny, None


def _always(answer: Any) -> Handler:
    def answer_always(*_: Any) -> Any:
        return answer

    return answer_always


def _pollable(*_: Any) -> Pollable:
    return Always()


def _thing(*_: Any) -> object:
    return object()

"""What can go wrong, one class a code of `wit/types.wit`.

Error                    code · message (what failed and why) · hint (what to do)
├── NotFound             no such file, program, tool or model
├── Exists               the name is taken
├── PermissionDenied     not allowed, or the capability was not granted
├── NoSpace              out of KV pages or quota
├── Busy                 another operation is in flight on the file
├── LimitExceeded        a published limit was reached
├── TimedOut             a deadline passed
├── Cancelled            cancelled by the client, the parent, the operator or the program itself
├── Invalid              a malformed argument
├── Unavailable          exists, but cannot serve now
└── Internal             a fault of the host; it was logged
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from . import _host

T = TypeVar("T")


class Error(Exception):
    """Base of everything that the host refuses."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class NotFound(Error):
    code = "not-found"


class Exists(Error):
    code = "exists"


class PermissionDenied(Error):
    code = "permission-denied"


class NoSpace(Error):
    code = "no-space"


class Busy(Error):
    code = "busy"


class LimitExceeded(Error):
    code = "limit-exceeded"


class TimedOut(Error):
    code = "timed-out"


class Cancelled(Error):
    code = "cancelled"


class Invalid(Error):
    code = "invalid"


class Unavailable(Error):
    code = "unavailable"


class Internal(Error):
    code = "internal"


BY_CODE: dict[str, type[Error]] = {
    kind.code: kind
    for kind in (
        NotFound,
        Exists,
        PermissionDenied,
        NoSpace,
        Busy,
        LimitExceeded,
        TimedOut,
        Cancelled,
        Invalid,
        Unavailable,
        Internal,
    )
}


class Closed:
    """Stands where the handle of something was that is closed: whatever is asked of it is `Invalid`."""

    def __init__(self, what: str, hint: str) -> None:
        self._what = what
        self._hint = hint

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise Invalid(f"this {self._what} was closed", self._hint)


def from_wit(error: Any) -> Error:
    """The exception for an `error` record of the host."""
    kind = BY_CODE[error.code.name.lower().replace("_", "-")]
    return kind(error.message, error.hint)


def call(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function of the host; what it refuses is raised as an `Error`."""
    try:
        return function(*arguments)
    except _host.Err as error:
        raise from_wit(error.value) from None


for _kind in (Error, *BY_CODE.values()):
    _kind.__module__ = "lip"  # the name that users import, in tracebacks too

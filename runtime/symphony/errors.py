"""Everything that can go wrong, as one tree of exceptions.

    SymphonyError                 code · message (what and why) · hint (what to do)
    ├── NotFound                  no such file, program, tool or model
    ├── Exists                    the name is taken
    ├── PermissionDenied          not allowed, or the capability was not granted
    ├── NoSpace                   out of KV pages or quota
    ├── Busy                      another operation is in flight
    ├── LimitExceeded             a published limit (param.py) was reached
    ├── TimedOut                  a deadline passed
    ├── Cancelled                 cancelled by client, parent, operator or guest
    ├── Invalid                   a malformed argument
    │   └── InvalidProgram        an upload that is not a LIP
    ├── Unavailable               exists, but cannot serve now
    ├── InternalError             a bug of the host; logged with its stack
    └── ProgramError              the guest's own failure: it returned an error, raised, or trapped

The codes are those of `wit/types.wit`; HTTP statuses and exit codes derive from them in this one table.
This module knows nothing of Wasm, HTTP or the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class SymphonyError(Exception):
    """Base of all expected failures.

    `message` says what failed and why, `hint` what to do about it (may be empty).
    """

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    retry_after: float | None = None
    """Seconds after which trying again makes sense, where that is known."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[type[SymphonyError], tuple[str, str]]:
        return (type(self), (self.message, self.hint))


class NotFound(SymphonyError):
    code, http_status = "not-found", 404


class Exists(SymphonyError):
    code, http_status = "exists", 409


class PermissionDenied(SymphonyError):
    code, http_status = "permission-denied", 403


class NoSpace(SymphonyError):
    code, http_status = "no-space", 507


class Busy(SymphonyError):
    code, http_status = "busy", 409


class LimitExceeded(SymphonyError):
    code, http_status = "limit-exceeded", 429


class TimedOut(SymphonyError):
    code, http_status = "timed-out", 504


class Cancelled(SymphonyError):
    code, http_status = "cancelled", 499


class Invalid(SymphonyError):
    code, http_status = "invalid", 400


class InvalidProgram(Invalid):
    """The bytes are not a LIP that this host can run."""

    http_status = 422


class Unavailable(SymphonyError):
    code, http_status = "unavailable", 503


class InternalError(SymphonyError):
    code, http_status = "internal", 500


class ProgramError(SymphonyError):
    """The program failed by itself. `traceback` is the guest's own, or its Wasm backtrace; may be empty."""

    code, http_status = "program-error", 422

    def __init__(self, message: str, hint: str = "", traceback: str = "") -> None:
        super().__init__(message, hint)
        self.traceback = traceback

    def __reduce__(self) -> tuple[type[SymphonyError], tuple[str, str, str]]:  # type: ignore[override]
        return (type(self), (self.message, self.hint, self.traceback))


def from_fields(fields: Mapping[str, Any]) -> SymphonyError:
    """The exception that `{code, message, hint, traceback}` stands for, as servers send them. Raises KeyError for what
    is no such record."""
    code, message, hint = fields["code"], str(fields["message"]), str(fields.get("hint", ""))
    if code == ProgramError.code:
        return ProgramError(message, hint, str(fields.get("traceback", "")))
    return BY_CODE.get(code, InternalError)(message, hint)


#: The codes of `wit/types.wit`, and the exception that each one is.
BY_CODE: dict[str, type[SymphonyError]] = {
    e.code: e
    for e in (
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
        InternalError,
    )
}

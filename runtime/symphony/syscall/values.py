"""How WIT values look to syscall handlers.

    u8..s64, f32, f64, bool, string, char     int, float, bool, str, 1-char str
    list<u8> / other list                     bytes / list (handlers may return numpy arrays)
    record / tuple                            named tuple (kebab-case becomes snake_case) / tuple
    option<T>                                 None or the value (nested options: `Some`)
    result<T, E>                              `Ok` / `Err`; see `Handler` for the shorthand
    variant / enum / flags                    (case, payload or None) / case name / frozenset of names
    own<R>, borrow<R>                         the Python object in the caller's handle table

The sandbox converts between these and Wasm. This module knows nothing of wasmtime.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class _Box(Generic[T]):
    __slots__ = ("value",)
    __match_args__ = ("value",)

    def __init__(self, value: T = None) -> None:  # type: ignore[assignment]
        self.value = value

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.value == self.value  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((type(self), self.value))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})"


class Ok(_Box[T]):
    """The good case of a `result`."""

    __slots__ = ()


class Err(_Box[T]):
    """The bad case of a `result`."""

    __slots__ = ()


class Some(_Box[T]):
    """The full case of an `option` whose payload is an option itself."""

    __slots__ = ()


class Exit(BaseException):
    """Raised by a handler to end the guest in good order (`wasi:cli/exit`)."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


Handler = Callable[..., Any | Awaitable[Any]]
"""`handler(caller, *arguments)`: a plain function, or `async def` if it may suspend the guest. (One that does nothing
but wait returns a `pollable.Suspension`.)

Where the WIT result is `result<T, error>` (the project's own error record), a handler returns a `T` and raises
`SymphonyError`; for other results it returns what the table above says. A `SymphonyError` out of a function whose
result cannot carry it ends the guest with that error; any other exception is a host bug and ends the guest with
`internal`. Handlers run on the main stack, inside the guest's turn, never on its fiber.
"""

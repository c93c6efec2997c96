"""Compiles reflected WIT types to straight-line Python that reads and writes wasmtime's C values.

How values look to handlers: `symphony.syscall.values`. A reader is `read(address, context, handles)`, a writer
`write(address, value, context, handles)`; `handles` is the instance's `HandleTable`. Writers store the kind byte of a
value with pointers last: one that raises half way leaves a harmless scalar behind (what it allocated leaks).
Memoised by structural type. Knows nothing of components or instances.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from symphony.sandbox.layout import SCALARS, VALUE_BYTES, CodecError, HandleTable, Type
from symphony.sandbox.readers import ReadEmitter
from symphony.sandbox.source import Source
from symphony.sandbox.stamps import StampEmitter, stampable
from symphony.sandbox.writers import WriteEmitter

Reader = Callable[[int, int, HandleTable], Any]
Writer = Callable[[int, Any, int, HandleTable], None]

__all__ = ["Codec", "CodecError", "Reader", "Writer"]


class Codec:
    """A growing set of compiled readers and writers.

    `type_numbers` maps a resource's identity (`'symphony:lip/kvfs#kv-file'`) to its host resource type; it may grow.
    """

    def __init__(self, type_numbers: Mapping[str, int]) -> None:
        source = Source()
        self._source = source
        self._readers = ReadEmitter(source)
        self._writers = WriteEmitter(source, type_numbers)
        self._memo: dict[tuple[str, Any], Any] = {}

    def reader(self, of: Type) -> Reader:
        return self._readers.reader(of)

    def writer(self, of: Type) -> Writer:
        return self._writers.writer(of)

    def arguments(self, types: tuple[Type, ...]) -> Callable[[int, int, HandleTable], tuple[Any, ...]]:
        """Reads a function's arguments, which lie one after another."""

        def emit() -> Any:
            lines: list[str] = []
            values = self._readers.block(lines, "a", [(VALUE_BYTES * i, t) for i, t in enumerate(types)])
            return self._source.function("a, ctx, h", [*lines, f"return ({''.join(v + ', ' for v in values)})"])

        return self._once("arguments", types, emit)

    def case_writer(self, of: Type, case: str) -> Writer:
        """Writes one case of a result without a box around the value: `case` is 'ok' or 'err'."""

        def emit() -> Any:
            lines: list[str] = []
            self._writers.result_case(lines, of, "a", "v", case == "ok")
            write = self._source.function("a, v, ctx, h", lines)
            if case == "ok" and of[1] and of[1][0] not in SCALARS and stampable(of[1]):
                return StampEmitter(self._source).result_ok(of[1], write)
            return write

        return self._once(case, of, emit)

    def _once(self, what: str, of: Any, emit: Callable[[], Any]) -> Any:
        key = (what, of)
        if key not in self._memo:
            self._memo[key] = emit()
        return self._memo[key]

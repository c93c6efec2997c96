"""Builds Python functions from lines of source, with constants bound by generated names."""

from __future__ import annotations

from typing import Any

import numpy as np

from symphony.sandbox import abi, layout
from symphony.syscall.values import Err, Ok, Some

Lines = list[str]


class Source:
    """One namespace that all functions of a codec share."""

    def __init__(self) -> None:
        self._count = 0
        self.names: dict[str, Any] = {
            "M": abi.MEMORY,
            "Ok": Ok,
            "Err": Err,
            "Some": Some,
            "Q": abi.read_word,
            "QQ": abi.read_two_words,
            "PQ": abi.write_word,
            "BV": abi.byte_vec_new,
            "LN": abi.list_new,
            "TN": abi.tuple_new,
            "FN": abi.flags_new,
            "RC": abi.record_copy,
            "val_new": abi.val_new,
            "val_clone": abi.val_clone,
            "pointer": abi.write_pointer,
            "result": abi.write_result,
            "Z": layout.ZERO,
            "take_rep": layout.take_rep,
            "make_own": layout.make_own,
            "encode": layout.encode,
            "code_point": layout.code_point,
            "new": tuple.__new__,
            "raw": layout.raw_readers,
            "read_numbers": layout.read_numbers,
            "read_bytes": layout.read_bytes,
            "write_numbers": layout.write_numbers,
            "error_record": layout.error_record,
            "fb": np.frombuffer,
            "U64": np.dtype("<u8"),
        }

    def constant(self, value: Any) -> str:
        name = self.fresh()
        self.names[name] = value
        return name

    def fresh(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def function(self, parameters: str, body: Lines) -> Any:
        name = self.fresh()
        text = f"def {name}({parameters}):\n" + "".join(f"    {line}\n" for line in body)
        exec(compile(text, f"<codec {name}>", "exec"), self.names)
        return self.names[name]


def indent(lines: Lines) -> Lines:
    return ["    " + line for line in lines]

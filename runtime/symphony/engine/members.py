"""Members of config.json, one by one: of the right type, in range, or a problem. It knows nothing of models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from symphony.engine.problems import Problem

MAX_COUNT = 1 << 24
"""The largest number of anything that a configuration may name: more is a broken file, not a model."""
DTYPE_NAMES = ("float32", "bfloat16", "float16")
"""What weights may be stored in."""


def shown(value: Any) -> str:
    """A value in a message, however long."""
    text = repr(value)
    return text if len(text) <= 100 else text[:100] + "..."


class Members:
    """Members of a JSON object; what is wrong with one goes to `problems`, and something harmless comes back."""

    def __init__(self, raw: Mapping[str, Any], where: str, problems: list[Problem]) -> None:
        self._raw, self._where, self._problems = raw, where, problems

    def count(self, name: str, default: int | None = None, most: int = MAX_COUNT) -> int:
        """From 1 to `most`."""
        value = self._raw.get(name)
        value = default if value is None else value
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most:
            return value
        kind = "a positive number" if not isinstance(value, int) or value <= 0 else f"a number up to {most}"
        self.problem(f"{name} is {shown(value)}, not {kind}")
        return 1

    def number(self, name: str, default: float | None = None, least: float = 0.0) -> float:
        """Above `least`."""
        value = self._raw.get(name)
        value = default if value is None else value
        if isinstance(value, int | float) and not isinstance(value, bool) and least < value < math.inf:
            return float(value)
        self.problem(
            f"{name} is {shown(value)}, not a {'positive number' if least == 0 else f'number above {least:g}'}"
        )
        return least + 1.0

    def dtype(self) -> str:
        """What the weights are stored in."""
        name = str(self._raw.get("dtype") or self._raw.get("torch_dtype") or "float32").removeprefix("torch.")
        if name not in DTYPE_NAMES:
            self.problem(f"weights of the type {name[:100]} are not supported", f"supported: {', '.join(DTYPE_NAMES)}")
        return name

    def layer_kinds(self, layers: int) -> tuple[bool, ...]:
        """Which layers have a sliding window."""
        kinds = self._raw["layer_types"]
        if not isinstance(kinds, list) or len(kinds) != layers:
            self.problem(f"layer_types does not name {layers} layers")
            return (False,) * layers
        for kind in kinds:
            if kind not in ("full_attention", "sliding_attention"):
                self.problem(f"layers of the type {shown(kind)} are not supported", "choose another model")
                break
        return tuple(kind == "sliding_attention" for kind in kinds)

    def problem(self, what: str, fix: str = "download the model again") -> None:
        """Something is wrong with the file."""
        self._problems.append(Problem(f"{self._where}: {what}", fix))

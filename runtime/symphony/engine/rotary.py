"""What config.json says of rotary embeddings, in its old and its new spelling. No torch; `rope.py` computes with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from symphony.engine.members import Members, shown
from symphony.engine.problems import Problem


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary embeddings; what `kind` does with the frequencies is in `rope.py`.

    Dynamic scaling is "default": it changes nothing up to the context limit, and nothing goes beyond that.
    """

    theta: float
    kind: Literal["default", "linear", "llama3", "yarn"] = "default"
    factor: float = 1.0
    original_context: int = 0
    """Positions that the model was first trained for: llama3 and yarn."""
    low_freq_factor: float = 1.0  # llama3
    high_freq_factor: float = 4.0  # llama3
    beta_fast: float = 32.0  # yarn
    beta_slow: float = 1.0  # yarn
    truncate: bool = True  # yarn
    attention_factor: float = 1.0
    """What queries and keys are both multiplied by. The engine folds its square into the scores' scale: keys that are
    turned on later must not be multiplied twice."""


def read_rope(raw: Mapping[str, Any], limit: int, where: str, problems: list[Problem]) -> Rope:
    """Theta and scaling; newer files keep both in rope_parameters. `limit`: max_position_embeddings."""
    found: Any = raw.get("rope_scaling") or raw.get("rope_parameters") or {}
    if not isinstance(found, dict) or any(isinstance(value, dict) for value in found.values()):
        problems.append(Problem(f"{where}: RoPE that differs between layers is not supported", "choose another model"))
        found = {}
    spec: dict[str, Any] = {name: raw.get(name) for name in ("rope_theta", "partial_rotary_factor")} | found
    if raw.get("original_max_position_embeddings") is not None:
        spec["original_max_position_embeddings"] = raw["original_max_position_embeddings"]
    read = Members(spec, where, problems)
    theta = read.number("rope_theta", 10000.0, least=1.0)
    kind = str(spec.get("rope_type") or spec.get("type") or "default")
    if read.number("partial_rotary_factor", 1.0) != 1.0:
        read.problem("partial rotary embeddings are not supported", "choose another model")
    if kind in ("default", "dynamic"):
        return Rope(theta)
    if kind == "linear":
        return Rope(theta, kind, read.number("factor"))
    if kind == "llama3":
        low, high = read.number("low_freq_factor"), read.number("high_freq_factor")
        if low == high:
            read.problem("low_freq_factor and high_freq_factor are equal", "they must differ")
        original = read.count("original_max_position_embeddings", limit)
        return Rope(theta, kind, read.number("factor"), original, low, high)
    if kind == "yarn":
        return _yarn(spec, read, theta, limit)
    read.problem(f"RoPE scaling {shown(kind)} is not supported", "linear, dynamic, llama3 and yarn are")
    return Rope(theta)


def _yarn(spec: Mapping[str, Any], read: Members, theta: float, limit: int) -> Rope:
    original = read.count("original_max_position_embeddings", limit)
    factor = read.number("factor", limit / original)

    def gain(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    inferred = gain(1.0)
    if spec.get("mscale") and spec.get("mscale_all_dim"):
        inferred = gain(read.number("mscale")) / gain(read.number("mscale_all_dim"))
    return Rope(
        theta,
        "yarn",
        factor,
        original,
        beta_fast=read.number("beta_fast", 32.0) if spec.get("beta_fast") else 32.0,
        beta_slow=read.number("beta_slow", 1.0) if spec.get("beta_slow") else 1.0,
        truncate=bool(spec.get("truncate", True)),
        attention_factor=read.number("attention_factor", inferred),
    )

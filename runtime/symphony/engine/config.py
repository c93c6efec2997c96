"""What a model directory says about its model: config.json and generation_config.json, checked.

One description for the Llama family. Whatever is not supported is refused here, with the reason, before any weight is
read. It knows nothing of torch. Source: Hugging Face's configuration files, old and new spelling.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symphony.errors import Invalid, NotFound

ARCHITECTURES = ("LlamaForCausalLM",)
"""What this engine runs."""


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How positions beyond the original context are squeezed in; `kind` is "linear" or "llama3"."""

    kind: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_context: int = 8192


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Shapes and constants of one model. Names in comments are config.json's."""

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int  # num_hidden_layers
    heads: int  # num_attention_heads
    kv_heads: int  # num_key_value_heads
    head_dim: int
    context_limit: int  # max_position_embeddings
    norm_eps: float  # rms_norm_eps
    rope_theta: float
    rope_scaling: RopeScaling | None
    tied_embeddings: bool  # tie_word_embeddings
    dtype: str  # torch_dtype, or dtype: what the weights are stored in
    stop_tokens: tuple[int, ...]
    bos_token: int | None

    @classmethod
    def load(cls, directory: Path) -> ModelConfig:
        """Read a directory. Raises NotFound for a missing file, Invalid for what this engine cannot run."""
        raw = read_json(directory / "config.json", required=True)
        generation = read_json(directory / "generation_config.json", required=False)
        return cls.parse(raw, generation, str(directory / "config.json"))

    @classmethod
    def parse(cls, raw: Mapping[str, Any], generation: Mapping[str, Any], where: str) -> ModelConfig:
        """The description in two parsed files; `where` names the first one in messages."""
        _refuse(raw, where)
        read = _Reader(raw, where)
        heads, hidden = read.count("num_attention_heads"), read.count("hidden_size")
        theta, scaling = _rope(raw, where)
        config = cls(
            architecture=raw["architectures"][0],
            vocab_size=read.count("vocab_size"),
            hidden_size=hidden,
            intermediate_size=read.count("intermediate_size"),
            layers=read.count("num_hidden_layers"),
            heads=heads,
            kv_heads=read.count("num_key_value_heads", heads),
            head_dim=read.count("head_dim", max(hidden // heads, 1)),
            context_limit=read.count("max_position_embeddings"),
            norm_eps=read.number("rms_norm_eps", 1e-6),
            rope_theta=theta,
            rope_scaling=scaling,
            tied_embeddings=bool(raw.get("tie_word_embeddings", False)),
            dtype=str(raw.get("dtype") or raw.get("torch_dtype") or "float32"),
            stop_tokens=_ids(generation.get("eos_token_id", raw.get("eos_token_id"))),
            bos_token=next(iter(_ids(generation.get("bos_token_id", raw.get("bos_token_id")))), None),
        )
        if config.heads % config.kv_heads or config.head_dim % 2:
            raise Invalid(
                f"{where}: {config.heads} heads, {config.kv_heads} key heads, head size {config.head_dim} do not fit",
                "the heads must be a multiple of the key heads, and the head size even",
            )
        return config

    def rope_frequencies(self) -> list[float]:
        """[head_dim / 2] radians a position, scaled."""
        plain = [self.rope_theta ** (-2 * i / self.head_dim) for i in range(self.head_dim // 2)]
        return [_scaled(f, self.rope_scaling) for f in plain]


def read_json(path: Path, *, required: bool) -> dict[str, Any]:
    """A JSON object, or {} for a missing file that is not required. Raises NotFound, Invalid."""
    if not path.is_file():
        if required:
            raise NotFound(f"{path} does not exist", "give a Hugging Face model directory, or 'tiny'")
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError as e:
        raise Invalid(f"{path} is not JSON: {e}", "download the model again") from e
    if not isinstance(value, dict):
        raise Invalid(f"{path} is not a JSON object", "download the model again")
    return value


class _Reader:
    """Positive numbers out of config.json."""

    def __init__(self, raw: Mapping[str, Any], where: str) -> None:
        self._raw, self._where = raw, where

    def count(self, name: str, default: int | None = None) -> int:
        value = self._raw.get(name)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise Invalid(f"{self._where}: {name} is {value!r}, not a positive number", "download the model again")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        value = self._raw.get(name)
        value = default if value is None else value
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
            raise Invalid(f"{self._where}: {name} is {value!r}, not a positive number", "download the model again")
        return float(value)


def _refuse(raw: Mapping[str, Any], where: str) -> None:
    """Raise Invalid for anything that would silently give other results."""
    names = raw.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or names[0] not in ARCHITECTURES:
        raise Invalid(f"{where}: the architecture {names!r} is not supported", f"supported: {', '.join(ARCHITECTURES)}")
    reasons = {
        "auto_map": "it needs code that comes with the model, which is never run",
        "quantization_config": "quantised weights are not supported; use the original ones",
        "attention_bias": "biases in the attention are not supported",
        "mlp_bias": "biases in the MLP are not supported",
        "sliding_window": "sliding-window attention is not supported",
    }
    for name, reason in reasons.items():
        if raw.get(name):
            raise Invalid(f"{where}: {name} is set: {reason}", "choose another model")
    if raw.get("hidden_act", "silu") not in ("silu", "swish"):
        raise Invalid(f"{where}: the activation {raw['hidden_act']!r} is not supported", "silu is")
    if float(raw.get("partial_rotary_factor") or 1.0) != 1.0:
        raise Invalid(f"{where}: partial rotary embeddings are not supported", "choose another model")


def _rope(raw: Mapping[str, Any], where: str) -> tuple[float, RopeScaling | None]:
    """Theta and scaling; newer files keep both in rope_parameters."""
    spec: dict[str, Any] = dict(raw.get("rope_parameters") or raw.get("rope_scaling") or {})
    read = _Reader(spec, where)
    theta = read.number("rope_theta", _Reader(raw, where).number("rope_theta", 10000.0))
    kind = str(spec.get("rope_type") or spec.get("type") or "default")
    if kind == "default":
        return theta, None
    if kind == "linear":
        return theta, RopeScaling(kind, read.number("factor"))
    if kind == "llama3":
        return theta, RopeScaling(
            kind,
            read.number("factor"),
            read.number("low_freq_factor"),
            read.number("high_freq_factor"),
            read.count("original_max_position_embeddings"),
        )
    raise Invalid(f"{where}: RoPE scaling {kind!r} is not supported", "linear and llama3 are")


def _scaled(frequency: float, scaling: RopeScaling | None) -> float:
    if scaling is None:
        return frequency
    if scaling.kind == "linear":
        return frequency / scaling.factor
    # llama3: high frequencies stay, low ones are divided, those between are blended
    wavelengths = scaling.original_context * frequency / (2 * math.pi)
    smooth = (wavelengths - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    smooth = min(max(smooth, 0.0), 1.0)
    return (1 - smooth) * frequency / scaling.factor + smooth * frequency


def _ids(value: Any) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(v for v in values if isinstance(v, int) and not isinstance(v, bool))

"""What a model directory says about its model: config.json and generation_config.json, checked.

One description covers the families; `FAMILIES` lists how each differs from Llama. Whatever is not supported is refused
here, with the reason, before any weight is read. It knows nothing of torch. Source: Hugging Face's configuration
files, old and new spelling, and the configuration classes of transformers for what a file leaves out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from symphony.engine.directory import read_config
from symphony.engine.members import MAX_COUNT, Members, shown
from symphony.engine.messages import Sampling
from symphony.engine.problems import Problem, refuse
from symphony.engine.rotary import Rope, read_rope

MAX_LAYERS = 4096
MAX_CONTEXT = 1 << 21
"""Positions: the table of their angles is in memory."""


@dataclass(frozen=True, slots=True)
class Family:
    """How an architecture differs from a Llama without biases."""

    qkv_bias: bool = False
    """Queries, keys and values always have biases."""
    may_bias: frozenset[str] = frozenset()
    """Members of config.json that it heeds: "attention_bias" (all four projections), "mlp_bias" (all three)."""
    qk_norm: bool = False
    """Each head's queries and keys are normalised before they are rotated."""
    window: Literal["never", "always", "by layer"] = "never"
    """Which layers have a sliding window, if config.json gives one."""
    defaults: Mapping[str, int] = field(default_factory=dict[str, int])
    """Of members that config.json may leave out."""


FAMILIES = {
    "LlamaForCausalLM": Family(may_bias=frozenset({"attention_bias", "mlp_bias"})),
    "MistralForCausalLM": Family(window="always", defaults={"sliding_window": 4096, "num_key_value_heads": 8}),
    "Qwen2ForCausalLM": Family(
        qkv_bias=True, window="by layer", defaults={"sliding_window": 4096, "max_window_layers": 28}
    ),
    "Qwen3ForCausalLM": Family(
        may_bias=frozenset({"attention_bias"}),
        qk_norm=True,
        window="by layer",
        defaults={"sliding_window": 4096, "max_window_layers": 28, "head_dim": 128},
    ),
}
"""What this engine runs."""


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
    context_limit: int  # max_position_embeddings, or what yarn makes of the original ones
    norm_eps: float  # rms_norm_eps
    rope: Rope
    window: int | None
    """Positions that a query of a windowed layer sees, its own included; None: there are no such layers."""
    windowed: tuple[bool, ...]
    """A layer each."""
    qkv_bias: bool
    out_bias: bool
    mlp_bias: bool
    qk_norm: bool
    tied_embeddings: bool  # tie_word_embeddings
    dtype: str  # torch_dtype, or dtype: what the weights are stored in
    stop_tokens: tuple[int, ...]
    bos_token: int | None
    sampling: Sampling | None
    """What generation_config.json suggests; None: nothing, or greedy."""

    @classmethod
    def load(cls, directory: Path) -> ModelConfig:
        """Read a directory. Raises NotFound for a missing file, Invalid for what this engine cannot run."""
        raw, generation = read_config(directory)
        return cls.parse(raw, generation, str(directory / "config.json"))

    @classmethod
    def parse(cls, raw: Mapping[str, Any], generation: Mapping[str, Any], where: str) -> ModelConfig:
        """The description in two parsed files; `where` names the first one in messages. Raises Invalid."""
        problems: list[Problem] = []
        config = cls.examine(raw, generation, where, problems)
        refuse(problems)
        return config

    @classmethod
    def examine(
        cls, raw: Mapping[str, Any], generation: Mapping[str, Any], where: str, problems: list[Problem]
    ) -> ModelConfig:
        """The same; all that is wrong goes to `problems`, and the result is of use only if nothing is."""
        family = _family(raw, where, problems)
        _refuse_features(raw, where, problems)
        read = Members({**family.defaults, **raw}, where, problems)
        heads, hidden = read.count("num_attention_heads"), read.count("hidden_size")
        layers = read.count("num_hidden_layers", most=MAX_LAYERS)
        limit = read.count("max_position_embeddings", most=MAX_CONTEXT)
        rope = read_rope(raw, limit, where, problems)
        if rope.kind == "yarn":
            limit = max(limit, int(min(rope.original_context * rope.factor, MAX_CONTEXT)))
        window, windowed = _windows(raw, read, family, layers, limit)
        heeds_attention = "attention_bias" in family.may_bias and bool(raw.get("attention_bias"))
        config = cls(
            architecture=_architecture(raw) or "",
            vocab_size=read.count("vocab_size"),
            hidden_size=hidden,
            intermediate_size=read.count("intermediate_size"),
            layers=layers,
            heads=heads,
            kv_heads=read.count("num_key_value_heads", heads),
            head_dim=read.count("head_dim", max(hidden // heads, 1)),
            context_limit=limit,
            norm_eps=read.number("rms_norm_eps", 1e-6),
            rope=rope,
            window=window,
            windowed=windowed,
            qkv_bias=family.qkv_bias or heeds_attention,
            out_bias=heeds_attention,
            mlp_bias="mlp_bias" in family.may_bias and bool(raw.get("mlp_bias")),
            qk_norm=family.qk_norm,
            tied_embeddings=bool(raw.get("tie_word_embeddings", False)),
            dtype=read.dtype(),
            stop_tokens=_ids(generation.get("eos_token_id", raw.get("eos_token_id"))),
            bos_token=next(iter(_ids(generation.get("bos_token_id", raw.get("bos_token_id")))), None),
            sampling=_sampling(generation),
        )
        if config.heads % config.kv_heads or config.head_dim % 2:
            problems.append(
                Problem(
                    f"{where}: {config.heads} heads, {config.kv_heads} key heads and a head size of {config.head_dim} "
                    "do not fit",
                    "the heads must be a multiple of the key heads, and the head size even",
                )
            )
        return config

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Name and shape of every weight. A tied `lm_head.weight` is not among them, though files may have it."""
        wide, narrow, inner = self.heads * self.head_dim, self.kv_heads * self.head_dim, self.intermediate_size
        projections = (
            ("self_attn.q_proj", wide, self.hidden_size, self.qkv_bias),
            ("self_attn.k_proj", narrow, self.hidden_size, self.qkv_bias),
            ("self_attn.v_proj", narrow, self.hidden_size, self.qkv_bias),
            ("self_attn.o_proj", self.hidden_size, wide, self.out_bias),
            ("mlp.gate_proj", inner, self.hidden_size, self.mlp_bias),
            ("mlp.up_proj", inner, self.hidden_size, self.mlp_bias),
            ("mlp.down_proj", self.hidden_size, inner, self.mlp_bias),
        )
        yield "model.embed_tokens.weight", (self.vocab_size, self.hidden_size)
        for i in range(self.layers):
            layer = f"model.layers.{i}."
            yield layer + "input_layernorm.weight", (self.hidden_size,)
            yield layer + "post_attention_layernorm.weight", (self.hidden_size,)
            for name, out, within, bias in projections:
                yield f"{layer}{name}.weight", (out, within)
                if bias:
                    yield f"{layer}{name}.bias", (out,)
            if self.qk_norm:
                yield layer + "self_attn.q_norm.weight", (self.head_dim,)
                yield layer + "self_attn.k_norm.weight", (self.head_dim,)
        yield "model.norm.weight", (self.hidden_size,)
        if not self.tied_embeddings:
            yield "lm_head.weight", (self.vocab_size, self.hidden_size)

    def ignores(self, name: str) -> bool:
        """Whether a tensor that is not among `tensors` may be in the files: what older releases saved besides."""
        return name.endswith("rotary_emb.inv_freq") or (name == "lm_head.weight" and self.tied_embeddings)


# ---- what is refused -------------------------------------------------------------------------------------------------

_OTHER_KINDS = (
    (("moe", "mixtral", "experts"), "mixtures of experts are not supported"),
    (("vl", "vision", "llava", "conditionalgeneration", "audio"), "only models of text alone are supported"),
    (("sequenceclassification", "tokenclassification", "rewardmodel", "embedding"), "it gives no next token"),
)
"""Parts of architectures' names, in lower case, and why they are refused."""

_FEATURES = {
    "auto_map": ("it needs code that comes with the model, which is never run", "choose a model of a known family"),
    "quantization_config": ("quantised weights are not supported", "use the original weights"),
    "compression_config": ("quantised weights are not supported", "use the original weights"),
    "vision_config": ("only models of text alone are supported", "choose the text model of the family"),
    "num_experts": ("mixtures of experts are not supported", "choose a dense model"),
    "num_local_experts": ("mixtures of experts are not supported", "choose a dense model"),
}


def _architecture(raw: Mapping[str, Any]) -> str | None:
    names = raw.get("architectures")
    return names[0] if isinstance(names, list) and len(names) == 1 and isinstance(names[0], str) else None


def _family(raw: Mapping[str, Any], where: str, problems: list[Problem]) -> Family:
    name = _architecture(raw)
    if name in FAMILIES:
        return FAMILIES[name]
    plain = (name or "").lower()
    reason = next((why for words, why in _OTHER_KINDS if any(word in plain for word in words)), None)
    problems.append(
        Problem(
            f"{where}: the architecture {shown(raw.get('architectures'))} is not supported"
            + (f": {reason}" * bool(reason)),
            f"supported: {', '.join(FAMILIES)}",
        )
    )
    return Family()


def _refuse_features(raw: Mapping[str, Any], where: str, problems: list[Problem]) -> None:
    """Anything that would need other code than ours, or silently give other results."""
    for name, (reason, fix) in _FEATURES.items():
        if raw.get(name):
            problems.append(Problem(f"{where}: {name} is set: {reason}", fix))
    if raw.get("hidden_act", "silu") not in ("silu", "swish"):
        problems.append(Problem(f"{where}: the activation {shown(raw['hidden_act'])} is not supported", "silu is"))


def _windows(
    raw: Mapping[str, Any], read: Members, family: Family, layers: int, limit: int
) -> tuple[int | None, tuple[bool, ...]]:
    """The sliding window, and which layers have it. One that no sequence can outgrow is none."""
    off = family.window == "by layer" and not raw.get("use_sliding_window")
    if family.window == "never" or off or raw.get("sliding_window", True) is None:
        return None, (False,) * layers
    window = read.count("sliding_window")
    if family.window == "always":
        windowed = (True,) * layers
    elif raw.get("layer_types") is not None:
        windowed = read.layer_kinds(layers)
    else:
        first = 0 if raw.get("max_window_layers") == 0 else read.count("max_window_layers")
        windowed = tuple(i >= first for i in range(layers))
    return (window, windowed) if any(windowed) and window < limit else (None, (False,) * layers)


def _sampling(generation: Mapping[str, Any]) -> Sampling | None:
    """Values of a wrong type or range are no suggestion."""
    if not generation.get("do_sample"):
        return None

    def get(name: str, default: float, least: float, most: float) -> float:
        value = generation.get(name)
        fits = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
        return float(value) if fits and value is not None else default

    return Sampling(
        temperature=get("temperature", 1.0, 0.0, 100.0),
        top_k=int(get("top_k", 0, 0, MAX_COUNT)),
        top_p=get("top_p", 1.0, 0.0, 1.0),
        min_p=get("min_p", 0.0, 0.0, 1.0),
        repetition_penalty=get("repetition_penalty", 1.0, 1e-3, 100.0),
    )


def _ids(value: Any) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(v for v in values if isinstance(v, int) and not isinstance(v, bool))

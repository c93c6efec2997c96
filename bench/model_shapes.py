"""Write Hugging Face directories with random weights: shapes to measure with, and small ones to test against.

    python bench/model_shapes.py llama-29m OUT_DIR

Weights are scaled so that logits spread (standard deviation about 4), as a trained model's do: near-uniform logits hide
mistakes. The tokenizer and the chat template are those of `tiny`. Needs torch and safetensors only.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

TINY = Path(__file__).resolve().parent.parent / "runtime" / "symphony" / "models" / "tiny"
SPREAD = 4.0


@dataclass(frozen=True)
class Shape:
    """The numbers of config.json that differ; names are its own."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int = 4096
    max_position_embeddings: int = 2048
    tie_word_embeddings: bool = True


SHAPES = {
    "llama-29m": Shape(512, 1536, 8, 8, 4, 64, 8192, 4096),  # the shape that peers were measured with
    "llama-1b": Shape(2048, 8192, 16, 16, 8, 128, 128256, 8192),
    "llama-8b": Shape(4096, 14336, 32, 32, 8, 128, 128256, 8192, tie_word_embeddings=False),
    "small-gqa": Shape(128, 256, 3, 4, 2, 32),
    "small-mha": Shape(96, 160, 2, 3, 3, 32),
    "small-mqa": Shape(128, 192, 2, 4, 1, 64),
    "small-untied": Shape(128, 256, 2, 4, 2, 64, tie_word_embeddings=False),
    "small-wide-heads": Shape(64, 128, 2, 2, 1, 128),  # heads x head_dim is not hidden_size
}


def write(
    shape: Shape,
    directory: Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    shards: int = 1,
    config: dict[str, Any] | None = None,
) -> Path:
    """Write a model directory and return it. `config`: further members of config.json."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(TINY / name, directory / name)
    members: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "torch_dtype": str(dtype).removeprefix("torch."),
    }
    (directory / "config.json").write_text(json.dumps(members | asdict(shape) | (config or {}), indent=1))
    (directory / "generation_config.json").write_text(json.dumps({"bos_token_id": 0, "eos_token_id": [2, 0]}))
    _save({name: t.to(dtype) for name, t in tensors(shape, seed)}, directory, shards)
    return directory


def tensors(shape: Shape, seed: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Random weights by name."""
    random = torch.Generator().manual_seed(seed)

    def matrix(out: int, inner: int, spread: float = 1.0) -> torch.Tensor:
        return torch.randn(out, inner, generator=random) * (spread * inner**-0.5)

    def gain() -> torch.Tensor:
        return 1 + 0.1 * torch.randn(shape.hidden_size, generator=random)

    s = shape
    yield "model.embed_tokens.weight", matrix(s.vocab_size, s.hidden_size, SPREAD)
    for i in range(s.num_hidden_layers):
        layer = f"model.layers.{i}."
        yield layer + "input_layernorm.weight", gain()
        yield layer + "self_attn.q_proj.weight", matrix(s.num_attention_heads * s.head_dim, s.hidden_size)
        yield layer + "self_attn.k_proj.weight", matrix(s.num_key_value_heads * s.head_dim, s.hidden_size)
        yield layer + "self_attn.v_proj.weight", matrix(s.num_key_value_heads * s.head_dim, s.hidden_size)
        yield layer + "self_attn.o_proj.weight", matrix(s.hidden_size, s.num_attention_heads * s.head_dim)
        yield layer + "post_attention_layernorm.weight", gain()
        yield layer + "mlp.gate_proj.weight", matrix(s.intermediate_size, s.hidden_size)
        yield layer + "mlp.up_proj.weight", matrix(s.intermediate_size, s.hidden_size)
        yield layer + "mlp.down_proj.weight", matrix(s.hidden_size, s.intermediate_size)
    yield "model.norm.weight", gain()
    if not s.tie_word_embeddings:
        yield "lm_head.weight", matrix(s.vocab_size, s.hidden_size, SPREAD)


def _save(weights: dict[str, torch.Tensor], directory: Path, shards: int) -> None:
    if shards == 1:
        save_file(weights, str(directory / "model.safetensors"), metadata={"format": "pt"})
        return
    places = {name: f"model-{i % shards + 1:05}-of-{shards:05}.safetensors" for i, name in enumerate(weights)}
    for file in sorted(set(places.values())):
        part = {name: t for name, t in weights.items() if places[name] == file}
        save_file(part, str(directory / file), metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": places}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a model directory with random weights.")
    parser.add_argument("shape", choices=sorted(SHAPES))
    parser.add_argument("directory", type=Path)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write(SHAPES[arguments.shape], arguments.directory, seed=arguments.seed, dtype=getattr(torch, arguments.dtype))
    print(arguments.directory)


if __name__ == "__main__":
    main()

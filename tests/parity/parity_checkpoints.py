"""Random checkpoints of every family and option, made with transformers' own classes; small; their logits spread."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bench.model_shapes import SPREAD, TINY

SIZES: dict[str, Any] = {
    "vocab_size": 4096,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128}
MIXED = ["full_attention", "sliding_attention", "full_attention"]

CHECKPOINTS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "llama-2": ("Llama", {"num_key_value_heads": 4, "head_dim": 32}),
    "llama-3 tied": ("Llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True, "head_dim": 64}),
    "llama biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama linear": ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}),
    "llama dynamic": ("Llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}),
    "llama yarn": ("Llama", {"rope_parameters": YARN, "head_dim": 32}),
    "llama yarn with mscale": (
        "Llama", {"rope_parameters": {**YARN, "mscale": 1.0, "mscale_all_dim": 0.5, "truncate": False, "beta_fast": 16}}
    ),
    "llama mqa": ("Llama", {"num_key_value_heads": 1, "head_dim": 96}),
    "mistral without a window": ("Mistral", {"sliding_window": None, "head_dim": 128}),
    "mistral, window 24": ("Mistral", {"sliding_window": 24}),
    "mistral, window 16": ("Mistral", {"sliding_window": 16, "num_key_value_heads": 1}),
    "mistral, window 1": ("Mistral", {"sliding_window": 1}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen2 yarn": ("Qwen2", {"rope_parameters": {**YARN, "rope_theta": 1e6, "attention_factor": 1.3}}),
    "qwen2, window from a layer on": (
        "Qwen2", {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 1}
    ),
    "qwen3": ("Qwen3", {"head_dim": 32, "tie_word_embeddings": True}),
    "qwen3 mha": ("Qwen3", {"head_dim": 128, "num_key_value_heads": 4}),
    "qwen3 biases": ("Qwen3", {"head_dim": 16, "attention_bias": True}),
    "qwen3 yarn, window by layer": (
        "Qwen3",
        {
            "head_dim": 64, "use_sliding_window": True, "sliding_window": 33, "layer_types": MIXED,
            "rope_parameters": YARN,
        },
    ),
}  # fmt: skip
"""Family and what differs from SIZES."""


def make_checkpoint(name: str, root: Path, dtype: torch.dtype = torch.float32, shards: int = 1, **members: Any) -> Path:
    """Write a directory as transformers does, with the tokenizer and the chat template of `tiny`.

    `members`: more of the configuration.
    """
    import transformers

    family, changes = CHECKPOINTS[name]
    config = getattr(transformers, family + "Config")(**{**SIZES, **changes, **members})
    model = getattr(transformers, family + "ForCausalLM")(config)
    _randomise(model, zlib.crc32(name.encode()))
    directory = root / name.replace(" ", "-")
    size = (
        "100GB"
        if shards == 1
        else f"{sum(p.numel() for p in model.parameters()) * dtype.itemsize // shards // 1000 + 1}KB"
    )
    model.to(dtype).save_pretrained(str(directory), max_shard_size=size)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(TINY / file, directory / file)
    (directory / "generation_config.json").write_text(json.dumps({"bos_token_id": 0, "eos_token_id": [2, 0]}))
    return directory


@torch.no_grad()
def _randomise(model: Any, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=random)
        if name.endswith("bias"):
            weight.copy_(0.3 * noise)
        elif weight.dim() == 1:
            weight.copy_(1 + 0.2 * noise)
        else:
            outer = "embed_tokens" in name or "lm_head" in name
            weight.copy_(noise * weight.shape[1] ** -0.5 * (SPREAD if outer else 1.0))
    # of both signs, or a model with tied embeddings would say again what it was just told
    model.model.norm.weight.mul_(torch.randint(0, 2, model.model.norm.weight.shape, generator=random) * 2 - 1)

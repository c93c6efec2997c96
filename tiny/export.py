"""A trained model as a Hugging Face directory, in bf16, which transformers and Symphony load."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tiny.corpus import SPECIAL
from tiny.model import EPSILON, THETA, Model

STACKED = {
    **{name: f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj")},
    **{name: f"mlp.{name}" for name in ("gate_proj", "up_proj", "down_proj")},
    "input_norm": "input_layernorm",
    "post_norm": "post_attention_layernorm",
}
END_OF_TEXT, _, END_OF_TURN = SPECIAL[:3]
STOP = [SPECIAL.index(END_OF_TURN), SPECIAL.index(END_OF_TEXT)]


def export(model: Model, tokenizer: Path, directory: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write everything that a model directory holds; the chat template is the shipped one's."""
    shape = model.shape
    directory.mkdir(parents=True, exist_ok=True)
    weights: dict[str, Tensor] = {"model.embed_tokens.weight": model.embed, "model.norm.weight": model.norm}
    for ours, theirs in STACKED.items():
        for layer, matrix in enumerate(getattr(model, ours)):
            weights[f"model.layers.{layer}.{theirs}.weight"] = matrix
    kept = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in weights.items()}
    save_file(kept, directory / "model.safetensors", {"format": "pt"})
    bounds = {"bos_token_id": STOP[1], "pad_token_id": STOP[1]}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **asdict(shape),
        "num_attention_heads": shape.heads,
        "rms_norm_eps": EPSILON,
        "rope_theta": THETA,
        "tie_word_embeddings": True,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        **bounds,
        "eos_token_id": STOP[0],
        "torch_dtype": str(dtype).removeprefix("torch."),
    }
    _write(directory / "config.json", config)
    _write(directory / "generation_config.json", {**bounds, "eos_token_id": STOP, "do_sample": False})
    names = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TURN, "pad_token": END_OF_TEXT}
    more = {"model_max_length": shape.max_position_embeddings, "clean_up_tokenization_spaces": False}
    _write(directory / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **names, **more})
    shutil.copyfile(tokenizer, directory / "tokenizer.json")
    template = resources.files("symphony") / "models" / "tiny" / "chat_template.jinja"
    (directory / "chat_template.jinja").write_text(template.read_text())


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")

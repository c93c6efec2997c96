"""A Llama directory with our random weights as a GGUF file, with a vocabulary of the right size that means nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import gguf
import numpy as np
from safetensors import safe_open

_FIRST_WORD = 259
"""Ids below are special tokens and bytes."""
_LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def convert(directory: Path, target: Path, dtype: str) -> None:
    """`dtype`: float32 or bfloat16, of the matrices. The directory has fp32 weights in one file."""
    c = json.loads((directory / "config.json").read_text())
    w = gguf.GGUFWriter(str(target), "llama")
    w.add_name(directory.name)
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_block_count(c["num_hidden_layers"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(c["num_attention_heads"])
    w.add_head_count_kv(c["num_key_value_heads"])
    w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    w.add_rope_freq_base(c["rope_theta"])
    w.add_rope_dimension_count(c["head_dim"])
    w.add_key_length(c["head_dim"])
    w.add_value_length(c["head_dim"])
    w.add_vocab_size(c["vocab_size"])
    w.add_file_type(0 if dtype == "float32" else 32)
    _add_vocabulary(w, c["vocab_size"])
    with safe_open(str(directory / "model.safetensors"), "np") as file:
        for name in file.keys():  # noqa: SIM118 - not a dict
            _add(w, _gguf_name(name), _paired(name, file.get_tensor(name).astype(np.float32), c), dtype)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def token_ids(text: str) -> list[int]:
    """Of a text in this vocabulary, but for bytes and special tokens, which it leaves out."""
    return [_FIRST_WORD + int(number) for number in re.findall(r" w(\d+)", text)]


def _add(w: gguf.GGUFWriter, name: str, tensor: np.ndarray, dtype: str) -> None:
    if dtype == "float32" or tensor.ndim == 1:
        w.add_tensor(name, np.ascontiguousarray(tensor))
        return
    kind = gguf.GGMLQuantizationType.BF16
    w.add_tensor(name, gguf.quantize(np.ascontiguousarray(tensor), kind), raw_dtype=kind)


def _add_vocabulary(w: gguf.GGUFWriter, size: int) -> None:
    tokens = [b"<unk>", b"<s>", b"</s>"] + [f"<0x{i:02X}>".encode() for i in range(256)]
    kinds = [2, 3, 3] + [6] * 256 + [1] * (size - _FIRST_WORD)
    tokens += [f"\u2581w{i}".encode() for i in range(size - len(tokens))]
    w.add_tokenizer_model("llama")
    w.add_token_list(tokens)
    w.add_token_scores([0.0] * _FIRST_WORD + [-float(i) for i in range(size - _FIRST_WORD)])
    w.add_token_types(kinds)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    w.add_add_bos_token(False)


def _gguf_name(name: str) -> str:
    if not name.startswith("model.layers."):
        return {
            "model.embed_tokens.weight": "token_embd.weight",
            "model.norm.weight": "output_norm.weight",
            "lm_head.weight": "output.weight",
        }[name]
    layer, what = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
    return f"blk.{layer}.{_LAYER[what]}.weight"


def _paired(name: str, tensor: np.ndarray, c: dict) -> np.ndarray:
    """llama.cpp's RoPE pairs neighbours."""
    heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
    for part, count in heads.items():
        if part in name:
            halves = tensor.reshape(c[count], 2, c["head_dim"] // 2, -1)
            return halves.swapaxes(1, 2).reshape(tensor.shape)
    return tensor

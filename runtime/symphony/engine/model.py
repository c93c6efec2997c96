"""The transformer: token ids in, logits of the wanted rows out, keys and values into the pages.

One description for the Llama family. Attention, the writing of K/V and the pages belong to `symphony_kernels`; this
module knows no page. In fp32 the norms' gains and the attention's scale are folded into the weights that follow them;
in narrower types that would round the weights a second time, so gains stay apart there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit

from symphony.engine.config import ModelConfig
from symphony.engine.linears import Gated, Linear, gated, linear
from symphony.engine.weights import Checkpoint
from symphony_kernels.interface import PagedAttention


@dataclass(slots=True)
class _Layer:
    norm_1: torch.Tensor | None
    qkv: Linear
    out: Linear
    norm_2: torch.Tensor | None
    gate_up: Gated
    down: Linear


class Transformer:
    """Weights, ready to run on one device."""

    def __init__(self, config: ModelConfig, weights: Checkpoint, dtype: torch.dtype) -> None:
        """Reads and packs all weights. Raises Invalid if one is missing or of another shape."""
        self.config = config
        self._folded = dtype == torch.float32
        self._dtype = dtype
        self._read = weights
        c = config
        self._root = math.sqrt(c.hidden_size) if self._folded else 1.0
        embedding = self._get("model.embed_tokens.weight", c.vocab_size, c.hidden_size)
        head = embedding if c.tied_embeddings else self._get("lm_head.weight", c.vocab_size, c.hidden_size)
        norm = self._get("model.norm.weight", c.hidden_size)
        self._embedding = embedding
        self._layers = [self._layer(i) for i in range(c.layers)]
        self._norm, (head,) = self._fold(norm, head)
        self._head = linear(head)
        # the norm is x / hypot(|x|, sqrt(n eps)) once sqrt(n) sits in the gain
        self._floor = torch.tensor(math.sqrt(c.hidden_size * c.norm_eps), dtype=dtype, device=embedding.device)

    @property
    def scale(self) -> float:
        """What the attention must multiply scores by: 1 if it is folded into the queries' weights."""
        return 1.0 if self._folded else self.config.head_dim**-0.5

    def rope(self) -> torch.Tensor:
        """[context_limit, head_dim / 2, 2] fp32: cosine and sine of every position."""
        frequencies = torch.tensor(self.config.rope_frequencies(), dtype=torch.float64)
        angles = torch.outer(torch.arange(self.config.context_limit, dtype=torch.float64), frequencies)
        return torch.stack([angles.cos(), angles.sin()], -1).float().to(self._embedding.device)

    def forward(
        self, ids: torch.Tensor, attention: PagedAttention, plan: Any, wanted: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Run T tokens.

        `ids`: [T]. `wanted`: [N] indexes into T, or None for none.
        Returns logits [N, vocab] in fp32, and [T]: a number that is finite if all that was written for the token is.
        """
        x = F.embedding(ids, self._embedding)
        tokens, c = x.shape[0], self.config
        health = x
        for i, layer in enumerate(self._layers):
            last = i == c.layers - 1
            qkv = layer.qkv(self._normed(x, layer.norm_1)).view(tokens, c.heads + 2 * c.kv_heads, c.head_dim)
            attention.write(i, qkv, plan)
            if last:
                health = qkv.sum((1, 2), dtype=torch.float32)
                if wanted is None:
                    return None, health
            mixed = attention.attend(i, qkv, plan)
            if last and wanted is not None and len(wanted) < tokens:
                mixed, x = mixed.index_select(0, wanted), x.index_select(0, wanted)
            x = layer.out.plus(mixed, x)
            x = layer.down.plus(layer.gate_up(self._normed(x, layer.norm_2)), x)
        return self._head(self._normed(x, self._norm)).float(), health

    def _normed(self, x: torch.Tensor, gain: torch.Tensor | None) -> torch.Tensor:
        if gain is None:
            return x / torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), self._floor)
        return F.rms_norm(x, (x.shape[-1],), gain, self.config.norm_eps)

    # ---- loading ---------------------------------------------------------------------------------------------------

    def _layer(self, i: int) -> _Layer:
        c = self.config
        wide, narrow, inner = c.heads * c.head_dim, c.kv_heads * c.head_dim, c.intermediate_size

        def get(name: str, *shape: int) -> torch.Tensor:
            return self._get(f"model.layers.{i}.{name}.weight", *shape)

        q = self._paired(get("self_attn.q_proj", wide, c.hidden_size))
        if self._folded:
            q = q * c.head_dim**-0.5
        k = self._paired(get("self_attn.k_proj", narrow, c.hidden_size))
        v = get("self_attn.v_proj", narrow, c.hidden_size)
        norm_1, (qkv,) = self._fold(get("input_layernorm", c.hidden_size), torch.cat([q, k, v]))
        norm_2, (gate, up) = self._fold(
            get("post_attention_layernorm", c.hidden_size),
            get("mlp.gate_proj", inner, c.hidden_size),
            get("mlp.up_proj", inner, c.hidden_size),
        )
        out, down = get("self_attn.o_proj", c.hidden_size, wide), get("mlp.down_proj", c.hidden_size, inner)
        return _Layer(norm_1, linear(qkv), linear(out), norm_2, gated(gate, up), linear(down))

    def _get(self, name: str, *shape: int) -> torch.Tensor:
        return self._read.get(name, shape).to(self._dtype)

    def _paired(self, weight: torch.Tensor) -> torch.Tensor:
        """Reorder a head's rows so that the two halves that RoPE pairs become neighbours (see `interface`)."""
        halves = weight.unflatten(0, (-1, 2, self.config.head_dim // 2))
        return halves.transpose(1, 2).reshape(weight.shape)

    def _fold(self, gain: torch.Tensor, *weights: torch.Tensor) -> tuple[torch.Tensor | None, tuple[torch.Tensor, ...]]:
        """A norm's gain moved into the weights that follow it, where that is exact enough."""
        if not self._folded:
            return gain, weights
        return None, tuple(w * (gain * self._root) for w in weights)

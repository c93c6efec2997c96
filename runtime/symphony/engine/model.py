"""The transformer: token ids in, logits of the wanted rows out, keys and values into the pages.

One description for all families of `config.FAMILIES`: what one of them lacks is None here. Attention, the writing of
K/V and the pages belong to `symphony_kernels`; this module knows no page. What lies between products is fused with them
on a CPU, and with each other on a GPU. On a CPU in fp32 the norms' gains and the attention's scale are folded into the
weights that follow them; in narrower types that would round the weights a second time, so they stay apart there.
bf16 on a CPU is a way to read less memory: matrices are bf16, folded before they are rounded; all else is fp32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit

from symphony.engine import rope
from symphony.engine.config import ModelConfig
from symphony.engine.linears import Gated, Linear, gated, linear
from symphony.engine.weights import Checkpoint
from symphony_kernels import PagedAttention, small_ops


@dataclass(slots=True)
class _Layer:
    norm_1: torch.Tensor | None
    qkv: Linear
    qk_norm: torch.Tensor | None
    """[heads + kv_heads, head_dim]: gains of each head's norm."""
    out: Linear
    norm_2: torch.Tensor | None
    gate_up: Linear | Gated
    """Only the product, [T, 2 n], if the model has fused operations for what follows."""
    down: Linear
    windowed: bool


class Transformer:
    """Weights, ready to run on one device. `scale`: what the attention must multiply scores by. `dtype`: of all that is
    computed, and of K/V."""

    def __init__(self, config: ModelConfig, weights: Checkpoint, dtype: torch.dtype) -> None:
        """Reads and packs all weights. `weights` were checked against `config`."""
        self.config = config
        self._read = weights
        self._narrow = dtype == torch.bfloat16 and weights.get("model.norm.weight").device.type == "cpu"
        self.dtype = torch.float32 if self._narrow else dtype
        self._embedding = self._get("model.embed_tokens.weight")
        self._ops = small_ops(self._embedding.device)
        self._folded = self.dtype == torch.float32 and self._ops is None
        c = config
        scale = c.head_dim**-0.5 * c.rope.attention_factor**2
        self.scale, self._fold_scale = (1.0, scale) if self._folded else (scale, 1.0)
        self._root = math.sqrt(c.hidden_size) if self._folded else 1.0
        norm = self._get("model.norm.weight")
        self._layers = [self._layer(i) for i in range(c.layers)]
        self._norm, (head,) = self._fold(norm, self._output_weight())
        self._head = self._linear(head)
        # the norm is x / hypot(|x|, sqrt(n eps)) once sqrt(n) sits in the gain
        self._floor = torch.tensor(math.sqrt(c.hidden_size * c.norm_eps), dtype=self.dtype, device=norm.device)
        if self._narrow:
            self._embedding = self._embedding.to(dtype)

    def rope(self) -> torch.Tensor:
        """[context_limit, head_dim / 2, 2] fp32: cosine and sine of every position."""
        return rope.table(self.config.rope, self.config.head_dim, self.config.context_limit).to(self._embedding.device)

    def forward(
        self, ids: torch.Tensor, attention: PagedAttention, plan: Any, wanted: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Run T tokens.

        `ids`: [T]. `wanted`: [N] indexes into T, or None for none.
        Returns logits [N, vocab] in fp32, and [T]: a number that is finite if all that was written for the token is.
        """
        states, health = self.states(ids, attention, plan, wanted)
        return None if states is None else self.logits(states), health

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """[N, vocab] in fp32, of `states`."""
        return self._head(states).float()

    def states(
        self, ids: torch.Tensor, attention: PagedAttention, plan: Any, wanted: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """As `forward`, but [N, hidden size]: what the logits are a product of."""
        x = F.embedding(ids, self._embedding).to(self.dtype)
        normed = self._normed(x, self._layers[0].norm_1)
        tokens, c = x.shape[0], self.config
        health = x
        for i, layer in enumerate(self._layers):
            last = i == c.layers - 1
            qkv = layer.qkv(normed).view(tokens, c.heads + 2 * c.kv_heads, c.head_dim)
            if layer.qk_norm is not None:
                self._norm_heads(qkv, layer.qk_norm)
            attention.write(i, qkv, plan)
            if last:
                health = qkv.sum((1, 2), dtype=torch.float32)
                if wanted is None:
                    return None, health
            mixed = attention.attend(i, qkv, plan, layer.windowed)
            if last and wanted is not None and len(wanted) < tokens:
                mixed, x = mixed.index_select(0, wanted), x.index_select(0, wanted)
            x, normed = self._add(x, layer.out, mixed, layer.norm_2)
            inner = layer.gate_up(normed) if self._ops is None else self._ops.gate(layer.gate_up(normed))
            x, normed = self._add(x, layer.down, inner, self._norm if last else self._layers[i + 1].norm_1)
        return normed, health

    def _add(
        self, x: torch.Tensor, product: Linear, inner: torch.Tensor, gain: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """x + product(inner), and its norm; x may be written to."""
        if self._ops is not None:
            assert gain is not None
            return x, self._ops.add_norm(x, product(inner), gain, self.config.norm_eps)
        x = product.plus(inner, x)
        return x, self._normed(x, gain)

    def _normed(self, x: torch.Tensor, gain: torch.Tensor | None) -> torch.Tensor:
        if self._ops is not None:
            assert gain is not None  # nothing is folded then
            return self._ops.add_norm(x, None, gain, self.config.norm_eps)
        if gain is None:
            return x / torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), self._floor)
        return F.rms_norm(x, (x.shape[-1],), gain, self.config.norm_eps)

    def _norm_heads(self, qkv: torch.Tensor, gains: torch.Tensor) -> None:
        if self._ops is not None:
            self._ops.norm_heads(qkv, gains, self.config.norm_eps)
            return
        heads = qkv[:, : len(gains)]
        heads.copy_(F.rms_norm(heads, gains.shape[1:], None, self.config.norm_eps) * gains)

    # ---- loading ---------------------------------------------------------------------------------------------------

    def _layer(self, i: int) -> _Layer:
        c, at, mlp = self.config, f"model.layers.{i}.self_attn.", f"model.layers.{i}.mlp."
        q, k, v = (self._rows(at + name) for name in ("q_proj", "k_proj", "v_proj"))
        qk_norm = None
        if c.qk_norm:
            gains = [self._paired(self._get(at + name)) for name in ("q_norm.weight", "k_norm.weight")]
            qk_norm = torch.cat([(gains[0] * self._fold_scale).expand(c.heads, -1), gains[1].expand(c.kv_heads, -1)])
        else:
            q = q * self._fold_scale
        qkv = torch.cat([self._paired(q), self._paired(k), v])
        weight, bias = qkv[:, : c.hidden_size], qkv[:, c.hidden_size].contiguous() if c.qkv_bias else None
        norm_1, (weight,) = self._fold(self._get(f"model.layers.{i}.input_layernorm.weight"), weight)
        norm_2, (gate, up) = self._fold(
            self._get(f"model.layers.{i}.post_attention_layernorm.weight"),
            self._get(mlp + "gate_proj.weight"),
            self._get(mlp + "up_proj.weight"),
        )
        biases = self._bias(mlp + "gate_proj"), self._bias(mlp + "up_proj")
        gate_up = self._gated(gate, up, *biases)
        out, down = (
            self._linear(self._get(name + ".weight"), self._bias(name)) for name in (at + "o_proj", mlp + "down_proj")
        )
        return _Layer(norm_1, self._linear(weight, bias), qk_norm, out, norm_2, gate_up, down, c.windowed[i])

    def _linear(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Linear:
        return linear(weight.bfloat16() if self._narrow else weight, bias)

    def _gated(
        self, gate: torch.Tensor, up: torch.Tensor, gate_bias: torch.Tensor | None, up_bias: torch.Tensor | None
    ) -> Linear | Gated:
        if self._ops is not None:
            return self._linear(torch.cat([gate, up]), _joined(gate_bias, up_bias))
        if self._narrow:
            gate, up = gate.bfloat16(), up.bfloat16()
        return gated(gate, up, gate_bias, up_bias)

    def _get(self, name: str) -> torch.Tensor:
        return self._read.get(name).to(self.dtype)

    def _bias(self, projection: str) -> torch.Tensor | None:
        name = projection + ".bias"
        return self._get(name) if name in self._read else None

    def _rows(self, projection: str) -> torch.Tensor:
        """[out, in], or [out, in + 1] with the biases as a last column."""
        weight, bias = self._get(projection + ".weight"), self._bias(projection)
        return weight if bias is None else torch.cat([weight, bias[:, None]], 1)

    def _output_weight(self) -> torch.Tensor:
        """Files may hold what is said to be tied; where it differs all the same, it counts."""
        name = "lm_head.weight"
        if name not in self._read:
            return self._embedding
        head = self._get(name)
        return self._embedding if torch.equal(head, self._embedding) else head

    def _paired(self, rows: torch.Tensor) -> torch.Tensor:
        """Reorder a head's rows so that the two halves that RoPE pairs become neighbours (see `interface`)."""
        halves = rows.unflatten(0, (-1, 2, self.config.head_dim // 2))
        return halves.transpose(1, 2).reshape(rows.shape)

    def _fold(self, gain: torch.Tensor, *weights: torch.Tensor) -> tuple[torch.Tensor | None, tuple[torch.Tensor, ...]]:
        """A norm's gain moved into the weights that follow it, where that is exact enough."""
        if not self._folded:
            return gain, weights
        return None, tuple(w * (gain * self._root) for w in weights)


def _joined(a: torch.Tensor | None, b: torch.Tensor | None) -> torch.Tensor | None:
    return None if a is None or b is None else torch.cat([a, b])

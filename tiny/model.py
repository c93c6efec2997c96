"""The model in training: a Llama whose matrices are stacked over the layers, on one flat batch of documents.

Computed in bf16 on a GPU, fp32 on a CPU. Names and numbers are those of transformers' `LlamaForCausalLM`; `export`
writes it as one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from tiny import attention

EPSILON = 1e-5
THETA = 10_000.0


@dataclass(slots=True, frozen=True)
class Shape:
    """Sizes, under the names of `config.json`."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    head_dim: int
    num_key_value_heads: int
    intermediate_size: int
    max_position_embeddings: int = 2048

    @property
    def heads(self) -> int:
        return self.hidden_size // self.head_dim


TINY = Shape(4096, 256, 8, 64, 2, 704)
DRAFT = Shape(4096, 96, 4, 32, 1, 320)


class Model(nn.Module):
    """`forward` takes [N] tokens and positions and the documents' bounds, and returns [N, vocabulary] logits.
    `attend` is one of `attention`."""

    def __init__(self, shape: Shape, attend: attention.Attend = attention.loop) -> None:
        super().__init__()
        self.shape, self.attend = shape, attend
        width, layers, wide = shape.hidden_size, shape.num_hidden_layers, shape.intermediate_size
        keys = shape.num_key_value_heads * shape.head_dim

        def matrix(rows: int, columns: int, spread: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(layers, rows, columns) * spread)

        inward = 0.5 * width**-0.5
        self.embed = nn.Parameter(torch.randn(shape.vocab_size, width) * 0.02)
        self.q_proj, self.k_proj, self.v_proj = (matrix(rows, width, inward) for rows in (width, keys, keys))
        self.o_proj = matrix(width, width, 0.01)
        self.gate_proj, self.up_proj = matrix(wide, width, inward), matrix(wide, width, inward)
        self.down_proj = matrix(width, wide, 0.01)
        self.input_norm = nn.Parameter(torch.ones(layers, width))
        self.post_norm = nn.Parameter(torch.ones(layers, width))
        self.norm = nn.Parameter(torch.ones(width))
        frequencies = THETA ** (-torch.arange(0, shape.head_dim, 2, dtype=torch.float64) / shape.head_dim)
        angles = torch.outer(torch.arange(shape.max_position_embeddings, dtype=torch.float64), frequencies)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, tokens: Tensor, positions: Tensor, bounds: Tensor) -> Tensor:
        shape, size = self.shape, self.shape.head_dim
        dtype = torch.bfloat16 if tokens.is_cuda else torch.float32
        cos, sin = self.cos[positions, None], self.sin[positions, None]  # pyright: ignore[reportIndexIssue]
        x = F.embedding(tokens, self.embed).to(dtype)
        # unbound, not indexed: the gradient of a stack is then stacked once
        stacks = (self.q_proj, self.k_proj, self.v_proj, self.o_proj, self.gate_proj, self.up_proj, self.down_proj)
        norms = (self.input_norm.unbind(0), self.post_norm.unbind(0))
        for q, k, v, o, gate, up, down, input_norm, post_norm in zip(
            *(stack.unbind(0) for stack in stacks), *norms, strict=True
        ):
            mixed = F.linear(_norm(x, input_norm), torch.cat([q, k, v]).to(dtype))
            asked, keys, values = (
                part.unflatten(-1, (-1, size)) for part in mixed.split([len(q), len(k), len(v)], dim=-1)
            )
            turned = _rotate(asked, cos, sin), _rotate(keys, cos, sin)
            attended = self.attend(*turned, values.contiguous(), bounds, shape.max_position_embeddings)
            x = x + F.linear(attended.flatten(1), o.to(dtype))
            opened, raised = F.linear(_norm(x, post_norm), torch.cat([gate, up]).to(dtype)).chunk(2, -1)
            x = x + F.linear(F.silu(opened) * raised, down.to(dtype))
        return F.linear(_norm(x, self.norm), self.embed.to(dtype))


def _norm(x: Tensor, gain: Tensor) -> Tensor:
    return F.rms_norm(x.float(), (x.shape[-1],), gain, EPSILON).to(x.dtype)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[N, heads, head_dim], by the angles of each token."""
    a, b = x.float().chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)

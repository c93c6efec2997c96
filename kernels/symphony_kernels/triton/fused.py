"""What lies between a model's products, in one pass each: see `interface.SmallOps`.

A decode step has some hundred of these; each reads and writes what the one before it wrote, so launches are what they
cost.
"""

# Triton compiles these functions from their source; neither linter nor type checker knows its dialect.
# ruff: noqa: N803
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl

GATE_BLOCK = 1024


@triton.jit
def _add_norm(
    x_ptr,
    delta_ptr,
    gain_ptr,
    out_ptr,
    eps,
    N: tl.constexpr,
    ADDS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    t = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    real = i < N
    x = tl.load(x_ptr + t * N + i, mask=real, other=0.0)
    if ADDS:
        delta = tl.load(delta_ptr + t * N + i, mask=real, other=0.0)
        x = (x.to(tl.float32) + delta.to(tl.float32)).to(x_ptr.dtype.element_ty)
        tl.store(x_ptr + t * N + i, x, mask=real)
    y = x.to(tl.float32)
    y = y * tl.rsqrt(tl.sum(y * y, 0) / N + eps)
    y = y * tl.load(gain_ptr + i, mask=real, other=0.0).to(tl.float32)
    tl.store(out_ptr + t * N + i, y.to(out_ptr.dtype.element_ty), mask=real)


@triton.jit
def _gate(both_ptr, out_ptr, N: tl.constexpr, BLOCK: tl.constexpr):
    t = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    gate = tl.load(both_ptr + t * 2 * N + i, mask=i < N, other=0.0).to(tl.float32)
    up = tl.load(both_ptr + t * 2 * N + N + i, mask=i < N, other=0.0).to(tl.float32)
    tl.store(out_ptr + t * N + i, (gate * tl.sigmoid(gate) * up).to(out_ptr.dtype.element_ty), mask=i < N)


@triton.jit
def _norm_heads(qkv_ptr, gain_ptr, eps, ALL_HEADS: tl.constexpr, D: tl.constexpr, DP: tl.constexpr):
    t = tl.program_id(0).to(tl.int64)
    h = tl.program_id(1)
    d = tl.arange(0, DP)
    at = qkv_ptr + (t * ALL_HEADS + h) * D + d
    x = tl.load(at, mask=d < D, other=0.0).to(tl.float32)
    x = x * tl.rsqrt(tl.sum(x * x, 0) / D + eps) * tl.load(gain_ptr + h * D + d, mask=d < D, other=0.0).to(tl.float32)
    tl.store(at, x.to(qkv_ptr.dtype.element_ty), mask=d < D)


class TritonSmallOps:
    """See `interface.SmallOps`."""

    def add_norm(self, x: torch.Tensor, delta: torch.Tensor | None, gain: torch.Tensor, eps: float) -> torch.Tensor:
        out = torch.empty_like(x)
        rows, n = x.shape
        _add_norm[(rows,)](
            x, x if delta is None else delta, gain, out, eps,
            N=n, ADDS=delta is not None, BLOCK=triton.next_power_of_2(n),
            num_warps=4 if n <= 2048 else 8,
        )  # fmt: skip
        return out

    def gate(self, both: torch.Tensor) -> torch.Tensor:
        rows, n = both.shape[0], both.shape[1] // 2
        out = torch.empty(rows, n, dtype=both.dtype, device=both.device)
        _gate[(rows, triton.cdiv(n, GATE_BLOCK))](both, out, N=n, BLOCK=GATE_BLOCK, num_warps=4)
        return out

    def norm_heads(self, qkv: torch.Tensor, gains: torch.Tensor, eps: float) -> None:
        tokens, heads, size = qkv.shape
        _norm_heads[(tokens, len(gains))](
            qkv, gains, eps, ALL_HEADS=heads, D=size, DP=triton.next_power_of_2(size), num_warps=1
        )

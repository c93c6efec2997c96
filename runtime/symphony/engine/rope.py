"""Rotary position embeddings: what each kind of scaling makes of the frequencies, and the table of all positions.

Computed in fp32 and in the order of transformers' `modeling_rope_utils`, on the CPU: at far positions the rounding of
an angle is seen in the logits, and models were trained with this rounding. It knows nothing of layers.
"""

from __future__ import annotations

import math

import torch

from symphony.engine.rotary import Rope


def table(rope: Rope, head_dim: int, positions: int) -> torch.Tensor:
    """[positions, head_dim / 2, 2] fp32: cosine and sine, a plain rotation (without `rope.attention_factor`)."""
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), frequencies(rope, head_dim))
    return torch.stack([angles.cos(), angles.sin()], -1)


def frequencies(rope: Rope, head_dim: int) -> torch.Tensor:
    """[head_dim / 2] fp32, radians a position."""
    periods = rope.theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    plain = 1.0 / periods
    if rope.kind == "linear":
        return plain / rope.factor
    if rope.kind == "llama3":
        return _llama3(rope, plain)
    if rope.kind == "yarn":
        return _yarn(rope, plain, 1.0 / (rope.factor * periods), head_dim)
    return plain


def _llama3(rope: Rope, plain: torch.Tensor) -> torch.Tensor:
    """Short wavelengths stay, long ones are stretched, those between are blended."""
    wavelengths = 2 * math.pi / plain
    smooth = (rope.original_context / wavelengths - rope.low_freq_factor) / (
        rope.high_freq_factor - rope.low_freq_factor
    )
    blended = (1 - smooth) * plain / rope.factor + smooth * plain
    short = wavelengths < rope.original_context / rope.high_freq_factor
    long = wavelengths > rope.original_context / rope.low_freq_factor
    return torch.where(long, plain / rope.factor, torch.where(short, plain, blended))


def _yarn(rope: Rope, plain: torch.Tensor, stretched: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Dimensions that turn often within the original context stay, those that turn seldom are stretched."""

    def dimension(turns: float) -> float:
        return head_dim * math.log(rope.original_context / (turns * 2 * math.pi)) / (2 * math.log(rope.theta))

    low, high = dimension(rope.beta_fast), dimension(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    if low == high:
        high += 0.001
    ramp = ((torch.arange(head_dim // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
    kept = 1 - ramp
    return stretched * (1 - kept) + plain * kept

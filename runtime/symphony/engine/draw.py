"""Draws that take nothing but a row's logits, its temperature and its noise: what a captured step can do by itself.

This is what `symphony_kernels.triton.draw` computes in one pass over the logits, said with torch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from symphony.engine.noise import log_exponential

Draw = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], None]


def draw(
    logits: torch.Tensor, health: torch.Tensor, temperatures: torch.Tensor, keys: torch.Tensor, answers: torch.Tensor
) -> None:
    """One token a row.

    `logits`: [B, vocab]; `health`: [B], finite where all that was written is; `temperatures`: [B] fp32, 0 is greedy;
    `keys`: [B, 2] int32, see `noise`. Fills `answers`, [B, 3] int32: the token (an id in any case), whether everything
    is finite, and the bits of the fp32 log-probability that the token has at temperature 1.
    """
    ids = torch.arange(logits.shape[1], dtype=torch.int32, device=logits.device)
    warm = (temperatures > 0)[:, None]
    scores = logits / torch.where(warm, temperatures[:, None], 1.0)
    scores = torch.where(warm, scores - log_exponential(keys, ids), scores)
    tokens = scores.argmax(-1)
    answers[:, 0] = tokens
    answers[:, 1] = (logits.sum(-1) + health).isfinite()
    chosen = logits.gather(1, tokens[:, None])[:, 0] - torch.logsumexp(logits, -1)
    answers[:, 2] = chosen.float().view(torch.int32)


def device_draw(device: torch.device) -> Draw:
    """The fastest one that runs there."""
    if device.type != "cuda":
        return draw
    from symphony_kernels.triton import draw as fused

    return fused.draw

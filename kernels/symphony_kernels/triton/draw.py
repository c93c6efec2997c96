"""Draws from whole rows of logits, in one pass over them: the greatest, or Gumbel-max with counter-based noise.

The noise is `symphony.engine.noise`'s, to the bit in its integers; only the logarithms round as the device has them.
Rows of one batch draw as each of them says; what is drawn does not depend on the others.
"""

# Triton compiles these functions from their source; neither linter nor type checker knows its dialect.
# ruff: noqa: N803
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl

PARTS = 8
"""Programs that share a row, so that few rows fill a device too."""
BLOCK = 1024


@triton.jit
def _fold(h, bits: tl.constexpr):
    return h ^ (h >> bits)


@triton.jit
def _log_exponential(ids, key_0, key_1):
    """log E of each token; `ids` and the keys are uint32."""
    h = ids * 0x9E3779B1 + key_0
    h = (_fold(h, 16) * 0x85EBCA6B) ^ key_1
    h = _fold(h, 13) * 0xC2B2AE35
    h = _fold(h, 16) >> 1
    u = tl.minimum((h.to(tl.int32).to(tl.float32) + 0.5) * 4.656612873077393e-10, 0.99999994)
    # -log(1 - u), for small u by its series: 1 - u would lose the digits that the winners are told apart by
    series = u * (1.0 + u * (0.5 + u * (0.33333334 + u * (0.25 + u * (0.2 + u * (0.16666667 + u * 0.14285715))))))
    return tl.log(tl.where(u < 0.0625, series, -tl.log(1.0 - u)))


@triton.jit
def _draw_parts(logits_ptr, stride, temperature_ptr, key_ptr, best_ptr, id_ptr, raw_ptr, top_ptr, sum_ptr, fine_ptr,
                V: tl.constexpr, PART: tl.constexpr, PARTS: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    temperature = tl.load(temperature_ptr + row)
    key_0 = tl.load(key_ptr + 2 * row).to(tl.uint32, bitcast=True)
    key_1 = tl.load(key_ptr + 2 * row + 1).to(tl.uint32, bitcast=True)
    lane = tl.arange(0, BLOCK)
    best = tl.full([BLOCK], float("-inf"), tl.float32)
    best_id = tl.zeros([BLOCK], tl.int32)
    best_raw = tl.zeros([BLOCK], tl.float32)
    top = tl.full([BLOCK], -1e38, tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    bad = tl.zeros([BLOCK], tl.int32)
    for first in range(0, PART, BLOCK):
        ids = part * PART + first + lane
        real = (first + lane < PART) & (ids < V)
        x = tl.load(logits_ptr + row * stride + ids, mask=real, other=float("-inf")).to(tl.float32)
        bad |= (real & ~(tl.abs(x) < float("inf"))).to(tl.int32)
        higher = tl.maximum(top, x)
        total = total * tl.exp(top - higher) + tl.exp(x - higher)
        top = higher
        score = x
        if temperature > 0:
            score = x / temperature - _log_exponential(ids.to(tl.uint32), key_0, key_1)
        better = real & (score > best)
        best = tl.where(better, score, best)
        best_id = tl.where(better, ids, best_id)
        best_raw = tl.where(better, x, best_raw)
    most = tl.max(best, 0)
    winner = tl.min(tl.where(best == most, best_id, V - 1), 0)  # the lowest id of equals
    at = row * PARTS + part
    tl.store(best_ptr + at, most)
    tl.store(id_ptr + at, winner)
    tl.store(raw_ptr + at, tl.max(tl.where((best == most) & (best_id == winner), best_raw, float("-inf")), 0))
    whole = tl.max(top, 0)
    tl.store(top_ptr + at, whole)
    tl.store(sum_ptr + at, tl.sum(total * tl.exp(top - whole), 0))
    tl.store(fine_ptr + at, 1 - tl.max(bad, 0))


@triton.jit
def _draw_rows(health_ptr, best_ptr, id_ptr, raw_ptr, top_ptr, sum_ptr, fine_ptr, answer_ptr,
               V: tl.constexpr, PARTS: tl.constexpr):  # fmt: skip
    row = tl.program_id(0)
    at = row * PARTS + tl.arange(0, PARTS)
    best, ids, raw = tl.load(best_ptr + at), tl.load(id_ptr + at), tl.load(raw_ptr + at)
    most = tl.max(best, 0)
    winner = tl.min(tl.where(best == most, ids, V - 1), 0)
    chosen = tl.max(tl.where((best == most) & (ids == winner), raw, float("-inf")), 0)
    top = tl.load(top_ptr + at)
    whole = tl.max(top, 0)
    total = tl.sum(tl.load(sum_ptr + at) * tl.exp(top - whole), 0)
    fine = (tl.min(tl.load(fine_ptr + at), 0) == 1) & (tl.abs(tl.load(health_ptr + row)) < float("inf"))
    tl.store(answer_ptr + 3 * row, winner)
    tl.store(answer_ptr + 3 * row + 1, fine.to(tl.int32))
    tl.store(answer_ptr + 3 * row + 2, (chosen - whole - tl.log(total)).to(tl.int32, bitcast=True))


def draw(
    logits: torch.Tensor, health: torch.Tensor, temperatures: torch.Tensor, keys: torch.Tensor, answers: torch.Tensor
) -> None:
    """As `symphony.engine.draw.draw`."""
    rows, vocab = logits.shape
    floats = torch.empty(4, rows, PARTS, dtype=torch.float32, device=logits.device)
    ints = torch.empty(2, rows, PARTS, dtype=torch.int32, device=logits.device)
    part = triton.cdiv(vocab, PARTS)
    _draw_parts[(rows, PARTS)](
        logits, logits.stride(0), temperatures, keys, floats[0], ints[0], floats[1], floats[2], floats[3], ints[1],
        V=vocab, PART=part, PARTS=PARTS, BLOCK=BLOCK, num_warps=4,
    )  # fmt: skip
    _draw_rows[(rows,)](
        health, floats[0], ints[0], floats[1], floats[2], floats[3], ints[1], answers, V=vocab, PARTS=PARTS, num_warps=1
    )

"""The CPU's attention with masks equals the oracle, and rows without masks are computed as if nobody had one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from kernel_cases import CPU, MASKED, Case, build, difference, fill

from symphony_kernels import cpu_plan
from symphony_kernels.torch_cpu import CpuAttention
from symphony_kernels.torch_ref import ReferenceAttention

LONG_MASKED = (
    Case("a long masked row", ((150, 200), (330, 330), (1, 330), (1, 400)), masks="hole"),
    Case("a long masked, windowed row", ((300, 350), (1, 400)), masks="hole", window=200),
    Case("a masked mqa row", ((7, 60), (70, 90), (1, 40)), heads=6, kv_heads=1, head_dim=64, masks="first row"),
    Case("masks that hide a common prefix", ((5, 140), (5, 150), (1, 130), (1, 97)), shared=6, masks="hole"),
)


@pytest.mark.parametrize("scatter", [True, False])
@pytest.mark.parametrize("case", MASKED + LONG_MASKED, ids=lambda c: c.name)
def test_masks_equal_the_oracle(case, scatter):
    assert difference("torch", case, scatter=scatter) < 2e-6


def test_masks_split_what_is_too_much_to_gather(monkeypatch):
    monkeypatch.setattr(cpu_plan, "GATHER_BYTES", 50_000)
    for case in MASKED:
        assert difference("torch", case) < 2e-6


def test_rows_without_masks_are_planned_as_if_nobody_had_one():
    case = Case("first", ((20, 150), (5, 33), (40, 40), (1, 100), (1, 33)), masks="first row")
    shape, rows, _ = build(case)
    masked = cpu_plan.full(shape, rows)
    plain = cpu_plan.full(shape, replace(rows, masks=None, mask_of=None))
    assert [r.first for r in masked.fresh] == [r.first for r in plain.fresh]
    assert [r.query for r in masked.in_place] == [r.query for r in plain.in_place]
    decodes = [[g.first for g in work.gathered if g.index is None] for work in (masked, plain)]
    assert decodes[0] == decodes[1] != []


def test_masks_that_hide_nothing_change_nothing():
    case = Case("all", ((20, 150), (5, 33), (40, 40), (1, 100)), masks="hole")
    shape, rows, rope = build(case)
    assert rows.masks is not None
    open_masks = replace(rows, masks=rows.masks * 0 + 0xFFFFFFFF)
    outs = []
    for each in (open_masks, replace(rows, masks=None, mask_of=None)):
        backend = CpuAttention(shape, rope, 1.0)
        fill(backend, ReferenceAttention(shape, rope, 1.0, torch.float32, CPU))
        qkv = torch.randn(rows.tokens, 8, 32, generator=torch.Generator().manual_seed(3))
        plan = backend.plan(each)
        backend.write(0, qkv, plan)
        outs.append(backend.attend(0, qkv, plan))
    torch.testing.assert_close(outs[0], outs[1], atol=1e-5, rtol=1e-5)

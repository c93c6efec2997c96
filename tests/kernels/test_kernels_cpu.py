"""The CPU's attention equals the oracle: in torch alone, and by the native operation where a compiler is present.

Without a compiler the tests of the native operation run on what takes its place, and `test_which_one_runs` says so.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from kernel_cases import (
    CASES,
    CPU,
    DEEP,
    LONG,
    MASKED,
    PADDED,
    SHARED,
    WINDOWED,
    Case,
    build,
    difference,
    fill,
    page_major,
)

from symphony_kernels import PoolShape, Ragged, cpu_plan
from symphony_kernels.native.build import SWITCH, find_compiler
from symphony_kernels.torch_cpu import CpuAttention
from symphony_kernels.torch_ref import ReferenceAttention

MORE = (
    Case("a long masked row", ((150, 200), (330, 330), (1, 330), (1, 400)), masks="hole"),
    Case("a long masked, windowed row", ((300, 350), (1, 400)), masks="hole", window=200),
    Case("a masked mqa row", ((7, 60), (70, 90), (1, 40)), heads=6, kv_heads=1, head_dim=64, masks="first row"),
    Case("masks that hide a common prefix", ((5, 140), (5, 150), (1, 130), (1, 97)), shared=6, masks="hole"),
    Case("mqa with many heads", ((1, 70), (3, 33)), heads=24, kv_heads=1, head_dim=32),
    Case("a narrow head", ((3, 40), (1, 70)), head_dim=8),
)
ALL = CASES + SHARED + LONG + WINDOWED + MASKED + DEEP + PADDED + MORE


@pytest.fixture(params=["native", "torch"])
def kind(request, monkeypatch) -> str:
    monkeypatch.setenv(SWITCH, "0" if request.param == "torch" else "1")
    return request.param


def test_which_one_runs(kind):
    shape, _, rope = build(CASES[0])
    expected = "torch, native" if kind == "native" and find_compiler() else "torch"
    assert CpuAttention(shape, rope, 1.0).name == expected


@pytest.mark.parametrize("scatter", [True, False])
@pytest.mark.parametrize("case", ALL, ids=lambda c: c.name)
def test_equals_the_oracle(kind, case, scatter):
    assert difference("torch", case, scatter=scatter) < 2e-6


@pytest.mark.parametrize("case", [*CASES[:3], *SHARED, WINDOWED[4], MASKED[0], DEEP[0]], ids=lambda c: c.name)
def test_threads_change_nothing(case):
    """To the last bit: what a thread computes does not depend on the others."""
    shape, rows, rope = build(case)
    threads, outs = torch.get_num_threads(), []
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            outs.append(run(CpuAttention(shape, rope, 0.2), shape, rows, rope))
    finally:
        torch.set_num_threads(threads)
    if find_compiler():
        assert torch.equal(outs[0], outs[1])
    torch.testing.assert_close(outs[0], outs[1])


def test_families_of_prefixes(kind):
    """Rows share a root, some of them much more, and one goes away early: whoever shares with whom, all is exact."""
    size, rope = 16, build(CASES[0])[2]
    tables = [
        [*range(1, 11), 20, 21],  # root 1-5, branch 6-10
        [*range(1, 11), 22, 23],
        [*range(1, 11), 24, 25],
        [*range(1, 6), *range(30, 35), 26, 27],  # root, another branch
        [*range(1, 6), *range(30, 35), 28, 29],
        [1, *range(40, 51)],  # leaves after a page
        [*range(60, 72)],
    ]
    shape = PoolShape(1, 80, size, 4, 2, 32)
    lens, queries = np.array([180, 170, 190, 175, 176, 190, 180]), np.array([3, 1, 1, 2, 1, 1, 1])
    table = np.array(tables)
    positions = np.concatenate([np.arange(n - q, n) for n, q in zip(lens, queries, strict=True)])
    rows_of = np.repeat(np.arange(len(lens)), queries)
    rows = Ragged(queries, lens, table, positions, table[rows_of, positions // size] * size + positions % size)
    oracle = ReferenceAttention(shape, rope, 0.2, torch.float32, CPU)
    torch.testing.assert_close(
        run(CpuAttention(shape, rope, 0.2), shape, rows, rope), run(oracle, shape, rows, rope), atol=2e-6, rtol=2e-5
    )


def test_what_is_not_a_number_stays_with_its_row(kind):
    shape, rows, rope = build(SHARED[0])
    backend = CpuAttention(shape, rope, 0.2)
    clean = run(backend, shape, rows, rope)
    bad = run(backend, shape, rows, rope, spoil=2)
    assert not bad[2].isfinite().any()
    keep = torch.tensor([0, 1, 3])
    assert torch.equal(bad[keep], clean[keep])


def test_far_scores_neither_overflow_nor_vanish(kind):
    """Scores of some hundreds, in tiles whose largest ones are far apart."""
    shape, rows, rope = build(LONG[1])
    oracle = ReferenceAttention(shape, rope, 30.0, torch.float32, CPU)
    torch.testing.assert_close(
        run(CpuAttention(shape, rope, 30.0), shape, rows, rope), run(oracle, shape, rows, rope), atol=1e-3, rtol=1e-3
    )


def test_keys_and_values_are_written_alike(kind):
    shape, rows, rope = build(CASES[6])
    backend, oracle = CpuAttention(shape, rope, 1.0), ReferenceAttention(shape, rope, 1.0, torch.float32, CPU)
    for each in (backend, oracle):
        run(each, shape, rows, rope)
    torch.testing.assert_close(page_major(backend)[1:], oracle.pool[1:], atol=1e-6, rtol=1e-6)


def test_torch_splits_what_is_too_much_to_gather(monkeypatch):
    monkeypatch.setenv(SWITCH, "0")
    monkeypatch.setattr(cpu_plan, "GATHER_BYTES", 100_000)
    for case in CASES[:2] + CASES[5:7] + SHARED + WINDOWED + MASKED:
        assert difference("torch", case) < 2e-6


def test_torch_without_onednn(monkeypatch):
    from symphony_kernels import onednn

    monkeypatch.setenv(SWITCH, "0")
    monkeypatch.setattr(onednn, "_OPS", None)
    assert difference("torch", LONG[0]) < 2e-6


def test_rows_without_masks_are_planned_as_if_nobody_had_one():
    case = Case("first", ((20, 150), (5, 33), (40, 40), (1, 100), (1, 33)), masks="first row")
    shape, rows, _ = build(case)
    masked = cpu_plan.full(shape, rows)
    plain = cpu_plan.full(shape, replace(rows, masks=None, mask_of=None))
    assert [r.first for r in masked.fresh] == [r.first for r in plain.fresh]
    assert [r.query for r in masked.in_place] == [r.query for r in plain.in_place]
    decodes = [[g.first for g in work.gathered if g.index is None] for work in (masked, plain)]
    assert decodes[0] == decodes[1] != []


def test_masks_that_hide_nothing_change_nothing(kind):
    shape, rows, rope = build(Case("all", ((20, 150), (5, 33), (40, 40), (1, 100)), masks="hole"))
    assert rows.masks is not None
    open_masks = replace(rows, masks=rows.masks * 0 + 0xFFFFFFFF)
    outs = [
        run(CpuAttention(shape, rope, 0.2), shape, each, rope)
        for each in (open_masks, replace(rows, masks=None, mask_of=None))
    ]
    torch.testing.assert_close(outs[0], outs[1], atol=1e-5, rtol=1e-5)


def run(
    backend: CpuAttention | ReferenceAttention,
    shape: PoolShape,
    rows: Ragged,
    rope: torch.Tensor,
    spoil: int | None = None,
) -> torch.Tensor:
    """Attention of the first layer, the same for every back end; a query may be not a number."""
    fill(backend, ReferenceAttention(shape, rope, 1.0, torch.float32, CPU))
    random = torch.Generator().manual_seed(3)
    qkv = torch.randn(rows.tokens, shape.heads + 2 * shape.kv_heads, shape.head_dim, generator=random)
    if spoil is not None:
        qkv[spoil] = float("nan")
    plan = backend.plan(rows)
    backend.write(0, qkv, plan)
    return backend.attend(0, qkv, plan)


def test_no_memory_for_a_plan_is_an_error_like_any():
    shape, rows, rope = build(CASES[0])
    backend = CpuAttention(shape, rope, 1.0)
    if backend._native is None:
        assert find_compiler() is None
        return

    class Full:
        @staticmethod
        def symphony_plan(*_):
            return None

    backend._native._library = Full
    with pytest.raises(MemoryError, match="no memory for the plan"):
        backend.plan(rows)

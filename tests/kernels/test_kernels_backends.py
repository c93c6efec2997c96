"""Every back end computes what the oracle computes; and a forced one that cannot run says why."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from kernel_cases import (
    CASES,
    CPU,
    ENTRIES,
    MASKED,
    build,
    entries_differ,
    fill,
    moves_differ,
    page_major,
    pages_differ,
    spread,
)
from kernel_interpreted import NAMES

from symphony_kernels import BackendUnavailable, PoolShape, Ragged, choice, open_attention
from symphony_kernels.torch_cpu import CpuAttention
from symphony_kernels.torch_ref import ReferenceAttention, rotate

F32 = torch.float32
ROOT = Path(__file__).resolve().parents[2]
NEEDS_TRITON = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


def test_the_oracle_heeds_masks():
    """Beside a softmax written out for every query, with what its mask names."""
    for case in MASKED:
        shape, rows, rope = build(case)
        oracle = ReferenceAttention(shape, rope, 0.3, F32, CPU)
        fill(oracle, oracle)
        qkv = torch.randn(rows.tokens, case.heads + 2 * case.kv_heads, case.head_dim)
        plan = oracle.plan(rows)
        oracle.write(0, qkv, plan)
        got = oracle.attend(0, qkv, plan).view(rows.tokens, case.heads, -1)
        t = 0
        for i, (queries, entries) in enumerate(case.rows):
            kv = oracle.pool[rows.block_table[i], 0].transpose(0, 1).flatten(1, 2)
            for at in range(entries - queries, entries):
                mask = None if rows.mask_of[t] < 0 else rows.masks[rows.mask_of[t]]
                seen = [n for n in range(at + 1) if n == at or mask is None or mask[n // 32] >> (n % 32) & 1]
                for head in (0, case.heads - 1):
                    k, v = kv[:, seen, head // shape.group]
                    expected = torch.softmax(k @ qkv[t, head] * 0.3, 0) @ v
                    torch.testing.assert_close(got[t, head], expected, atol=1e-5, rtol=1e-4)
                t += 1


def test_pages_are_copied_and_slots_cleared():
    assert pages_differ("torch") == 0


@pytest.mark.parametrize("case", ENTRIES, ids=lambda c: c[0])
def test_entries_are_copied_and_turned(case):
    assert entries_differ("torch", case[1]) < 1e-6


def test_entries_are_copied_in_parts(monkeypatch):
    from symphony_kernels import cpu_plan, torch_ref

    monkeypatch.setattr(cpu_plan, "GATHER_BYTES", 4000)
    monkeypatch.setattr(torch_ref, "COPIED_ENTRIES", 3)
    for _, copies in ENTRIES:
        assert entries_differ("torch", copies) < 1e-6


@pytest.mark.parametrize("kind", ["torch", "reference"])
@pytest.mark.parametrize(("position", "shift"), [(0, 1), (5, 300), (300, -300), (511, -1), (17, 0)])
def test_a_turned_key_is_the_key_of_its_new_position(kind, position, shift):
    shape, _, rope = build(CASES[0])
    backend = CpuAttention(shape, rope, 1.0) if kind == "torch" else ReferenceAttention(shape, rope, 1.0, F32, CPU)
    one = np.array([1])
    rows = [
        Ragged(one, one, np.array([[page]]), np.array([p]), np.array([page * shape.page_size + 3]))
        for page, p in ((1, position), (2, position + shift))
    ]
    qkv = torch.randn(1, shape.heads + 2 * shape.kv_heads, shape.head_dim)
    for row in rows:
        for layer in range(shape.layers):
            backend.write(layer, qkv * (layer + 1), backend.plan(row))
    backend.copy_entries(rows[0].slots, rows[0].slots + 2 * shape.page_size, np.array([shift]))
    pool = page_major(backend)
    torch.testing.assert_close(pool[3, :, :, 3], pool[2, :, :, 3], atol=1e-5, rtol=0)
    torch.testing.assert_close(pool[3, :, 1], pool[2, :, 1], atol=0, rtol=0)


def test_a_factor_on_the_keys_is_not_applied_again():
    shape, _, rope = build(CASES[0])
    backend = CpuAttention(shape, rope, 1.0)
    backend.pool[0][:, :, 1] = torch.randn(backend.pool[0][:, :, 1].shape)
    backend.copy_entries(*spread(((16, 32, 16, 123),)))
    before, after = (backend.pool[0][0, :, page].unflatten(-1, (-1, 2)).norm(dim=-1) for page in (1, 2))
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pages_go_to_the_host_and_back(dtype):
    assert moves_differ("torch", dtype=dtype) == 0


def interpreted(name: str) -> list[tuple[float, str]]:
    """(number, what it is of) in each line that `kernel_interpreted.py` prints under Triton's interpreter."""
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": f"{ROOT}/runtime:{ROOT}/kernels"}
    script = ROOT / "tests" / "kernels" / "kernel_interpreted.py"
    run = subprocess.run(
        [sys.executable, str(script), name], env=environment, capture_output=True, text=True, timeout=280
    )
    assert run.returncode == 0, run.stderr
    return [(float(number), what) for number, _, what in (line.partition(" ") for line in run.stdout.splitlines())]


@NEEDS_TRITON
def test_triton_under_its_interpreter():
    errors = {what: number for number, what in interpreted("triton")}
    assert errors.pop("pages") == 0
    assert errors.pop("moves") == 0
    assert errors.pop("items shared") > 0, "nothing was shared, so that was not tested"
    entries = {name: errors.pop(name) for name in [name for name in errors if name.startswith("entries ")]}
    assert len(entries) == len(ENTRIES)
    assert max(entries.values()) < 1e-6, entries
    assert len(errors) == len(NAMES) + 1
    assert max(errors.values()) < 2e-6, errors


@NEEDS_TRITON
def test_flash_does_what_it_can_and_triton_the_rest():
    """With a stand-in for the package: pages gathered, tables and windows handed over, masked rows kept from it."""
    found = interpreted("flash")
    assert [number for number, _ in found if number > 1e-3] == []
    calls = {what.rsplit(" ", 2)[0]: tuple(map(int, what.split()[-2:])) for _, what in found}
    assert calls == {  # in two layers, the second one windowed: of the function for prompts, of the one on pages
        "prompts and appends": (2, 0),
        "decodes on large pages": (0, 2),
        "both, windowed": (2, 2),
        "small pages": (2, 0),
        "windows that differ": (1, 1),
        "masks beside": (2, 2),
        "head size 96 and flash": (2, 2),
    }


@NEEDS_TRITON
def test_a_back_end_that_cannot_run_says_why(monkeypatch):
    shape, _, rope = build(CASES[0])
    with pytest.raises(BackendUnavailable, match="needs a CUDA device, not cpu"):
        open_attention("triton", shape, rope, 1.0, torch.float32, CPU)
    with pytest.raises(BackendUnavailable, match="flash attention leaves some work to Triton"):
        open_attention("flash", shape, rope, 1.0, torch.float16, CPU)
    with pytest.raises(BackendUnavailable, match="no attention back end 'best'; there are flash, triton, torch"):
        open_attention("best", shape, rope, 1.0, torch.float32, CPU)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    for head_dim, page, dtype, reason in (
        (64, 16, torch.float16, "needs the flash-attn package"),
        (64, 16, torch.float32, "needs bfloat16 or float16, not float32"),
        (64, 48, torch.float16, "powers of two from 16 to 256, not 48"),
        (72, 16, torch.float16, "multiples of 16 up to 256, not 72"),
    ):
        with pytest.raises(BackendUnavailable, match=reason):
            open_attention("flash", PoolShape(1, 2, page, 2, 1, head_dim), rope, 1.0, dtype, CPU)


def test_the_automatic_choice_follows_what_was_measured():
    gpu = torch.device("cuda", 0)

    def only(*names):
        return lambda name, *_: None if name in names else "not here"

    assert choice.ranked() == ["triton", "flash", "torch"]
    assert choice.ranked({"x": {"flash": 1.0, "triton": 2.0, "torch": 9.0}}) == ["flash", "triton", "torch"]
    assert choice.choose(128, 64, torch.bfloat16, gpu, only("flash", "triton", "torch")) == "triton"
    assert choice.choose(128, 64, torch.bfloat16, gpu, only("flash", "torch")) == "flash"
    assert choice.choose(128, 64, torch.bfloat16, gpu, only("torch")) == "torch"
    assert choice.choose(128, 64, torch.float32, CPU) == "torch"
    assert [choice.page_size(name, gpu) for name in (None, "triton", "flash")] == [64, 64, 256]


def test_the_automatic_choice_on_a_cpu():
    shape, _, rope = build(CASES[0])
    assert isinstance(open_attention(None, shape, rope, 1.0, torch.float32, CPU), CpuAttention)
    assert isinstance(open_attention(None, shape, rope, 1.0, torch.bfloat16, CPU), ReferenceAttention)


def test_rotation_is_a_rotation_of_adjacent_pairs():
    _, _, rope = build(CASES[0])
    x = torch.randn(5, 3, 32)
    turned = rotate(x, rope[torch.tensor([0, 1, 2, 3, 400])])
    torch.testing.assert_close(turned[0], x[0])
    torch.testing.assert_close(turned.unflatten(-1, (-1, 2)).norm(dim=-1), x.unflatten(-1, (-1, 2)).norm(dim=-1))
    assert turned[4, 0, 0].item() == pytest.approx(
        (x[4, 0, 0] * torch.tensor(400.0).cos() - x[4, 0, 1] * torch.tensor(400.0).sin()).item(), abs=1e-5
    )

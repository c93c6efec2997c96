"""Every back end computes what the oracle computes; and a forced one that cannot run says why."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from kernel_cases import CASES, CPU, LONG, SHARED, build, difference, pages_differ

from symphony_kernels import BackendUnavailable, open_attention
from symphony_kernels.torch_cpu import CpuAttention
from symphony_kernels.torch_ref import ReferenceAttention, rotate

ROOT = Path(__file__).resolve().parents[2]
NEEDS_TRITON = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


@pytest.mark.parametrize("scatter", [True, False])
@pytest.mark.parametrize("case", CASES + SHARED + LONG, ids=lambda c: c.name)
def test_the_cpu_path_equals_the_oracle(case, scatter):
    assert difference("torch", case, scatter=scatter) < 2e-6


def test_the_cpu_path_splits_what_is_too_much_to_gather(monkeypatch):
    from symphony_kernels import torch_cpu

    monkeypatch.setattr(torch_cpu, "GATHER_BYTES", 100_000)
    for case in CASES[:2] + CASES[5:7] + SHARED:
        assert difference("torch", case) < 2e-6


def test_the_cpu_path_without_onednn(monkeypatch):
    from symphony_kernels import onednn

    monkeypatch.setattr(onednn, "_OPS", None)
    assert difference("torch", LONG[0]) < 2e-6


def test_pages_are_copied_and_slots_cleared():
    assert pages_differ("torch") == 0


@NEEDS_TRITON
def test_triton_under_its_interpreter():
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": f"{ROOT}/runtime:{ROOT}/kernels"}
    script = ROOT / "tests" / "kernels" / "kernel_cases.py"
    run = subprocess.run(
        [sys.executable, str(script), "triton"], env=environment, capture_output=True, text=True, timeout=280
    )
    assert run.returncode == 0, run.stderr
    errors = {name: float(error) for error, _, name in (line.partition(" ") for line in run.stdout.splitlines())}
    assert errors.pop("pages") == 0
    assert len(errors) == len(CASES)
    assert max(errors.values()) < 2e-6, errors


@NEEDS_TRITON
def test_a_back_end_that_cannot_run_says_why():
    shape, _, rope = build(CASES[0])
    with pytest.raises(BackendUnavailable, match="needs a CUDA device, not cpu"):
        open_attention("triton", shape, rope, 1.0, torch.float32, CPU)
    with pytest.raises(BackendUnavailable, match="no attention back end 'flash'; there are torch, triton"):
        open_attention("flash", shape, rope, 1.0, torch.float32, CPU)


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

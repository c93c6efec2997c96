"""Draws in one pass over the logits (Triton, interpreted) are those of torch, which are those of the sampler."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import torch
from symphony.engine.draw import draw
from symphony.engine.noise import row_keys
from symphony_kernels.triton import draw as fused

torch.manual_seed(0)
rows, vocab = 6, 9001  # more than a block in each part, and not a multiple of anything
temperatures = torch.tensor([0.0, 0.0, 0.7, 1.3, 1.0, 1.0])
health = torch.zeros(rows)
found, expected = (torch.zeros(rows, 3, dtype=torch.int32) for _ in range(2))
for seed, dtype in ((1, torch.float32), (2, torch.bfloat16), (3, torch.float32)):
    logits = (torch.randn(rows, vocab) * 4).to(dtype)
    logits[1, 7000] = logits[1, 33] = 40.0  # the lowest of equals
    keys = row_keys([(seed, 10 * i) for i in range(rows)], torch.device("cpu"))
    draw(logits.float(), health, temperatures, keys, expected)
    fused.draw(logits, health, temperatures, keys, found)
    assert torch.equal(found[:, :2], expected[:, :2]), (found, expected)
    assert found[1, 0] == 33 and found[:, 1].all()
    assert torch.allclose(found[:, 2].view(torch.float32), expected[:, 2].view(torch.float32), atol=1e-5)
logits[0, 5000], logits[2, 8], health[3] = torch.nan, torch.inf, torch.nan
fused.draw(logits, health, temperatures, keys, found)
assert found[:, 1].tolist() == [0, 1, 0, 0, 1, 1]
assert ((found[:, 0] >= 0) & (found[:, 0] < vocab)).all(), "whatever happens, an id"
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_the_fused_draw_is_the_plain_one():
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": f"{ROOT}/runtime:{ROOT}/kernels"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

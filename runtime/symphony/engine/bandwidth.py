"""How fast the memory of a CUDA device is read: the bound of a decode step. Knows nothing of models."""

from __future__ import annotations

import torch

READ_BYTES = 4 << 30


def read_speed() -> float:
    """Bytes a second that a sum over a large tensor reads, the best of five; blocks for some milliseconds."""
    x = torch.ones(READ_BYTES // 4, dtype=torch.float32, device="cuda")
    times: list[float] = []
    for _ in range(5):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        x.sum()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return READ_BYTES / min(times)

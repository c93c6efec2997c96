"""Decode steps as CUDA graphs: one launch instead of some hundred, one copy to the device, one back.

A step in which every row runs one token is put into fixed buffers and replayed. A graph belongs to a *bucket* of rows
and a width of block tables; the rows that are missing run on the scratch page. Graphs are captured when a bucket is
first met, and share their memory: one runs at a time. What is drawn greedily is part of the graph; other readings are
taken from its logits.

It knows nothing of sampling options, files or weights.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from symphony.engine.batch import Packed
from symphony_kernels import DecodePlanner

_log = logging.getLogger(__name__)

BUCKETS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256)
"""Rows of a graph."""
LEAST_WIDTH = 8
"""Pages of a block table; larger ones double."""

Body = Callable[[], None]
Capture = Callable[[Body], Body]
"""Makes of a piece of work something that does it again, on the same tensors."""
Forward = Callable[[torch.Tensor, Any, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""(ids [B], plan, wanted [B]) -> logits [B, vocab] fp32, health [B]."""


@dataclass(slots=True)
class Decoded:
    """What came of a step, on the device; valid until the next one."""

    logits: torch.Tensor
    """[rows, vocab] fp32"""
    greedy: np.ndarray
    """[rows] int32, on the host: the most probable token."""
    fine: np.ndarray
    """[rows] bool, on the host: all that was written and computed is finite."""


class _Graph:
    """The buffers of one bucket, and how to run it."""

    def __init__(
        self, rows: int, width: int, attention: DecodePlanner, forward: Forward, capture: Capture, device: torch.device
    ) -> None:
        self._rows, self._width = rows, width
        size = 8 * rows + rows * width
        self._staged = torch.zeros(size, dtype=torch.int32, pin_memory=device.type == "cuda")
        self._control = torch.zeros(size, dtype=torch.int32, device=device)
        self._harmless()
        self._control.copy_(self._staged)
        ids, positions, slots = (self._control[2 * i * rows : 2 * (i + 1) * rows].view(torch.int64) for i in range(3))
        entries, firsts = self._control[6 * rows : 8 * rows].view(2, rows)
        table = self._control[8 * rows :].view(rows, width)
        wanted = torch.arange(rows, device=device)
        self._answers = torch.zeros(2, rows, dtype=torch.int32, device=device)
        self.logits = torch.empty(0, device=device)

        def body() -> None:
            plan = attention.decode_plan(entries, table, positions, slots, firsts)  # divides the work anew each time
            self.logits, health = forward(ids, plan, wanted)
            self._answers[0] = self.logits.argmax(-1)
            self._answers[1] = (self.logits.sum(-1) + health).isfinite()

        self._body = body  # a captured graph reads tensors that only the body keeps
        self._replay = capture(body)

    def run(self, packed: Packed) -> Decoded:
        """Blocks until the answers are on the host."""
        self._fill(packed)
        self._control.copy_(self._staged, non_blocking=True)
        self._replay()
        n = len(packed.order)
        answers = self._answers.cpu().numpy()
        return Decoded(self.logits[:n], answers[0, :n], answers[1, :n] != 0)

    def _fill(self, packed: Packed) -> None:
        rows, ragged = self._rows, packed.rows
        n, width = ragged.block_table.shape
        self._harmless()
        staged = self._staged.numpy()
        wide = staged[: 6 * rows].view(np.int64).reshape(3, rows)
        wide[0, :n], wide[1, :n], wide[2, :n] = packed.ids[:n], ragged.positions[:n], ragged.slots[:n]
        staged[6 * rows : 6 * rows + n] = ragged.seq_lens
        if ragged.firsts is not None:
            staged[7 * rows : 7 * rows + n] = ragged.firsts[:n]
        staged[8 * rows :].reshape(rows, self._width)[:n, :width] = ragged.block_table

    def _harmless(self) -> None:
        """Every row is token 0 at the start of the scratch page."""
        self._staged.zero_()
        self._staged[6 * self._rows : 7 * self._rows] = 1


class DecodeGraphs:
    """Belongs to the thread that runs steps."""

    def __init__(self, attention: DecodePlanner, forward: Forward, device: torch.device, capture: Capture) -> None:
        """`capture`: a `CudaCapture`, or for tests anything that runs the body again."""
        self._attention = attention
        self._forward = forward
        self._device = device
        self._capture = capture
        self._graphs: dict[tuple[int, int], _Graph] = {}
        self._usable = True

    def run(self, packed: Packed) -> Decoded | None:
        """The step, if it is one that graphs can run; None: run it the ordinary way.

        Blocks until the answers are on the host; the first step of a bucket captures its graph.
        """
        n = len(packed.order)
        if not self._usable or n > BUCKETS[-1] or packed.rows.tokens != n or packed.rows.masks is not None:
            return None
        rows = next(size for size in BUCKETS if size >= n)
        width = max(LEAST_WIDTH, 1 << (packed.rows.block_table.shape[1] - 1).bit_length())
        graph = self._graphs.get((rows, width)) or self._make(rows, width)
        return graph.run(packed) if graph is not None else None

    def _make(self, rows: int, width: int) -> _Graph | None:
        try:
            graph = _Graph(rows, width, self._attention, self._forward, self._capture, self._device)
        except RuntimeError:
            _log.exception("CUDA graphs cannot be captured here; decode steps are launched one kernel after the other")
            self._usable = False
            return None
        self._graphs[rows, width] = graph
        return graph


class CudaCapture:
    """Captures on a device; all graphs share one pool of memory."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, body: Body) -> Body:
        torch.cuda.synchronize()
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            body()  # compiles kernels and sets up libraries, which may not happen while capturing
        torch.cuda.current_stream().wait_stream(beside)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        # other threads move K/V meanwhile: only this one must keep to what can be captured
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            body()
        self._pool = self._pool or graph.pool()
        return graph.replay

"""Decode steps as CUDA graphs: one launch instead of some hundred, one copy to the device, one back.

A step in which every row runs one token is put into fixed buffers and replayed, the draw of the tokens included. A
graph belongs to a *bucket* of rows and a width of block tables; the rows that are missing run on the scratch page.
Graphs of short block tables are captured when the model is loaded (`warm`), others when their bucket is first met; they
share their memory: one runs at a time.

    host      fill n │ replay n │ fill n+1 │ replay n+1 │ ...       only who opens answers waits for the device
    device           │ copy in ▶ step n, draw ▶ answers out │ copy in ▶ step n+1 ...
                                    └─ `drawn` ─────────────────────────▶ ids of rows that follow

So step n+1 may be launched while step n runs: the tokens that were drawn stay on the device, and each step has pinned
buffers that the step before does not use. It knows nothing of sampling options, files or weights.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from symphony.engine.decodes import Decodes
from symphony.engine.draw import Draw
from symphony_kernels import DecodePlanner

_log = logging.getLogger(__name__)

BUCKETS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256)
"""Rows of a graph."""
LEAST_WIDTH = 16
"""Pages of a block table..."""
WIDER = 8
"""...and so many times as many in each wider one: what a step reads depends on the rows' lengths alone."""
WORDS = 13
"""int32 words of each row's control, beside its block table."""
IN_FLIGHT = 2
"""Steps that may be in flight at once."""

Body = Callable[[], None]
Capture = Callable[[Body], Body]
"""Makes of a piece of work something that does it again, on the same tensors."""
Forward = Callable[[torch.Tensor, Any, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""(ids [B], plan, wanted [B]) -> logits [B, vocab], health [B]."""


@dataclass(slots=True)
class Decoded:
    """What comes of a step. Tensors are valid for what is queued before the next step is."""

    logits: torch.Tensor
    """[rows, vocab] fp32, on the device."""
    _answers: npt.NDArray[np.int32]
    _event: torch.cuda.Event | None

    def open(self) -> npt.NDArray[np.int32]:
        """[rows, 3]: see `draw`. Waits for the device; valid until the step after the next."""
        if self._event is not None:
            self._event.synchronize()
        return self._answers


class _Graph:
    """The buffers of one bucket, and how to run it."""

    def __init__(
        self,
        rows: int,
        width: int,
        attention: DecodePlanner,
        forward: Forward,
        draw: Draw,
        drawn: torch.Tensor,
        capture: Capture,
    ) -> None:
        self.rows, self.width = rows, width
        device = drawn.device
        harmless = np.empty(rows * (WORDS + width), np.int32)
        _clear(harmless, rows, width, len(drawn) - 1)
        self.control = torch.from_numpy(harmless).to(device)
        parts = _parts(self.control, rows, width)
        wide = parts[0].view(torch.int64).view(3, rows)
        given, positions, slots = wide[0], wide[1], wide[2]
        entries, firsts, follows, places, temperatures = parts[1].view(5, rows)
        temperatures = temperatures.view(torch.float32)
        keys, table = parts[2].view(rows, 2), parts[3].view(rows, width)
        wanted = torch.arange(rows, device=device)
        self.answers = torch.zeros(rows, 3, dtype=torch.int32, device=device)
        self.logits = torch.empty(0, device=device)

        def body() -> None:
            ids = torch.where(follows >= 0, drawn[follows.clamp(min=0)], given)
            plan = attention.decode_plan(entries, table, positions, slots, firsts)  # divides the work anew each time
            self.logits, health = forward(ids, plan, wanted)
            draw(self.logits, health, temperatures, keys, self.answers)
            drawn.index_copy_(0, places.long(), self.answers[:, 0].long())

        self._body = body  # a captured graph reads tensors that only the body keeps
        self.replay = capture(body)


class DecodeGraphs:
    """Steps are launched by one thread at a time; answers may be opened by another."""

    def __init__(
        self, attention: DecodePlanner, forward: Forward, draw: Draw, drawn: torch.Tensor, capture: Capture
    ) -> None:
        """`drawn`: [places + 1] int64, what the rows of the last step drew, by their places in the batch; the last one
        is for nobody. `capture`: a `CudaCapture`, or for tests anything that runs the body again."""
        self._attention = attention
        self._forward = forward
        self._draw = draw
        self._drawn = drawn
        self._capture = capture
        self._graphs: dict[tuple[int, int], _Graph] = {}
        self._usable = True
        self._stages = [_Stage(drawn.device) for _ in range(IN_FLIGHT)]

    def warm(self) -> int:
        """Capture what most steps will need; how many graphs there are then."""
        for rows in reversed(BUCKETS):
            if self._usable and (rows, LEAST_WIDTH) not in self._graphs:
                self._make(rows, LEAST_WIDTH)
        return len(self._graphs)

    def ready(self, rows: int, width: int) -> bool:
        """Whether such a step can be launched at once."""
        return self._bucket(rows, width) in self._graphs

    def run(self, decodes: Decodes) -> Decoded | None:
        """Launch the step, if it is one that graphs can run; None: run it the ordinary way.

        Does not wait for the device, except to capture the graph of a bucket that is met for the first time.
        """
        if not self._usable or len(decodes.ids) > BUCKETS[-1]:
            return None
        bucket = self._bucket(len(decodes.ids), decodes.table.shape[1])
        graph = self._graphs.get(bucket) or self._make(*bucket)
        if graph is None:
            return None
        stage = self._stages.pop(0)
        self._stages.append(stage)
        return stage.launch(graph, decodes, len(self._drawn) - 1)

    def _bucket(self, rows: int, width: int) -> tuple[int, int]:
        wide = LEAST_WIDTH
        while wide < width:
            wide *= WIDER
        return next((size for size in BUCKETS if size >= rows), 0), wide

    def _make(self, rows: int, width: int) -> _Graph | None:
        try:
            graph = _Graph(rows, width, self._attention, self._forward, self._draw, self._drawn, self._capture)
        except RuntimeError:
            _log.exception("CUDA graphs cannot be captured here; decode steps are launched one kernel after the other")
            self._usable = False
            return None
        self._graphs[rows, width] = graph
        return graph


class _Stage:
    """Pinned memory for what goes to the device and what comes back, of one step in flight."""

    def __init__(self, device: torch.device) -> None:
        self._pinned = device.type == "cuda"
        self._staged = torch.zeros(0, dtype=torch.int32)
        self._answers = torch.zeros(BUCKETS[-1], 3, dtype=torch.int32, pin_memory=self._pinned)
        self._event: torch.cuda.Event | None = None

    def launch(self, graph: _Graph, decodes: Decodes, nobody: int) -> Decoded:
        if self._event is not None:
            self._event.synchronize()  # long over, if no more steps are in flight than may be
        n = len(decodes.ids)
        if len(self._staged) < len(graph.control):
            self._staged = torch.zeros(2 * len(graph.control), dtype=torch.int32, pin_memory=self._pinned)
        staged = self._staged[: len(graph.control)]
        _fill(staged.numpy(), graph.rows, graph.width, decodes, nobody)
        graph.control.copy_(staged, non_blocking=True)
        graph.replay()
        self._answers[:n].copy_(graph.answers[:n], non_blocking=True)
        if self._pinned:
            self._event = torch.cuda.Event()
            self._event.record()
        return Decoded(graph.logits[:n], self._answers[:n].numpy(), self._event)


def _parts(control: Any, rows: int, width: int) -> tuple[Any, Any, Any, Any]:
    """Of a tensor or an array: 64-bit numbers (ids, positions, slots); 32-bit ones (entries, firsts, follows, places,
    temperatures); keys; the block table."""
    ends = 6 * rows, 11 * rows, WORDS * rows
    return control[: ends[0]], control[ends[0] : ends[1]], control[ends[1] : ends[2]], control[ends[2] :]


def _clear(control: npt.NDArray[np.int32], rows: int, width: int, nobody: int) -> None:
    """Make it harmless: every row is token 0 at the start of the scratch page."""
    control[:] = 0
    narrow = _parts(control, rows, width)[1].reshape(5, rows)
    narrow[0], narrow[2], narrow[3] = 1, -1, nobody


def _fill(control: npt.NDArray[np.int32], rows: int, width: int, decodes: Decodes, nobody: int) -> None:
    n, pages = decodes.table.shape
    _clear(control, rows, width, nobody)
    first, second, keys, table = _parts(control, rows, width)
    wide, narrow = first.view(np.int64).reshape(3, rows), second.reshape(5, rows)
    wide[0, :n], wide[1, :n], wide[2, :n] = decodes.ids, decodes.positions, decodes.slots
    narrow[0, :n], narrow[2, :n], narrow[3, :n] = decodes.entries, decodes.follows, decodes.places
    if decodes.firsts is not None:
        narrow[1, :n] = decodes.firsts
    narrow[4, :n] = decodes.temperatures.view(np.int32)
    keys[: 2 * n] = decodes.keys.reshape(-1)
    table.reshape(rows, width)[:n, :pages] = decodes.table


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

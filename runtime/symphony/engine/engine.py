"""What an engine is: the interface between the core and whatever runs the model.

An engine owns page pools and weights; the core owns page tables, reference counts and policy. Implementations:
`local.LocalEngine` (torch, this process) and `fake.FakeEngine` (deterministic, no torch, for tests and benchmarks).
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from typing import Protocol

from symphony.engine.chat import ChatTemplate
from symphony.engine.messages import Batch, ModelInfo, Question, RowResult
from symphony.engine.tokenizer import Tokenizer


class Engine(Protocol):
    """One loaded model. All methods are called from the event-loop thread."""

    @property
    def info(self) -> ModelInfo:
        """Constant."""
        ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def chat(self) -> ChatTemplate | None:
        """None: the model has no chat template."""
        ...

    @property
    def pipelined(self) -> bool:
        """Whether steps follow each other faster if each is launched before the one before it is over. Constant."""
        ...

    async def step(self, batch: Batch) -> list[RowResult]:
        """Run one step; one result a row, in order. Suspends while the device computes; may return without suspending.

        One step is in flight at a time. A row that fails does not disturb the others. Raises only if the whole step
        is lost (every row's K/V is then undefined).
        """
        ...

    def launch(self, batch: Batch) -> Awaitable[list[RowResult]]:
        """As `step`, but returns at once, and may be called while one other step is in flight: the device runs them in
        the order of the calls, so rows may follow rows of the other step (`Row.follows`). Each awaitable is awaited.

        If a step is lost, so is one that was launched before that was known.
        """
        ...

    async def move(self, out: Sequence[tuple[int, int]], back: Sequence[tuple[int, int]]) -> None:
        """Copy whole pages between the device and the host tier, beside steps; returns when all are there.

        `out`: (device page, host slot). `back`: (host slot, device page). Several moves may be in flight. Until this
        returns, no step and no other move writes what it reads, or touches what it writes: the caller sees to that.
        Raises if the move is lost; its targets are then undefined, its sources intact.
        """
        ...

    async def read(self, pages: Sequence[int], slots: Sequence[int]) -> list[bytes]:
        """What these pages of the device hold, and then these slots of the host tier: `info.image_bytes` each, in a
        format that depends on `info.digest` and the page size only. Beside steps, as `move`."""
        ...

    async def write(self, pages: Sequence[int], contents: Sequence[bytes]) -> None:
        """Fill pages of the device with what `read` once gave. Beside steps, as `move`."""
        ...

    async def ask(self, questions: Sequence[Question]) -> list[RowResult]:
        """Read distributions again that were kept, beside steps; one result with one reading each, in order. Computes
        no more than logits. What is not kept is an error of that result."""
        ...

    def forget(self, kept: Iterable[int]) -> None:
        """Numbers of `Row.keep` that nobody will ask about; those that are unknown do no harm."""
        ...

    def describe(self) -> dict[str, str]:
        """For people: device, dtype, attention back end, pool size."""
        ...

    def close(self) -> None:
        """Free the device. No step and no move is in flight."""
        ...

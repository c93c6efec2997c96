"""The host tier: K/V pages in the host's memory, in slots of one page each, and the moves there and back.

    caller (event loop) --move--> a thread of ours --> done

On a GPU the memory is pinned and a move has streams of its own. It waits for the steps that had been run when it was
asked for, no others, and steps never wait for it: little of it is queued at a time, so that the copy engines are free
for the steps' own small transfers. The format is the canonical one (`symphony_kernels.interface`). It knows nothing of
files, and does not know which slots are in use.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import torch

from symphony.errors import InternalError, NoSpace
from symphony_kernels import PagedAttention

THREADS = 2
"""Moves at a time: one that fetches need not stand in line behind one that evicts."""
PART_BYTES = 8 << 20
"""Bytes that are queued at a time, each way..."""
PARTS = 2
"""...and how many such parts are in flight: one is copied while the next one is queued."""


T = TypeVar("T")


class _Part(NamedTuple):
    """What is queued at a time."""

    out: bool
    pages: tuple[int, ...]
    slots: tuple[int, ...]


@dataclass(slots=True)
class _Way:
    stream: torch.cuda.Stream
    flying: deque[torch.cuda.Event] = field(default_factory=deque[torch.cuda.Event])


class HostTier:
    """Not thread-safe but for `ran`; `move` may be called again while others are in flight."""

    def __init__(self, attention: PagedAttention, slots: int, dtype: torch.dtype, device: torch.device) -> None:
        """Raises NoSpace. Memory on a CPU is only taken when a slot is first used."""
        self._attention = attention
        self._device = device
        self._dtype = dtype
        self.slots = slots
        self._host = _memory(attention, slots, dtype, device)
        page = max(attention.shape.bytes_per_page(dtype), 1)
        self._part = max(PART_BYTES // page, 1)
        self._threads = ThreadPoolExecutor(THREADS, "mover", _one_thread)
        self._ran: torch.cuda.Event | None = None

    async def move(self, out: Sequence[tuple[int, int]], back: Sequence[tuple[int, int]]) -> None:
        """See `engine.Engine.move`. Even if cancelled it first waits for the end: until then its pages are in use."""
        if not out and not back:
            return
        self._check(out, back)
        await self._whole(self._run, out, back, self._ran)

    async def read(self, pages: Sequence[int], slots: Sequence[int]) -> list[bytes]:
        """See `engine.Engine.read`."""
        return await self._whole(self._read, pages, slots, self._ran)

    async def write(self, pages: Sequence[int], contents: Sequence[bytes]) -> None:
        """See `engine.Engine.write`."""
        await self._whole(self._write, pages, contents, self._ran)

    async def _whole(self, function: Callable[..., T], *arguments: object) -> T:
        """In a thread of ours; even if cancelled it first waits for the end."""
        call = asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            await asyncio.wait([call])
            raise

    def ran(self) -> None:
        """A step has been queued on the current stream; call in the thread that did, before the step's end is told."""
        if self._device.type == "cuda":
            event = torch.cuda.Event()
            event.record()
            self._ran = event

    def close(self) -> None:
        """Waits for the moves in flight. Idempotent."""
        self._threads.shutdown()

    def _check(self, out: Sequence[tuple[int, int]], back: Sequence[tuple[int, int]]) -> None:
        pages, slots = self._attention.shape.pages, self.slots
        for page, slot in [*out, *[(page, slot) for slot, page in back]]:
            if not 0 < page < pages or not 0 <= slot < slots:
                raise InternalError(
                    f"a move names page {page} of 1..{pages - 1} and host slot {slot} of 0..{slots - 1}"
                )

    # ---- in a thread of ours -------------------------------------------------------------------------------------

    def _run(
        self, out: Sequence[tuple[int, int]], back: Sequence[tuple[int, int]], after: torch.cuda.Event | None
    ) -> None:
        with torch.inference_mode():
            if self._device.type == "cuda":
                self._run_beside(out, back, after)
                return
            for part in self._parts(out, back):
                self._queue(part)

    def _run_beside(
        self, out: Sequence[tuple[int, int]], back: Sequence[tuple[int, int]], after: torch.cuda.Event | None
    ) -> None:
        """Both ways at once, each on a stream of its own."""
        ways = {way: _Way(torch.cuda.Stream(self._device)) for way in (True, False)}
        if after is not None:
            for way in ways.values():
                way.stream.wait_event(after)
        try:
            for part in self._parts(out, back):
                way = ways[part.out]
                with torch.cuda.stream(way.stream):
                    self._queue(part)
                    event = torch.cuda.Event(blocking=True)  # the thread sleeps in it: spinning would cost a core
                    event.record()
                way.flying.append(event)
                if len(way.flying) >= PARTS:
                    way.flying.popleft().synchronize()
        finally:  # whatever went wrong, nothing is in flight any more
            for way in ways.values():
                for event in way.flying:
                    event.synchronize()
                way.stream.synchronize()

    def _parts(self, out: Sequence[tuple[int, int]], back: Sequence[tuple[int, int]]) -> Iterator[_Part]:
        """Little by little, in turns; what comes back goes first, because somebody waits for it."""
        for a in range(0, max(len(out), len(back)), self._part):
            if some := back[a : a + self._part]:
                slots, pages = zip(*some, strict=True)
                yield _Part(False, pages, slots)
            if some := out[a : a + self._part]:
                pages, slots = zip(*some, strict=True)
                yield _Part(True, pages, slots)

    def _read(self, pages: Sequence[int], slots: Sequence[int], after: torch.cuda.Event | None) -> list[bytes]:
        with torch.inference_mode():
            staged = _memory(self._attention, len(pages), self._dtype, self._device)
            self._stage(after, self._attention.save_pages, pages, staged)
            return [_bytes(page) for page in staged] + [_bytes(self._host[slot]) for slot in slots]

    def _write(self, pages: Sequence[int], contents: Sequence[bytes], after: torch.cuda.Event | None) -> None:
        with torch.inference_mode():
            staged = _memory(self._attention, len(pages), self._dtype, self._device)
            for page, data in zip(staged, contents, strict=True):
                flat = torch.frombuffer(bytearray(data), dtype=torch.uint8)
                page.view(torch.uint8).reshape(-1).copy_(flat)
            self._stage(after, self._attention.load_pages, pages, staged)

    def _stage(
        self,
        after: torch.cuda.Event | None,
        copy: Callable[[Sequence[int], torch.Tensor, Sequence[int]], None],
        pages: Sequence[int],
        staged: torch.Tensor,
    ) -> None:
        """Between pages and memory of the host that is for this alone; it is done when this returns."""
        if not pages:
            return
        if self._device.type != "cuda":
            copy(pages, staged, range(len(pages)))
            return
        stream = torch.cuda.Stream(self._device)
        if after is not None:
            stream.wait_event(after)
        with torch.cuda.stream(stream):
            copy(pages, staged, range(len(pages)))
        stream.synchronize()

    def _queue(self, part: _Part) -> None:
        copy = self._attention.save_pages if part.out else self._attention.load_pages
        copy(part.pages, self._host, part.slots)


def _memory(attention: PagedAttention, slots: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """[slots, layers, 2, page_size, kv_heads, head_dim]"""
    s = attention.shape
    shape = (slots, s.layers, 2, s.page_size, s.kv_heads, s.head_dim)
    try:
        return torch.empty(shape, dtype=dtype, pin_memory=device.type == "cuda")
    except (MemoryError, RuntimeError) as e:
        size = slots * s.bytes_per_page(dtype) >> 20
        raise NoSpace(f"the host tier's {slots} pages ({size} MiB) do not fit into memory", "ask for fewer") from e


def _bytes(page: torch.Tensor) -> bytes:
    return page.contiguous().view(torch.uint8).numpy().tobytes()


def _one_thread() -> None:
    torch.set_num_threads(1)  # of OpenMP, for the calling thread: moves leave the cores to the steps

"""The engine in this process: weights and pages on one device, steps in the order in which they were launched.

    on a CPU      launch ──▶ worker thread: run ──▶ results
    with graphs   launch ──▶ a decode step that was captured: queued at once ─────┐
                  launch ──▶ any other: worker thread: queued, kernel by kernel ──┴─▶ reader thread: opened ──▶ results

Whoever queues a step (the event loop's thread or the worker, never both) has the pool and the weights to himself; the
reader waits for the device, so that nobody else has to. It knows nothing of files, processes or scheduling.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from symphony.engine import registry
from symphony.engine.batch import Limits, Packed, pack, spread
from symphony.engine.chat import ChatTemplate
from symphony.engine.config import ModelConfig
from symphony.engine.decode_graphs import CudaCapture, Decoded, DecodeGraphs
from symphony.engine.decodes import DecodePacker, Decodes, decodes_of
from symphony.engine.draw import device_draw
from symphony.engine.host_tier import HostTier
from symphony.engine.messages import Batch, ImageShape, ModelInfo, Question, Reading, Row, RowResult
from symphony.engine.model import Transformer
from symphony.engine.placement import ALONE, Budget, device_name, find_device, find_dtype, host_pages, pool_pages
from symphony.engine.sampler import Parcel, Queued, Request, Sampler
from symphony.engine.scarcity import FAILED, again, is_scarcity, run_rows
from symphony.engine.tokenizer import Tokenizer
from symphony.engine.weights import Checkpoint, digest
from symphony.errors import InternalError, NoSpace, Unavailable
from symphony_kernels import BackendUnavailable, DecodePlanner, PagedAttention, PoolShape, open_attention
from symphony_kernels import page_size as default_page_size

POISON = 1e4
"""What freed pages are filled with when debugging: finite in every dtype, hidden by every mask, and absurd as K/V."""
DRAWN = 4096
"""Rows of a step that others may follow."""
Finish = Callable[[], list[RowResult]]
"""Waits for a step that was queued, and has its results."""
_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
_NOT_KEPT = "this distribution is not kept"
_NOT_FINITE = "the model computed a value that is not finite"


class LocalEngine:
    """See `engine.Engine`. Build one with `load`."""

    def __init__(
        self,
        info: ModelInfo,
        tokenizer: Tokenizer,
        chat: ChatTemplate | None,
        model: Transformer,
        attention: PagedAttention,
        tier: HostTier,
        worker: ThreadPoolExecutor,
        description: dict[str, str],
        graphs: bool = True,
    ) -> None:
        self.info = info
        self.tokenizer = tokenizer
        self.chat = chat
        self._model = model
        self._attention = attention
        self._tier = tier
        self._worker = worker
        self._description = description
        self._device = torch.device(info.device)
        self._sampler = Sampler(info.vocab_size, self._device)
        bucket = 8 if self._device.type == "cpu" else 1
        window = model.config.window
        self._limits = Limits(info.vocab_size, info.context_limit, info.pages, info.page_size, window, bucket)
        self._packer = DecodePacker(self._limits)
        self._drawn = torch.zeros(DRAWN + 1, dtype=torch.int64, device=self._device)
        """With graphs: what the rows of the last step drew; the last place is for nobody."""
        self._before: list[RowResult] | None = None
        """Without: of the last step; None: it was lost."""
        self._graphs = self._decode_graphs() if graphs else None
        self._reader: ThreadPoolExecutor | None = None
        if self._graphs is not None:
            self._reader = ThreadPoolExecutor(1, "answers")
            worker.submit(self._warm, self._graphs).result()
        self._running = False
        self._kept: dict[int, torch.Tensor] = {}
        """[hidden size] each, on the host: what logits are a product of."""
        self._queued: asyncio.Future[None] | None = None
        """Done when the last step that the worker had to do with has been queued."""

    @classmethod
    def load(
        cls,
        model: str,
        *,
        name: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        pages: int | None = None,
        host_pages: int | None = None,
        page_size: int | None = None,
        attention: str | None = None,
        threads: int | None = None,
        graphs: bool = True,
        budget: Budget = ALONE,
    ) -> LocalEngine:
        """Load a model; blocks.

        `model`: "tiny", a directory, or ORG/NAME in the local Hugging Face cache. `device`: "cpu", "cuda" or "cuda:N";
        None takes a GPU if there is one. `dtype`: "float32", "bfloat16", "float16"; None is fp32 on a CPU, else the
        checkpoint's own. `pages`: of the pool, scratch page included; None sizes it from memory. `host_pages`: slots of
        the host tier; None takes what `param` says, 0 has none. `threads`: of a CPU step; None takes all cores but one,
        which guests and the loop need. `graphs`: decode steps on a GPU run as CUDA graphs where the attention can.
        `budget`: what sizes that are not given may take.
        Raises NotFound, Invalid, Unavailable, NoSpace.
        """
        directory = registry.find(model)
        config = ModelConfig.load(directory)
        where = find_device(device)
        kind = find_dtype(dtype, config, where)
        worker = ThreadPoolExecutor(1, "engine", _prepare_thread, (threads or max((os.cpu_count() or 1) - 1, 1), where))
        try:
            future = worker.submit(
                _load, directory, config, where, kind, pages, host_pages, page_size, attention, budget
            )
            transformer, backend, tier, identity = future.result()
            tokenizer = Tokenizer.load(directory / "tokenizer.json", config.vocab_size)
            chat = ChatTemplate.load(directory)
        except BaseException as e:
            worker.shutdown()
            if is_scarcity(e):
                raise NoSpace(f"{directory} does not fit into memory: {e}", "load fewer or smaller models") from e
            raise
        shape = backend.shape
        info = ModelInfo(
            name=name or registry.short_name(model),
            vocab_size=config.vocab_size,
            context_limit=config.context_limit,
            page_size=shape.page_size,
            pages=shape.pages,
            stop_tokens=config.stop_tokens,
            bos_token=config.bos_token,
            digest=identity,
            bytes_per_page=shape.bytes_per_page(transformer.dtype),
            device=str(where),
            host_pages=tier.slots,
            window=config.window,
            image_bytes=shape.bytes_per_page(transformer.dtype),
            image_shape=ImageShape(_DTYPES[transformer.dtype], (shape.layers, 2), (shape.kv_heads, shape.head_dim)),
        )
        description = {
            "model": str(directory),
            "device": device_name(where),
            "dtype": str(kind).removeprefix("torch."),
            "attention": backend.name,
            "pages": _size(shape.pages, info),
            "host tier": _size(tier.slots, info),
        }
        return cls(info, tokenizer, chat, transformer, backend, tier, worker, description, graphs)

    async def step(self, batch: Batch) -> list[RowResult]:
        """See `engine.Engine.step`."""
        if self._running:
            raise InternalError("a step is in flight already")
        self._running = True
        try:
            return await self.launch(batch)
        finally:
            self._running = False

    @property
    def pipelined(self) -> bool:
        """See `engine.Engine.pipelined`."""
        return self._reader is not None

    def launch(self, batch: Batch) -> Awaitable[list[RowResult]]:
        """See `engine.Engine.launch`."""
        loop = asyncio.get_running_loop()
        if self._reader is None:
            return loop.run_in_executor(self._worker, self.run, batch)
        first = self._queued is None or self._queued.done()
        if first and (finish := self._queue_captured(batch)) is not None:
            return loop.run_in_executor(self._reader, finish)
        return asyncio.ensure_future(self._queue_in_turn(self._line_up(), batch, first, self._reader))

    async def _queue_in_turn(
        self, turn: AbstractAsyncContextManager[None], batch: Batch, first: bool, reader: ThreadPoolExecutor
    ) -> list[RowResult]:
        """What the worker has to queue, or what comes behind that. `first`: a captured step it is not."""
        loop = asyncio.get_running_loop()
        async with turn:
            finish = None if first else self._queue_captured(batch)
            if finish is None:
                finish = await loop.run_in_executor(self._worker, self._begin, batch)
        return await loop.run_in_executor(reader, finish)

    def _line_up(self) -> AbstractAsyncContextManager[None]:
        """A turn behind who has lined up so far: entered when they are through, it holds up who comes later."""
        before = self._queued
        self._queued = queued = asyncio.get_running_loop().create_future()

        @asynccontextmanager
        async def turn() -> AsyncGenerator[None]:
            try:
                if before is not None and not before.done():
                    await asyncio.wait([before])
                yield
            finally:
                queued.cancel()  # whoever waits for it goes on

        return turn()

    async def move(self, out: Sequence[tuple[int, int]], back: Sequence[tuple[int, int]]) -> None:
        """See `engine.Engine.move`."""
        await self._tier.move(out, back)

    async def read(self, pages: Sequence[int], slots: Sequence[int]) -> list[bytes]:
        """See `engine.Engine.read`."""
        return await self._tier.read(pages, slots)

    async def write(self, pages: Sequence[int], contents: Sequence[bytes]) -> None:
        """See `engine.Engine.write`."""
        await self._tier.write(pages, contents)

    async def ask(self, questions: Sequence[Question]) -> list[RowResult]:
        """See `engine.Engine.ask`."""
        async with self._line_up():
            return await asyncio.get_running_loop().run_in_executor(self._worker, self._ask, questions)

    def forget(self, kept: Iterable[int]) -> None:
        """See `engine.Engine.forget`."""
        for number in kept:
            self._kept.pop(number, None)

    def describe(self) -> dict[str, str]:
        """See `engine.Engine.describe`."""
        return dict(self._description)

    def close(self) -> None:
        """See `engine.Engine.close`. Idempotent."""
        self._worker.shutdown()
        if self._reader is not None:
            self._reader.shutdown()
        self._tier.close()
        self._graphs = None  # it refers back to this engine, whose memory should go with its last user

    # ---- in the thread that queues ---------------------------------------------------------------------------------

    def run(self, batch: Batch) -> list[RowResult]:
        """One step, in the calling thread; blocks until the results are on the host. Not thread-safe."""
        return self._begin(batch)()

    def _ask(self, questions: Sequence[Question]) -> list[RowResult]:
        found = [self._kept.get(question.kept) for question in questions]
        states = [state for state in found if state is not None]
        if not states:
            return [RowResult(error=_NOT_KEPT) for _ in questions]
        known = [question for question, state in zip(questions, found, strict=True) if state is not None]
        requests = [Request(question.readings, question.entry, allowed=question.readings.allowed) for question in known]
        with torch.inference_mode():
            logits = self._model.logits(torch.stack(states).to(self._device))
            readings = iter(self._sampler.read(logits, requests))
        results: list[RowResult] = []
        for state in found:
            reading = _NOT_KEPT if state is None else next(readings)
            results.append(RowResult(error=reading) if isinstance(reading, str) else RowResult([reading]))
        return results

    def _begin(self, batch: Batch) -> Finish:
        with torch.inference_mode():
            before, self._before = self._before, None
            try:
                again(lambda: self._copy(batch))
                if self._graphs is not None:
                    return self._queue(batch.rows, self._graphs)
                self._before = results = self._run_rows(batch, before) if batch.rows else []
                return lambda: results
            finally:
                self._tier.ran()

    def _queue_captured(self, batch: Batch) -> Finish | None:
        """Queue the step if that takes no more than to fill some buffers."""
        graphs = self._graphs
        if graphs is None or batch.copies or batch.entries or batch.poison:
            return None
        decodes = self._packer.pack(batch.rows) if batch.rows else None
        if decodes is None or not graphs.ready(*decodes.table.shape):
            return None
        with torch.inference_mode(), torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext():
            decoded = graphs.run(decodes)
            self._tier.ran()
        return partial(self._open_decodes, decodes, decoded) if decoded is not None else None

    def _queue(self, rows: Sequence[Row], graphs: DecodeGraphs) -> Finish:
        try:
            decodes = self._packer.pack(rows) if rows else None
            decoded = graphs.run(decodes) if decodes is not None else None
            if decodes is not None and decoded is not None:
                return partial(self._open_decodes, decodes, decoded)
            return self._queue_packed(pack(rows, self._limits), graphs) if rows else list[RowResult]
        except Exception as e:
            if not is_scarcity(e):
                raise
        results = self._run(self._resolved(rows))
        drawn = [result.readings[-1].sampled if result.readings else 0 for result in results[:DRAWN]]
        self._drawn[: len(drawn)] = torch.tensor([token or 0 for token in drawn])
        return lambda: results

    def _queue_packed(self, packed: Packed, graphs: DecodeGraphs) -> Finish:
        """Rows of any kind."""
        decodes = decodes_of(packed)
        decoded = graphs.run(decodes) if decodes is not None else None
        parcel = Parcel(self._device)
        logits = None
        if decoded is None:
            logits, health = self._forward(packed)
            parcel.add(health.float())
        elif packed.wanted:
            logits = decoded.logits.index_select(0, self._to(packed.wanted))
        queued = self._sampler.queue(logits, packed.requests, parcel) if logits is not None else None
        if queued is None:
            parcel.send()
        elif queued.sampled is not None:
            last = {owner: n for n, owner in enumerate(packed.owners) if owner < DRAWN}
            tokens = queued.sampled[self._to(list(last.values()))]
            self._drawn.index_copy_(0, self._to(list(last)), tokens.long().clamp(min=0))
        return partial(self._open_packed, packed, parcel, queued, decoded)

    def _resolved(self, rows: Sequence[Row]) -> list[Row]:
        """Rows that follow with the tokens that were drawn. Waits for the device."""
        drawn: list[int] = self._drawn.tolist()
        return [replace(row, tokens=(drawn[row.follows],), follows=-1) if row.follows >= 0 else row for row in rows]

    def _run_rows(self, batch: Batch, before: list[RowResult] | None) -> list[RowResult]:
        """Rows that follow get what was drawn before; one that follows a failure fails, without being run."""
        if all(row.follows < 0 for row in batch.rows):
            return self._run(batch.rows)
        if before is None:
            raise InternalError("a step that this one follows was lost")
        rows = [_after(row, before[row.follows]) if row.follows >= 0 else row for row in batch.rows]
        return self._run(rows)

    def _copy(self, batch: Batch) -> None:
        if batch.poison:
            self._check_pages(batch.poison, "poison")
            self._attention.fill_pages(batch.poison, POISON)
        if batch.copies:
            sources, destinations = zip(*batch.copies, strict=True)
            self._check_pages(sources + destinations, "a page copy")
            self._attention.copy_pages(sources, destinations)
        if batch.entries:
            self._attention.copy_entries(*spread(batch.entries, self._limits))

    def _check_pages(self, pages: Sequence[int], what: str) -> None:
        if min(pages) < 1 or max(pages) >= self._limits.pages:
            raise InternalError(f"{what} names a page outside 1..{self._limits.pages - 1}")

    def _run(self, rows: Sequence[Row]) -> list[RowResult]:
        results = run_rows(self._run_at_once, rows)
        if lost := [row for row, result in zip(rows, results, strict=True) if result.error == FAILED]:
            self._attention.clear_slots(np.unique(pack(lost, self._limits).rows.slots).tolist())
        return results

    def _run_at_once(self, rows: Sequence[Row]) -> list[RowResult]:
        packed = pack(rows, self._limits)
        logits, health = self._forward(packed)
        readings = self._sampler.read(logits, packed.requests) if logits is not None else []
        return self._results(packed, readings, np.isfinite(health.cpu().numpy()))

    def _warm(self, graphs: DecodeGraphs) -> None:
        begin = time.perf_counter()
        with torch.inference_mode():
            count = graphs.warm()
        self._description["graphs"] = f"{count}, captured in {time.perf_counter() - begin:.1f} s"

    def _decode_graphs(self) -> DecodeGraphs | None:
        attention = self._attention
        if self._device.type != "cuda" or not isinstance(attention, DecodePlanner):
            return None

        def forward(ids: torch.Tensor, plan: Any, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits, health = self._model.forward(ids, attention, plan, wanted)
            assert logits is not None  # some are wanted
            return logits, health

        return DecodeGraphs(attention, forward, device_draw(self._device), self._drawn, CudaCapture())

    def _forward(self, packed: Packed) -> tuple[torch.Tensor | None, torch.Tensor]:
        plan = self._attention.plan(packed.rows)
        ids = self._to(packed.ids)
        if packed.follows is not None:
            behind = packed.follows >= 0
            ids = ids.index_copy(0, self._to(packed.rows.starts[behind]), self._drawn[self._to(packed.follows[behind])])
        wanted = self._to(packed.wanted) if packed.wanted else None
        states, health = self._model.states(ids, self._attention, plan, wanted)
        if states is None:
            return None, health
        if packed.kept:
            places, numbers = zip(*packed.kept, strict=True)
            kept = states.index_select(0, self._to(places)).cpu()
            self._kept |= {number: state.clone() for number, state in zip(numbers, kept, strict=True)}
        return self._model.logits(states), health

    def _to(self, numbers: npt.NDArray[np.int64] | Sequence[int]) -> torch.Tensor:
        """On the device, without waiting for what is queued there."""
        return torch.from_numpy(np.asarray(numbers, np.int64)).to(self._device, non_blocking=True)

    # ---- in the thread that reads ----------------------------------------------------------------------------------

    def _open_decodes(self, decodes: Decodes, decoded: Decoded) -> list[RowResult]:
        answers = decoded.open()
        tokens, logprobs = answers[:, 0].tolist(), answers[:, 2].view(np.float32).tolist()
        results = [
            RowResult((kind.reading(token, logprob),))
            for kind, token, logprob in zip(decodes.kinds, tokens, logprobs, strict=True)
        ]
        if not answers[:, 1].all():
            failed = np.flatnonzero(answers[:, 1] == 0)
            for i in failed.tolist():
                results[i] = RowResult((), _NOT_FINITE)
            with torch.inference_mode():
                self._attention.clear_slots(np.unique(decodes.slots[failed]).tolist())
        return results

    def _open_packed(
        self, packed: Packed, parcel: Parcel, queued: Queued | None, decoded: Decoded | None
    ) -> list[RowResult]:
        readings = queued.open() if queued is not None else []
        if decoded is not None:
            healthy = decoded.open()[:, 1] != 0
        else:
            if queued is None:
                parcel.open()
            healthy = np.isfinite(parcel[0])
        with torch.inference_mode():
            return self._results(packed, readings, healthy)

    def _results(self, packed: Packed, readings: list[Reading | str], healthy: np.ndarray) -> list[RowResult]:
        results = [RowResult([], packed.errors.get(i)) for i in range(len(packed.order))]
        rows = packed.rows
        healthy = healthy[: rows.query_lens.sum()]
        for i, fine in zip(packed.order, np.logical_and.reduceat(healthy, rows.starts).tolist(), strict=True):
            if not fine:
                results[i].error = results[i].error or _NOT_FINITE
        given: list[list[Reading]] = [[] for _ in results]
        for owner, reading in zip(packed.owners, readings, strict=True):
            if isinstance(reading, str):
                results[owner].error = results[owner].error or reading
            else:
                given[owner].append(reading)
        for result, found in zip(results, given, strict=True):
            result.readings = [] if result.error else found
        self._clear_failed(packed, results)
        return results

    def _clear_failed(self, packed: Packed, results: list[RowResult]) -> None:
        """What failed rows wrote may not be finite; the next owner of the page masks it, and NaN * 0 is NaN."""
        rows = packed.rows
        failed = [n for n, i in enumerate(packed.order) if results[i].error]
        slots = [rows.slots[rows.starts[n] : rows.starts[n] + rows.query_lens[n]] for n in failed]
        if slots:
            self._attention.clear_slots(np.unique(np.concatenate(slots)).tolist())


def _load(
    directory: Path,
    config: ModelConfig,
    device: torch.device,
    dtype: torch.dtype,
    pages: int | None,
    slots: int | None,
    page_size: int | None,
    attention: str | None,
    budget: Budget,
) -> tuple[Transformer, PagedAttention, HostTier, str]:
    with torch.inference_mode(), ThreadPoolExecutor(1) as beside:
        weights = Checkpoint(directory, config, device)
        # what the weights are computed with is part of what a K/V entry is
        facts = config.architecture, config.heads, config.norm_eps, config.rope, config.window, config.windowed
        identity = beside.submit(digest, weights.files, str(dtype), *facts)
        model = Transformer(config, weights, dtype)
        dtype = model.dtype  # of K/V
        size = page_size or default_page_size(attention, device)
        one = PoolShape(config.layers, 1, size, config.heads, config.kv_heads, config.head_dim)
        count = pages or pool_pages(one.bytes_per_page(dtype), size, config.context_limit, device, budget)
        shape = PoolShape(config.layers, count, size, config.heads, config.kv_heads, config.head_dim)
        try:
            backend = open_attention(attention, shape, model.rope(), model.scale, dtype, device)
        except BackendUnavailable as e:
            raise Unavailable(str(e), "leave --attention out to take the best one that runs here") from e
        except (MemoryError, torch.OutOfMemoryError) as e:
            raise NoSpace(f"{count} KV pages of {size} tokens do not fit into memory", "ask for fewer pages") from e
        held = host_pages(one.bytes_per_page(dtype), device, budget) if slots is None else slots
        return model, backend, HostTier(backend, held, dtype, device), identity.result()


def _after(row: Row, before: RowResult) -> Row:
    """The row with the token that it follows; with one that there is not if that was not drawn."""
    token = before.readings[-1].sampled if before.readings else None
    return replace(row, tokens=(-1 if token is None else token,), follows=-1)


def _prepare_thread(threads: int, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(threads)  # of OpenMP, and so of the calling thread


def _size(pages: int, info: ModelInfo) -> str:
    return f"{pages} x {info.page_size} tokens, {pages * info.bytes_per_page / 2**20:.0f} MiB"

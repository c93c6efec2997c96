"""The engine in this process: weights and pages on one device, one step at a time in a thread of its own.

    idle --step--> running (worker thread) --> idle;  close ends it

`_running` is guarded by the event loop's thread; the device, the pool and the weights belong to the worker thread.
It knows nothing of files, processes or scheduling.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from symphony.engine import registry
from symphony.engine.batch import Limits, Packed, pack, spread
from symphony.engine.chat import ChatTemplate
from symphony.engine.config import ModelConfig
from symphony.engine.decode_graphs import CudaCapture, Decoded, DecodeGraphs
from symphony.engine.host_tier import HostTier
from symphony.engine.messages import GREEDILY, Batch, ModelInfo, Reading, Row, RowResult
from symphony.engine.model import Transformer
from symphony.engine.placement import ALONE, Budget, device_name, find_device, find_dtype, host_pages, pool_pages
from symphony.engine.sampler import Sampler
from symphony.engine.scarcity import FAILED, again, is_scarcity, run_rows
from symphony.engine.tokenizer import Tokenizer
from symphony.engine.weights import Checkpoint, digest
from symphony.errors import InternalError, NoSpace, Unavailable
from symphony_kernels import BackendUnavailable, DecodePlanner, PagedAttention, PoolShape, open_attention

POISON = 1e4
"""What freed pages are filled with when debugging: finite in every dtype, hidden by every mask, and absurd as K/V."""
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
        self._graphs = self._decode_graphs() if graphs else None
        self._running = False
        self._before: list[RowResult] | None = None
        """Of the last step; None: it was lost."""

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
            bytes_per_page=shape.bytes_per_page(kind),
            device=str(where),
            host_pages=tier.slots,
            window=config.window,
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
            return await asyncio.get_running_loop().run_in_executor(self._worker, self.run, batch)
        finally:
            self._running = False

    @property
    def pipelined(self) -> bool:
        """See `engine.Engine.pipelined`."""
        return False

    def launch(self, batch: Batch) -> Awaitable[list[RowResult]]:
        """See `engine.Engine.launch`."""
        return asyncio.get_running_loop().run_in_executor(self._worker, self.run, batch)

    async def move(self, out: Sequence[tuple[int, int]], back: Sequence[tuple[int, int]]) -> None:
        """See `engine.Engine.move`."""
        await self._tier.move(out, back)

    def describe(self) -> dict[str, str]:
        """See `engine.Engine.describe`."""
        return dict(self._description)

    def close(self) -> None:
        """See `engine.Engine.close`. Idempotent."""
        self._worker.shutdown()
        self._tier.close()
        self._graphs = None  # it refers back to this engine, whose memory should go with its last user

    # ---- in the worker thread --------------------------------------------------------------------------------------

    def run(self, batch: Batch) -> list[RowResult]:
        """One step, in the calling thread; blocks until the results are on the host. Not thread-safe."""
        with torch.inference_mode():
            before, self._before = self._before, None
            try:
                again(lambda: self._copy(batch))
                self._before = self._run_rows(batch, before) if batch.rows else []
                return self._before
            finally:
                self._tier.ran()

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
        decoded = self._graphs.run(packed) if self._graphs is not None else None
        if decoded is not None:
            return self._results(packed, self._readings(packed, decoded), decoded.fine)
        logits, health = self._forward(packed)
        readings = self._sampler.read(logits, packed.requests) if logits is not None else []
        return self._results(packed, readings, np.isfinite(health.cpu().numpy()))

    def _decode_graphs(self) -> DecodeGraphs | None:
        attention = self._attention
        if self._device.type != "cuda" or not isinstance(attention, DecodePlanner):
            return None

        def forward(ids: torch.Tensor, plan: Any, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits, health = self._model.forward(ids, attention, plan, wanted)
            assert logits is not None  # some are wanted
            return logits, health

        return DecodeGraphs(attention, forward, self._device, CudaCapture())

    def _readings(self, packed: Packed, decoded: Decoded) -> list[Reading | str]:
        """Of a step that ran as a graph: plain greedy draws are there already."""
        if all(request.readings == GREEDILY for request in packed.requests):
            return [Reading(sampled=token) for token in decoded.greedy[packed.wanted].tolist()]
        logits = decoded.logits
        if len(packed.wanted) < len(logits):
            logits = logits.index_select(0, torch.tensor(packed.wanted, device=self._device))
        return self._sampler.read(logits, packed.requests)

    def _forward(self, packed: Packed) -> tuple[torch.Tensor | None, torch.Tensor]:
        plan = self._attention.plan(packed.rows)
        ids = torch.from_numpy(packed.ids).to(self._device)
        wanted = torch.tensor(packed.wanted, device=self._device) if packed.wanted else None
        return self._model.forward(ids, self._attention, plan, wanted)

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
        identity = beside.submit(digest, weights.files, str(dtype), config.rope, config.window, config.windowed)
        model = Transformer(config, weights, dtype)
        size = page_size or (16 if device.type == "cpu" else 64)
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
    return replace(row, tokens=(-1 if token is None else token,))


def _prepare_thread(threads: int, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(threads)  # of OpenMP, and so of the calling thread


def _size(pages: int, info: ModelInfo) -> str:
    return f"{pages} x {info.page_size} tokens, {pages * info.bytes_per_page / 2**20:.0f} MiB"

"""The engine in this process: weights and pages on one device, one step at a time in a thread of its own.

    idle --step--> running (worker thread) --> idle;  close ends it

`_running` is guarded by the event loop's thread; the device, the pool and the weights belong to the worker thread.
It knows nothing of files, processes or scheduling.
"""

from __future__ import annotations

import asyncio
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from symphony import param
from symphony.engine import registry
from symphony.engine.batch import Limits, Packed, pack
from symphony.engine.chat import ChatTemplate
from symphony.engine.config import ModelConfig
from symphony.engine.messages import Batch, ModelInfo, Reading, RowResult
from symphony.engine.model import Transformer
from symphony.engine.sampler import Sampler
from symphony.engine.tokenizer import Tokenizer
from symphony.engine.weights import Checkpoint, digest
from symphony.errors import InternalError, Invalid, NoSpace, Unavailable
from symphony_kernels import BackendUnavailable, PagedAttention, PoolShape, open_attention

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
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
        worker: ThreadPoolExecutor,
        description: dict[str, str],
    ) -> None:
        self.info = info
        self.tokenizer = tokenizer
        self.chat = chat
        self._model = model
        self._attention = attention
        self._worker = worker
        self._description = description
        self._device = torch.device(info.device)
        self._sampler = Sampler(info.vocab_size, self._device)
        bucket = 8 if self._device.type == "cpu" else 1
        self._limits = Limits(info.vocab_size, info.context_limit, info.pages, info.page_size, bucket)
        self._running = False

    @classmethod
    def load(
        cls,
        model: str,
        *,
        name: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        pages: int | None = None,
        page_size: int | None = None,
        attention: str | None = None,
        threads: int | None = None,
    ) -> LocalEngine:
        """Load a model; blocks.

        `model`: "tiny", a directory, or ORG/NAME in the local Hugging Face cache. `device`: "cpu", "cuda" or "cuda:N";
        None takes a GPU if there is one. `dtype`: "float32", "bfloat16", "float16"; None is fp32 on a CPU, else the
        checkpoint's own. `pages`: of the pool, scratch page included; None sizes it from memory. `threads`: of a CPU
        step; None takes all cores but one, which guests and the loop need.
        Raises NotFound, Invalid, Unavailable, NoSpace.
        """
        directory = registry.find(model)
        config = ModelConfig.load(directory)
        where = _device(device)
        kind = _dtype(dtype, config, where)
        worker = ThreadPoolExecutor(1, "engine", _prepare_thread, (threads or max((os.cpu_count() or 1) - 1, 1), where))
        try:
            future = worker.submit(_load, directory, config, where, kind, pages, page_size, attention)
            transformer, backend, identity = future.result()
            tokenizer = Tokenizer.load(directory / "tokenizer.json", config.vocab_size)
            chat = ChatTemplate.load(directory)
        except BaseException:
            worker.shutdown()
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
        )
        description = {
            "model": str(directory),
            "device": _device_name(where),
            "dtype": str(kind).removeprefix("torch."),
            "attention": backend.name,
            "pages": f"{shape.pages} x {shape.page_size} tokens, {shape.pages * info.bytes_per_page / 2**20:.0f} MiB",
        }
        return cls(info, tokenizer, chat, transformer, backend, worker, description)

    async def step(self, batch: Batch) -> list[RowResult]:
        """See `engine.Engine.step`."""
        if self._running:
            raise InternalError("a step is in flight already")
        self._running = True
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, self.run, batch)
        finally:
            self._running = False

    def describe(self) -> dict[str, str]:
        """See `engine.Engine.describe`."""
        return dict(self._description)

    def close(self) -> None:
        """See `engine.Engine.close`. Idempotent."""
        self._worker.shutdown()

    # ---- in the worker thread --------------------------------------------------------------------------------------

    def run(self, batch: Batch) -> list[RowResult]:
        """One step, in the calling thread; blocks until the results are on the host. Not thread-safe."""
        with torch.inference_mode():
            self._copy_pages(batch.copies)
            if not batch.rows:
                return []
            packed = pack(batch.rows, self._limits)
            logits, health = self._forward(packed)
            readings = self._sampler.read(logits, packed.requests) if logits is not None else []
            return self._results(batch, packed, readings, np.isfinite(health.cpu().numpy()))

    def _copy_pages(self, copies: list[tuple[int, int]]) -> None:
        if not copies:
            return
        sources, destinations = zip(*copies, strict=True)
        if min(sources + destinations) < 1 or max(sources + destinations) >= self._limits.pages:
            raise InternalError(f"a page copy names a page outside 1..{self._limits.pages - 1}")
        self._attention.copy_pages(sources, destinations)

    def _forward(self, packed: Packed) -> tuple[torch.Tensor | None, torch.Tensor]:
        plan = self._attention.plan(packed.rows)
        ids = torch.from_numpy(packed.ids).to(self._device)
        wanted = torch.tensor(packed.wanted, device=self._device) if packed.wanted else None
        return self._model.forward(ids, self._attention, plan, wanted)

    def _results(
        self, batch: Batch, packed: Packed, readings: list[Reading | str], healthy: np.ndarray
    ) -> list[RowResult]:
        results = [RowResult([], packed.errors.get(i)) for i in range(len(batch.rows))]
        rows = packed.rows
        healthy = healthy[: rows.query_lens.sum()]
        for i, fine in zip(packed.order, np.logical_and.reduceat(healthy, rows.starts).tolist(), strict=True):
            if not fine:
                results[i].error = results[i].error or _NOT_FINITE
        given: list[list[Reading]] = [[] for _ in batch.rows]
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
    page_size: int | None,
    attention: str | None,
) -> tuple[Transformer, PagedAttention, str]:
    with torch.inference_mode(), ThreadPoolExecutor(1) as beside:
        weights = Checkpoint(directory, device)
        # RoPE's constants are part of what a K/V entry is
        identity = beside.submit(digest, weights.files, str(dtype), config.rope_theta, config.rope_scaling)
        model = Transformer(config, weights, dtype)
        size = page_size or (16 if device.type == "cpu" else 64)
        one = PoolShape(config.layers, 1, size, config.heads, config.kv_heads, config.head_dim)
        count = pages or _pool_pages(one.bytes_per_page(dtype), size, config.context_limit, device)
        shape = PoolShape(config.layers, count, size, config.heads, config.kv_heads, config.head_dim)
        try:
            backend = open_attention(attention, shape, model.rope(), model.scale, dtype, device)
        except BackendUnavailable as e:
            raise Unavailable(str(e), "leave --attention out to take the best one that runs here") from e
        except (MemoryError, torch.OutOfMemoryError) as e:
            raise NoSpace(f"{count} KV pages of {size} tokens do not fit into memory", "ask for fewer pages") from e
        return model, backend, identity.result()


def _pool_pages(page_bytes: int, page_size: int, context_limit: int, device: torch.device) -> int:
    """Pages of a pool whose size was not given: at least one full context on a CPU, what is free on a GPU."""
    if device.type == "cpu":
        return 1 + max(param.KV_POOL_BYTES_CPU // page_bytes, math.ceil(context_limit / page_size))
    free, _ = torch.cuda.mem_get_info(device)
    count = int(free * param.KV_POOL_SHARE_GPU) // page_bytes
    if count < 2:
        raise NoSpace(f"{free >> 20} MiB of free GPU memory hold no KV pages", "use a smaller model or another GPU")
    return count


def _prepare_thread(threads: int, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(threads)  # of OpenMP, and so of the calling thread


def _device(name: str | None) -> torch.device:
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as e:
        raise Invalid(f"there is no device {name!r}", "use cpu, cuda or cuda:N") from e
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda":
        raise Invalid(f"the device {name!r} is not supported", "use cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        raise Unavailable("there is no CUDA device that torch can use", "use --device cpu")
    index = int(name.partition(":")[2] or torch.cuda.current_device())
    if index >= torch.cuda.device_count():
        raise Unavailable(f"there is no {name}", f"there are {torch.cuda.device_count()} CUDA devices")
    return torch.device("cuda", index)


def _dtype(name: str | None, config: ModelConfig, device: torch.device) -> torch.dtype:
    if name is None:
        name = "float32" if device.type == "cpu" else config.dtype
    if name not in _DTYPES:
        raise Invalid(f"there is no dtype {name!r}", f"use {', '.join(_DTYPES)}")
    return _DTYPES[name]


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({os.cpu_count()} cores)"

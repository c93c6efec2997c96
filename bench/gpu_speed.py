"""How fast the GPU path is: attention by back end, shared prefixes, whole decode steps beside what memory allows.

    PYTHONPATH=runtime:kernels:. python bench/gpu_speed.py [attention] [shared] [steps]

Device time: what is measured runs as a CUDA graph, median of several replays; weights and K/V are random, in bf16, and
made on the device. Needs torch, triton, numpy, and what `symphony.engine.model` imports.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from bench.model_shapes import SHAPES, Shape
from symphony.engine.bandwidth import read_speed
from symphony.engine.config import ModelConfig
from symphony.engine.model import Transformer
from symphony_kernels import BackendUnavailable, DecodePlanner, PagedAttention, PoolShape, Ragged, open_attention
from symphony_kernels.triton import division

DEVICE = torch.device("cuda")
BF16 = torch.bfloat16
STEPS = (("llama-1b", (1, 64, 256)), ("llama-8b", (1, 64)))
ROPE = 1 << 14


def replayed(body: Callable[[], Any], runs: int = 20) -> float:
    """Median seconds of a replay."""
    with torch.inference_mode():
        body()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            body()
        return timed(graph.replay, runs)


def timed(body: Callable[[], Any], runs: int = 20) -> float:
    """Median seconds on the device."""
    times = []
    for _ in range(runs + 3):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        body()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return sorted(times[3:])[runs // 2]


def opened(name: str, layers: int, entries: int, heads: int, kv_heads: int, page: int) -> PagedAttention:
    """A back end whose pages hold random K/V."""
    shape = PoolShape(layers, 1 + -(-entries // page), page, heads, kv_heads, 128)
    angles = torch.outer(torch.arange(ROPE), 10000.0 ** (-torch.arange(0, 128, 2) / 128))
    rope = torch.stack([angles.cos(), angles.sin()], -1).float().to(DEVICE)
    attention = open_attention(name, shape, rope, 128**-0.5, BF16, DEVICE)
    attention.pool.normal_()  # type: ignore[attr-defined]
    return attention


def tables(lengths: Sequence[int], page: int, shared: int = 0) -> np.ndarray:
    """[B, P]: pages in no order; the first `shared` are everybody's."""
    counts = [-(-n // page) for n in lengths]
    own = sum(n - shared for n in counts)
    order = 1 + np.random.default_rng(0).permutation(shared + own)
    table = np.zeros((len(lengths), max(counts)), np.int64)
    at = shared
    for i, n in enumerate(counts):
        table[i, :shared] = order[:shared]
        table[i, shared:n] = order[at : at + n - shared]
        table[i, n:] = table[i, n - 1]
        at += n - shared
    return table


def decode_time(attention: PagedAttention, lengths: Sequence[int], shared: int = 0) -> float:
    """Seconds of attention a layer, one query a row."""
    s = attention.shape
    table = torch.from_numpy(tables(lengths, s.page_size, shared)).int().to(DEVICE)
    entries = torch.tensor(lengths, dtype=torch.int32, device=DEVICE)
    qkv = torch.randn(len(lengths), s.heads + 2 * s.kv_heads, s.head_dim, dtype=BF16, device=DEVICE)
    zeros = torch.zeros(len(lengths), dtype=torch.int64, device=DEVICE)

    def body() -> None:
        if isinstance(attention, DecodePlanner):
            plan = attention.decode_plan(entries, table, zeros, zeros, zeros.int())
            for layer in range(s.layers):
                attention.attend(layer, qkv, plan)

    if isinstance(attention, DecodePlanner):
        return replayed(body) / s.layers
    ones = np.ones(len(lengths), np.int64)
    plan = attention.plan(Ragged(ones, np.array(lengths), table.cpu().numpy().astype(np.int64), ones * 0, ones * 0))
    return timed(lambda: attention.attend(0, qkv, plan), 3)


def prefill_time(attention: PagedAttention, rows: Sequence[tuple[int, int]], runs: int = 10) -> tuple[float, float]:
    """Seconds of attention a layer, and its operations."""
    s = attention.shape
    table = tables([n for _, n in rows], s.page_size)
    queries, entries = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    zeros = np.zeros(int(queries.sum()), np.int64)
    plan = attention.plan(Ragged(queries, entries, table, zeros, zeros))
    qkv = torch.randn(len(zeros), s.heads + 2 * s.kv_heads, s.head_dim, dtype=BF16, device=DEVICE)

    def body() -> None:
        for layer in range(s.layers):
            attention.attend(layer, qkv, plan)

    seconds = (timed(body, runs) if attention.name == "torch" else replayed(body, runs)) / s.layers
    pairs = sum(q * n - q * (q - 1) / 2 for q, n in rows)
    return seconds, 4 * pairs * s.heads * s.head_dim


def attention_table() -> None:
    """Prefill and decode of each back end that is here."""
    prefills = (
        ("512 new on 8,192", ((512, 8704),)),
        ("8 x 512 new on 8,192", ((512, 8704),) * 8),
        ("4,096 fresh", ((4096, 4096),)),
        ("64 x 20 on 1,024", ((20, 1044),) * 64),
    )
    decodes = (
        ("1 x 1,024", [1024]),
        ("1 x 16,384", [16384]),
        ("64 x 1,024", [1024] * 64),
        ("256 x 1,024", [1024] * 256),
        ("64 x 4,096", [4096] * 64),
        ("60 x 512 and 4 x 16,384", [512] * 60 + [16384] * 4),
    )  # fmt: skip
    for heads in (32, 16):
        print(f"\nattention a layer, {heads}/8/128, bf16: us, and TFLOP/s or GB/s")
        for name, page in (("flash", 256), ("triton", 64), *((("torch", 64),) if heads == 32 else ())):
            try:
                attention = opened(name, 1 if name == "torch" else 4, 270_000, heads, 8, page)
            except BackendUnavailable as e:
                print(f"{name}: {e}")
                continue
            for what, rows in prefills if name != "torch" else (prefills[0], prefills[3]):
                seconds, work = prefill_time(attention, rows, 2 if name == "torch" else 10)
                print(
                    f"{name:8} prefill {what:26} {seconds * 1e6:9.1f} {work / seconds / 1e12:8.0f} TFLOP/s", flush=True
                )
            for what, lengths in decodes if name != "torch" else decodes[:3]:
                seconds = decode_time(attention, lengths)
                rate = sum(lengths) * 2 * 8 * 128 * 2 / seconds / 1e9
                print(f"{name:8} decode  {what:26} {seconds * 1e6:9.1f} {rate:8.0f} GB/s", flush=True)
            del attention
            torch.cuda.empty_cache()


def shared_table() -> None:
    """64 branches of a long prefix, with and without reading it together."""
    print("\n64 branches of a prefix and 64 entries each, attention a layer: us apart, us together, ratio")
    least = division.LEAST_SHARED
    for heads in (32, 16):
        for prefix in (1024, 8192, 32768):
            attention = opened("triton", 4, prefix + 64 * 64, heads, 8, 64)
            times = []
            for division.LEAST_SHARED in (1 << 30, least):
                times.append(decode_time(attention, [prefix + 64] * 64, prefix // 64))
            print(
                f"{heads}/8/128 {prefix:6} {times[0] * 1e6:9.1f} {times[1] * 1e6:9.1f} {times[0] / times[1]:6.1f}",
                flush=True,
            )
            del attention
            torch.cuda.empty_cache()


class RandomWeights:
    """As `weights.Checkpoint`, of a shape."""

    def __init__(self, config: ModelConfig) -> None:
        self._shapes = dict(config.tensors())
        self._random = torch.Generator(DEVICE).manual_seed(0)

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def get(self, name: str) -> torch.Tensor:
        shape = self._shapes[name]
        if len(shape) == 1:
            return torch.ones(shape, dtype=BF16, device=DEVICE)
        return torch.randn(shape, generator=self._random, dtype=BF16, device=DEVICE) * shape[-1] ** -0.5


def config_of(shape: Shape) -> ModelConfig:
    raw = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5}
    return ModelConfig.parse(raw | asdict(shape) | {"torch_dtype": "bfloat16"}, {}, "here")


def step_table() -> None:
    """Whole decode steps at 1,024 entries, the most probable token drawn within the graph."""
    read = read_speed()
    print("\nwhole decode step, context 1,024, greedy, ms: graph, what reading weights and K/V takes, attention alone")
    print(f"reading: {read / 1e9:.0f} GB/s")
    for name, batches in STEPS:
        shape = SHAPES[name]
        config = config_of(shape)
        model = Transformer(config, RandomWeights(config), BF16)  # type: ignore[arg-type]
        size = (
            sum(
                np.prod(s)
                for n, s in config.tensors()
                if not n.endswith("embed_tokens.weight") or shape.tie_word_embeddings
            )
            * 2
        )
        for batch in batches:
            attention = opened("triton", shape.num_hidden_layers, batch * 1024, shape.num_attention_heads, 8, 64)
            seconds = step_time(model, attention, [1024] * batch)
            kv = batch * 1024 * 2 * 8 * 128 * 2 * shape.num_hidden_layers
            alone = decode_time(attention, [1024] * batch) * shape.num_hidden_layers
            print(
                f"{name:10} {batch:4} {seconds * 1e3:8.3f} {(size + kv) / read * 1e3:8.3f} {alone * 1e3:8.3f}",
                flush=True,
            )
            del attention
            torch.cuda.empty_cache()
        if name == "llama-1b":
            attention = opened("triton", shape.num_hidden_layers, 8192 + 64 * 64, shape.num_attention_heads, 8, 64)
            least, times = division.LEAST_SHARED, []
            for division.LEAST_SHARED in (1 << 30, least):
                times.append(step_time(model, attention, [8192 + 64] * 64, 8192 // 64))
            print(
                f"{name}, 64 branches of 8,192: apart {times[0] * 1e3:.3f}, together {times[1] * 1e3:.3f}", flush=True
            )
        del model
        torch.cuda.empty_cache()


def step_time(model: Transformer, attention: PagedAttention, lengths: Sequence[int], shared: int = 0) -> float:
    s = attention.shape
    assert isinstance(attention, DecodePlanner)
    planner: Any = attention
    table = torch.from_numpy(tables(lengths, s.page_size, shared)).int().to(DEVICE)
    entries = torch.tensor(lengths, dtype=torch.int32, device=DEVICE)
    positions = entries.long() - 1
    slots = table[:, -1].long() * s.page_size + (positions % s.page_size)
    ids = torch.randint(0, 1000, (len(lengths),), device=DEVICE)
    wanted = torch.arange(len(lengths), device=DEVICE)

    def body() -> torch.Tensor:
        plan = planner.decode_plan(entries, table, positions, slots, entries * 0)
        logits, _ = model.forward(ids, attention, plan, wanted)
        assert logits is not None
        return logits.argmax(-1)

    return replayed(body)


def main() -> None:
    parts = {"attention": attention_table, "shared": shared_table, "steps": step_table}
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name(DEVICE)}")
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()

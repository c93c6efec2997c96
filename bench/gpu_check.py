"""Check the GPU path on a machine with CUDA: Triton against the fp32 oracle in bf16, then whole models, as tables.

    PYTHONPATH=runtime:kernels:tests/kernels:. python bench/gpu_check.py [--layers N] [--steps N]

Needs torch, triton, tokenizers, safetensors, numpy; minijinja only for the conversation with `tiny`. Exit status 1 if
an error is above its bound.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from kernel_cases import CASES, ENTRIES, LONG, SHARED, Case, difference, entries_differ, moves_differ, pages_differ

from bench.model_shapes import SHAPES, write
from symphony.engine.local import LocalEngine
from symphony.engine.messages import GREEDY, Batch, Readings, Row, Sampling

BOUND = 5e-3
WIDE = (
    Case("32/8/128 decodes", tuple((1, n) for n in (500, 300, 129, 128, 17)), 32, 8, 128, 64),
    Case("32/8/128 prefill on context", ((200, 500), (64, 64), (1, 77)), 32, 8, 128, 64),
    Case("16/8/64 everything", ((130, 300), (20, 20), (1, 256), (1, 3)), 16, 8, 64, 16),
)


def kernels(device: torch.device) -> bool:
    """Relative errors of the Triton back end."""
    good = True
    print(f"\n{'case':34} {'bf16':>9} {'fp16':>9} {'fp32':>9}")
    for case in CASES + SHARED + LONG + WIDE:
        errors = [
            difference("triton", case, dtype=t, device=device) for t in (torch.bfloat16, torch.float16, torch.float32)
        ]
        good &= errors[0] < BOUND and errors[1] < BOUND and errors[2] < 1e-5
        print(f"{case.name:34} {errors[0]:9.1e} {errors[1]:9.1e} {errors[2]:9.1e}")
    for name, copies in ENTRIES:
        errors = [entries_differ("triton", copies, device, t) for t in (torch.bfloat16, torch.float16, torch.float32)]
        good &= errors[0] < BOUND and errors[1] < BOUND and errors[2] < 1e-5
        print(f"{'entries: ' + name:34} {errors[0]:9.1e} {errors[1]:9.1e} {errors[2]:9.1e}")
    moved = [moves_differ("triton", device, t) for t in (torch.bfloat16, torch.float32)]
    print(f"{'pages to the host and back':34} {moved[0]:9} {'':9} {moved[1]:9}")
    good &= not any(moved)
    exact = [pages_differ("triton", device, t) for t in (torch.bfloat16, torch.float32)]
    print(f"{'page copy, cleared slots':34} {exact[0]:9.1e} {'':9} {exact[1]:9.1e}")
    return good and not any(exact)


def generate(
    engine: LocalEngine, prompts: Sequence[Sequence[int]], steps: int, readings: Readings
) -> tuple[list[list[int]], float, float]:
    """Continuations, seconds of the prefill, median seconds of a decode step."""
    size = engine.info.page_size
    pages = -(-(max(map(len, prompts)) + steps) // size)
    tables = [list(range(1 + i * pages, 1 + (i + 1) * pages)) for i in range(len(prompts))]
    texts = [list(p) for p in prompts]
    done = [0] * len(prompts)
    times: list[float] = []
    for _ in range(steps):
        rows = [
            Row(t[d:], d, table, [len(t) - d - 1], readings) for t, d, table in zip(texts, done, tables, strict=True)
        ]
        begin = time.perf_counter()
        results = engine.run(Batch(rows))
        times.append(time.perf_counter() - begin)
        for i, result in enumerate(results):
            if result.error is not None or result.readings[0].sampled is None:
                raise RuntimeError(f"row {i}: {result.error}")
            done[i] = len(texts[i])
            texts[i].append(result.readings[0].sampled)
    decodes = sorted(times[1:])
    return [t[len(p) :] for t, p in zip(texts, prompts, strict=True)], times[0], decodes[len(decodes) // 2]


def tiny(device: str) -> bool:
    """`tiny` in fp32: CPU, torch on the GPU and Triton agree; in bf16 how far they do."""
    prompts = [[11 + (i * 37 + j * 101) % 4000 for j in range(3 + 9 * i)] for i in range(12)]
    runs = {}
    for where, dtype, attention in (
        ("cpu", "float32", "torch"),
        (device, "float32", "torch"),
        (device, "float32", "triton"),
        (device, "bfloat16", "triton"),
    ):
        engine = LocalEngine.load("tiny", device=where, dtype=dtype, attention=attention, pages=600, host_pages=0)
        for kind, sample in (("greedy", GREEDY), ("sampled", Sampling(temperature=0.8, top_p=0.9, seed=7))):
            runs[where, dtype, attention, kind] = generate(engine, prompts, 32, Readings(sample=sample))[0]
        engine.close()
    print(f"\n{'tiny, tokens equal to the CPU fp32':50} {'greedy':>8} {'sampled':>8}")
    good = True
    for key in [k for k in runs if k[3] == "greedy"][1:]:
        shares = []
        for kind in ("greedy", "sampled"):
            pairs = zip(runs["cpu", "float32", "torch", kind], runs[(*key[:3], kind)], strict=True)
            same = [x == y for a, b in pairs for x, y in zip(a, b, strict=True)]
            shares.append(sum(same) / len(same))
        good &= key[1] != "float32" or shares[0] > 0.98
        print(f"{' '.join(key[:3]):50} {shares[0]:8.3f} {shares[1]:8.3f}")
    return good


def talk(device: str) -> None:
    engine = LocalEngine.load("tiny", device=device, host_pages=0)
    print(f"\n{engine.describe()}")
    question = {"messages": [{"role": "user", "content": "Hello, who are you?"}], "add_generation_prompt": True}
    try:
        chat = engine.chat
        assert chat is not None
        prompt = engine.tokenizer.encode(chat.render(question), special=True)
    except ImportError:
        prompt = engine.tokenizer.encode(
            "<|im_start|>user\nHello, who are you?<|im_end|>\n<|im_start|>assistant\n", True
        )
    print(repr(engine.tokenizer.decode(generate(engine, [prompt], 16, Readings(sample=GREEDY))[0][0])))
    engine.close()


def timed(engine: LocalEngine, what: str, batch: int, steps: int, load: float, readings: Readings) -> list[list[int]]:
    """Print one line of the table; the continuations."""
    prompts = [[11 + (i * 37 + j * 101) % 128000 for j in range(128)] for i in range(batch)]
    generate(engine, prompts, 3, readings)  # compiles
    out, prefill, decode = generate(engine, prompts, steps, readings)
    name = f"{engine.describe()['attention']} batch {batch} {what}"
    print(f"{name:50} {load:8.2f} {prefill * 1e3:10.2f} {decode * 1e3:10.2f} {batch / decode:9.0f}", flush=True)
    return out


def billion(device: str, layers: int, steps: int) -> None:
    """Random weights of a 1B shape: time of steps, and how the back ends agree."""
    shape = dataclasses.replace(SHAPES["llama-1b"], num_hidden_layers=layers)
    with tempfile.TemporaryDirectory() as root:
        write(shape, Path(root), dtype=torch.bfloat16)
        outs = {}
        title = f"{layers} layers of the 1B shape, bf16, prompt 128"
        print(f"\n{title:50} {'load s':>8} {'prefill ms':>10} {'decode ms':>10} {'tok/s':>9}")
        for attention, batches, graphs in (
            ("torch", (4,), False),
            ("triton", (1, 4, 64, 256), False),
            ("triton", (1, 4, 64, 256), True),
        ):
            begin = time.perf_counter()
            engine = LocalEngine.load(root, device=device, attention=attention, host_pages=0, graphs=graphs)
            load = time.perf_counter() - begin
            for batch in batches:
                what = "greedy, graphs" if graphs else "greedy"
                outs[attention, batch] = timed(engine, what, batch, steps, load, Readings(sample=GREEDY))
            if graphs:
                drawn = Readings(sample=Sampling(temperature=0.8, seed=1), sampled_logprob=True)
                timed(engine, "drawn, with log-probabilities", batches[-1], steps, load, drawn)
                nucleus = Readings(sample=Sampling(temperature=0.8, top_p=0.9, seed=1))
                timed(engine, "top-p", batches[-1], steps, load, nucleus)
            engine.close()
            del engine
            torch.cuda.empty_cache()
        size = sum(file.stat().st_size for file in Path(root).glob("*.safetensors"))
        print(f"reading {size / 2**30:.2f} GiB of weights once at 4.8 TB/s takes {size / 4.8e9:.2f} ms")
    both = zip(outs["torch", 4], outs["triton", 4], strict=True)
    first = [x == y for a, b in both for x, y in zip(a[:4], b[:4], strict=True)]
    print(f"first four greedy tokens equal between torch and triton: {sum(first)} of {len(first)}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Check the GPU path.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--steps", type=int, default=32)
    arguments = parser.parse_args()
    import triton

    print(f"torch {torch.__version__}, triton {triton.__version__}, {torch.cuda.get_device_name(arguments.device)}")
    good = kernels(torch.device(arguments.device))
    good &= tiny(arguments.device)
    talk(arguments.device)
    billion(arguments.device, arguments.layers, arguments.steps)
    print("\nall within bounds" if good else "\nOUT OF BOUNDS")
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()

"""Check the GPU path on a machine with CUDA: every back end, forced, against the fp32 oracle, then `tiny`, as tables.

    PYTHONPATH=runtime:kernels:tests/kernels:. python bench/gpu_check.py

Needs torch, triton, tokenizers, safetensors, numpy; minijinja only for the conversation with `tiny`, flash-attn only to
check that too. Exit status 1 if an error is above its bound. How fast it all is: `gpu_speed.py`.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import torch
from kernel_cases import (
    CASES,
    DEEP,
    ENTRIES,
    LONG,
    MASKED,
    PADDED,
    SHARED,
    WINDOWED,
    Case,
    difference,
    entries_differ,
    moves_differ,
    pages_differ,
)

from symphony.engine.local import LocalEngine
from symphony.engine.messages import GREEDY, Batch, Readings, Row, Sampling
from symphony_kernels import BACKENDS
from symphony_kernels.choice import flash_problem

BOUND = 5e-3
WIDE = (
    Case("32/8/128 decodes", tuple((1, n) for n in (500, 300, 129, 128, 17)), 32, 8, 128, 64),
    Case("32/8/128 prefill on context", ((200, 500), (64, 64), (1, 77)), 32, 8, 128, 64),
    Case("16/8/64 everything", ((130, 300), (20, 20), (1, 256), (1, 3)), 16, 8, 64, 16),
)
FLASH = (
    Case("32/8/128 decodes", tuple((1, n) for n in (500, 300, 129, 128, 17)), 32, 8, 128, 256),
    Case("32/8/128 prefill on context", ((200, 500), (64, 64), (1, 77)), 32, 8, 128, 256),
    Case("32/8/128 small pages", ((200, 500), (64, 64), (1, 77)), 32, 8, 128, 64),
    Case("32/8/128 windowed", ((200, 500), (64, 64), (1, 77), (1, 400)), 32, 8, 128, 256, window=100),
    Case("16/8/128 masks beside", ((20, 300), (4, 64), (1, 77)), 16, 8, 128, 256, masks="first row"),
)
"""Of the one head size that a quick build of flash-attn has."""


def errors(job: tuple[str, Case, str]) -> float:
    """Of a back end, in a process of its own; kernels are compiled on many cores."""
    name, case, dtype = job
    return difference(name, case, dtype=getattr(torch, dtype), device=torch.device("cuda"))


def back_ends(names: Sequence[str]) -> bool:
    """Relative errors of every back end, forced, on prefill and decode."""
    cases = {"triton": CASES + SHARED + LONG + WINDOWED + MASKED + DEEP + PADDED + WIDE, "torch": WIDE, "flash": FLASH}
    jobs = [
        (name, case, dtype)
        for name in names
        for case in cases[name]
        for dtype in (("bfloat16",) if name == "flash" else ("bfloat16", "float32"))
    ]
    with ProcessPoolExecutor(8, multiprocessing.get_context("spawn")) as pool:
        found = dict(zip(jobs, pool.map(errors, jobs), strict=True))
    print(f"\n{'back end, case':50} {'bf16':>9} {'fp32':>9}")
    for name in names:
        for case in cases[name]:
            row = [found.get((name, case, dtype)) for dtype in ("bfloat16", "float32")]
            print(f"{name + ', ' + case.name:50} " + " ".join(f"{e:9.1e}" if e is not None else " " * 9 for e in row))
    return all(error < (BOUND if dtype == "bfloat16" else 1e-5) for (_, _, dtype), error in found.items())


def pages(device: torch.device) -> bool:
    """Copies of entries and pages."""
    good = True
    for name, copies in ENTRIES:
        found = [entries_differ("triton", copies, device, t) for t in (torch.bfloat16, torch.float32)]
        good &= found[0] < BOUND and found[1] < 1e-5
        print(f"{'entries: ' + name:50} {found[0]:9.1e} {found[1]:9.1e}")
    for what, differ in (("pages to the host and back", moves_differ), ("page copy, cleared slots", pages_differ)):
        found = [differ("triton", device, t) for t in (torch.bfloat16, torch.float32)]
        print(f"{what:50} {found[0]:9} {found[1]:9}")
        good &= not any(found)
    return good


def generate(engine: LocalEngine, prompts: Sequence[Sequence[int]], steps: int, readings: Readings) -> list[list[int]]:
    """Continuations."""
    size = engine.info.page_size
    pages = -(-(max(map(len, prompts)) + steps) // size)
    tables = [list(range(1 + i * pages, 1 + (i + 1) * pages)) for i in range(len(prompts))]
    texts = [list(p) for p in prompts]
    done = [0] * len(prompts)
    for _ in range(steps):
        rows = [
            Row(t[d:], d, table, [len(t) - d - 1], readings) for t, d, table in zip(texts, done, tables, strict=True)
        ]
        for i, result in enumerate(engine.run(Batch(rows))):
            if result.error is not None or result.readings[0].sampled is None:
                raise RuntimeError(f"row {i}: {result.error}")
            done[i] = len(texts[i])
            texts[i].append(result.readings[0].sampled)
    return [t[len(p) :] for t, p in zip(texts, prompts, strict=True)]


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
            runs[where, dtype, attention, kind] = generate(engine, prompts, 32, Readings(sample=sample))
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
    print(repr(engine.tokenizer.decode(generate(engine, [prompt], 16, Readings(sample=GREEDY))[0])))
    engine.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Check the GPU path.")
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    import triton

    device = torch.device(arguments.device)
    print(f"torch {torch.__version__}, triton {triton.__version__}, {torch.cuda.get_device_name(device)}")
    problem = flash_problem(torch.bfloat16, device)
    print(f"flash: {problem or 'there'}")
    good = back_ends([name for name in BACKENDS if name != "flash" or problem is None])
    good &= pages(device)
    good &= tiny(arguments.device)
    talk(arguments.device)
    print("\nall within bounds" if good else "\nOUT OF BOUNDS")
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()

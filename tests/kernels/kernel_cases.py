"""Ragged steps to try on a back end, and how to compare two of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from symphony_kernels import PagedAttention, PoolShape, Ragged, open_attention
from symphony_kernels.torch_ref import ReferenceAttention

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """Rows of (queries, entries in all) in the order of the step."""

    name: str
    rows: tuple[tuple[int, int], ...]
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    page_size: int = 16
    padding: int = 0
    shared: int = 0
    """Pages that all rows with so many begin with..."""
    split: int = 0
    """...the rows from this one on with others than the rows before; 0: all with the same."""
    window: int = 0
    """Entries that a query sees; 0: all."""
    uneven: bool = False
    """Whether windows differ between rows, as where positions leave gaps."""
    masks: str = ""
    """Which queries have masks, and of what kind: see `masks_of`."""


CASES = (
    Case("decodes", ((1, 130), (1, 70), (1, 5), (1, 1))),
    Case("many decodes", tuple((1, n) for n in range(90, 0, -2))),
    Case("one long decode", ((1, 400),)),
    Case("fresh prompts", ((33, 33), (30, 30), (17, 17), (2, 2)), padding=6),
    Case("equal fresh prompts", ((8, 8), (8, 8), (8, 8))),
    Case("appends", ((20, 150), (5, 33), (2, 16), (2, 17))),
    Case("everything", ((70, 200), (40, 40), (9, 64), (3, 3), (1, 100), (1, 16), (1, 1)), padding=3),
    Case("mha", ((5, 33), (1, 31)), heads=3, kv_heads=3),
    Case("mqa, wide heads", ((18, 40), (1, 64)), heads=6, kv_heads=1, head_dim=64),
    Case("big pages", ((20, 150), (1, 65), (1, 64), (1, 63)), page_size=64),
)
SHARED = (
    Case("decodes after a common prefix", ((1, 130), (1, 129), (1, 120), (1, 97)), shared=6),
    Case("appends after a common prefix", ((9, 140), (20, 120), (3, 99), (1, 130), (1, 97)), shared=6, padding=2),
    Case("forks just made", ((1, 81), (1, 81), (1, 81)), shared=5),
)
WINDOWED = (
    Case("windowed decodes", ((1, 130), (1, 70), (1, 33), (1, 20), (1, 5), (1, 1)), window=20),
    Case("a windowed long decode", ((1, 400),), window=150),
    Case("a window of one", ((20, 20), (3, 40), (1, 30)), window=1),
    Case("a window of a page", ((40, 40), (33, 70), (2, 16), (2, 17), (1, 17), (1, 16)), window=16, padding=2),
    Case(
        "everything windowed", ((70, 200), (40, 40), (9, 64), (3, 3), (1, 100), (1, 16), (1, 1)), window=31, padding=3
    ),
    Case("windowed, big pages", ((20, 150), (1, 65), (1, 64), (1, 63)), page_size=64, window=40),
    Case("windowed mqa", ((18, 40), (1, 64)), heads=6, kv_heads=1, head_dim=64, window=17),
    Case("a window as long as all", ((9, 140), (1, 130)), window=140),
    Case("windowed after a common prefix", ((9, 140), (1, 130), (1, 97), (1, 97)), shared=6, window=100),
)
MASKED = (
    Case("a tree of drafts", ((7, 60), (1, 40), (1, 5)), masks="tree"),
    Case("an old range is hidden", ((5, 133), (40, 40), (1, 130), (1, 70)), masks="hole"),
    Case("one masked row beside plain ones", ((20, 150), (5, 33), (1, 100), (1, 33)), masks="first row", padding=3),
    Case("all is hidden but the query", ((3, 70), (1, 66)), masks="nothing"),
    Case("masks and windows", ((9, 140), (1, 97)), masks="hole", window=40),
    Case("masks after a common prefix", ((9, 140), (3, 120), (1, 130), (1, 97)), shared=6, masks="tree"),
)
DEEP = (
    Case("many decodes after a long prefix", tuple((1, n) for n in (310, 290, 271, 258, 257)), heads=8, shared=16),
    Case(
        "other long prefixes",
        ((1, 290), (1, 300), (4, 290), (2, 280), (1, 281), (9, 40)),
        kv_heads=1,
        shared=16,
        split=2,
    ),
    Case("drafts after a long prefix", ((7, 300), (3, 290), (1, 280), (7, 30)), shared=16, masks="tree"),
)
PADDED = (
    Case("head size 96", ((20, 50), (1, 70), (1, 33)), head_dim=96),
    Case("head size 96, masks", ((5, 50), (1, 70)), head_dim=96, heads=3, kv_heads=3, masks="hole"),
    Case("head size 96, windowed", ((5, 50), (1, 70)), head_dim=96, window=30),
)
LONG = (
    Case("a long windowed row", ((330, 350), (330, 330), (1, 400)), window=200),
    Case("a long row", ((330, 350), (1, 400))),
    Case("a long row of head size 128", ((130, 300),), heads=2, kv_heads=1, head_dim=128),
)


def build(case: Case, seed: int = 0, scatter: bool = True) -> tuple[PoolShape, Ragged, torch.Tensor]:
    """The pool's shape, the step, and rope: [positions, head_dim / 2, 2]."""
    random = np.random.default_rng(seed)
    size = case.page_size
    counts = [-(-n // size) for _, n in case.rows]
    pages = 1 + sum(counts)
    order = 1 + (random.permutation(pages - 1) if scatter else np.arange(pages - 1))
    table = np.zeros((len(case.rows), max(counts)), np.int64)
    at = 0
    for i, n in enumerate(counts):
        table[i, :n] = order[at : at + n]
        table[i, n:] = table[i, n - 1]
        at += n
    if case.shared:
        for group in (range(case.split), range(case.split, len(case.rows))):
            for i in [i for i in group if counts[i] > case.shared]:
                table[i, : case.shared] = table[group[0], : case.shared]
    positions, slots = [], []
    for i, (queries, entries) in enumerate(case.rows):
        p = np.arange(entries - queries, entries)
        positions.append(p)
        slots.append(table[i, p // size] * size + p % size)
    pad = np.zeros(case.padding, np.int64)
    rows = Ragged(
        np.array([q for q, _ in case.rows]),
        np.array([n for _, n in case.rows]),
        table,
        np.concatenate([*positions, pad]),
        np.concatenate([*slots, pad]),
        np.maximum(np.concatenate([*positions, pad]) + 1 - case.window, 0) if case.window else None,
        *(masks_of(case, random) if case.masks else (None, None)),
    )
    if case.uneven and rows.firsts is not None:
        rows.firsts[rows.starts[1:]] //= 2
    angles = torch.outer(torch.arange(512).double(), 10000 ** (-torch.arange(0, case.head_dim, 2) / case.head_dim))
    rope = torch.stack([angles.cos(), angles.sin()], -1).float()
    return PoolShape(2, pages, size, case.heads, case.kv_heads, case.head_dim), rows, rope


def masks_of(case: Case, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """`Ragged.masks` and `Ragged.mask_of`.

    "tree": a new token sees the context and a random choice of the new ones before it. "hole": a third of the entries
    is hidden, for the even queries of a row. "first row": random bits for the first row only. "nothing": no bit is set.
    """
    seen: list[np.ndarray] = []
    mask_of: list[int] = []
    for i, (queries, entries) in enumerate(case.rows):
        for q in range(queries):
            bits = np.zeros(max(n for _, n in case.rows), bool)
            if case.masks == "tree":
                bits[: entries - queries] = True
                bits[entries - queries : entries] = random.random(queries) < 0.5
            elif case.masks == "hole":
                bits[:] = True
                bits[entries // 3 : 2 * entries // 3] = False
            elif case.masks == "first row":
                bits[:] = random.random(len(bits)) < 0.6
            plain = (case.masks == "hole" and q % 2) or (case.masks == "first row" and i)
            mask_of.append(-1 if plain else len(seen))
            if not plain:
                seen.append(bits)
    packed = np.packbits(np.stack(seen), axis=1, bitorder="little")
    packed = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 4)))
    return packed.view("<u4"), np.array(mask_of + [-1] * case.padding)


def fill(backend: PagedAttention, reference: ReferenceAttention, seed: int = 1) -> None:
    """The same random K/V in both pools, every layer."""
    s = reference.shape
    random = torch.Generator().manual_seed(seed)
    reference.pool.copy_(torch.randn(reference.pool.shape, generator=random))
    pool = backend.pool  # type: ignore[attr-defined]
    if isinstance(pool, list):  # [layers][2, kv_heads, pages, page_size, head_dim]
        for i in range(s.layers):
            pool[i].copy_(reference.pool[:, i].permute(1, 3, 0, 2, 4))
    else:
        pool.copy_(reference.pool)


def page_major(backend: PagedAttention) -> torch.Tensor:
    """A back end's pool as [pages, layers, 2, page_size, kv_heads, head_dim]."""
    pool = backend.pool  # type: ignore[attr-defined]
    return torch.stack([p.permute(2, 0, 3, 1, 4) for p in pool], 1) if isinstance(pool, list) else pool.cpu()


def difference(
    name: str, case: Case, *, scatter: bool = True, dtype: torch.dtype = torch.float32, device: torch.device = CPU
) -> float:
    """Largest relative error (Frobenius) against the fp32 oracle: of each layer's attention, and of the pool."""
    shape, rows, rope = build(case, scatter=scatter)
    scale = case.head_dim**-0.5
    oracle = ReferenceAttention(shape, rope, scale, torch.float32, CPU)
    backend = open_attention(name, shape, rope.to(device), scale, dtype, device)
    fill(backend, oracle)
    if dtype != torch.float32:
        oracle.pool.copy_(oracle.pool.to(dtype))
    plans = backend.plan(rows), oracle.plan(rows)
    worst = 0.0
    for layer in range(shape.layers):
        qkv = torch.randn(rows.tokens, case.heads + 2 * case.kv_heads, case.head_dim).to(dtype)
        mine, theirs = qkv.clone().to(device), qkv.clone().float()
        backend.write(layer, mine, plans[0])
        oracle.write(layer, theirs, plans[1])
        real = int(rows.query_lens.sum())
        windowed = case.window > 0 and layer > 0  # the first layer sees everything
        got = backend.attend(layer, mine, plans[0], windowed)
        assert bool(got.isfinite().all())
        worst = max(worst, relative(got[:real], oracle.attend(layer, theirs, plans[1], windowed)[:real]))
    assert getattr(backend, "calls", 1) > 0, "flash-attn was never called"
    worst = max(worst, relative(page_major(backend)[1:], oracle.pool[1:]))
    return worst


def pages_differ(name: str, device: torch.device = CPU, dtype: torch.dtype = torch.float32) -> float:
    """The same after a page copy and after clearing slots; exact."""
    shape, rows, rope = build(CASES[0])
    oracle = ReferenceAttention(shape, rope, 1.0, torch.float32, CPU)
    backend = open_attention(name, shape, rope.to(device), 1.0, dtype, device)
    fill(backend, oracle)
    oracle.pool.copy_(oracle.pool.to(dtype))
    for each in (backend, oracle):
        each.copy_pages([1, 2], [5, 3])
        each.clear_slots([int(rows.slots[0]), 40])
    return float((page_major(backend).float() - oracle.pool).abs().max())


ENTRIES = (
    # (first source slot, first target slot, entries, shift)
    ("copies", ((17, 52, 9, 0), (40, 96, 3, 0))),
    ("turned on", ((17, 52, 9, 33), (64, 112, 16, 400))),
    ("turned back", ((17, 52, 9, -33), (64, 112, 16, -400))),
    ("all kinds", ((16, 112, 16, 7), (33, 81, 1, -1), (35, 98, 5, 0))),
    ("overlapping", ((16, 20, 10, 3), (20, 36, 6, -2), (40, 16, 4, 0))),
)


def spread(copies: tuple[tuple[int, int, int, int], ...]) -> list[np.ndarray]:
    """Sources, targets, shifts of every single entry."""
    each = [(a + i, b + i, shift) for a, b, count, shift in copies for i in range(count)]
    return [np.array(column, np.int64) for column in zip(*each, strict=True)]


def entries_differ(
    name: str,
    copies: tuple[tuple[int, int, int, int], ...],
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
) -> float:
    """Relative error of a copy of entries against the oracle's; infinite if anything but turned keys differs at all."""
    shape, _, rope = build(CASES[0])
    oracle = ReferenceAttention(shape, rope, 1.0, torch.float32, CPU)
    backend = open_attention(name, shape, rope.to(device), 1.0, dtype, device)
    fill(backend, oracle)
    oracle.pool.copy_(oracle.pool.to(dtype))
    sources, targets, shifts = spread(copies)
    oracle.copy_entries(sources, targets, shifts)
    backend.copy_entries(sources, targets, shifts)
    mine = page_major(backend).float()
    exact = torch.ones_like(oracle.pool, dtype=torch.bool)
    at = torch.from_numpy(targets[shifts != 0])
    exact[at // shape.page_size, :, 0, at % shape.page_size] = False
    if not torch.equal(mine[exact], oracle.pool[exact]):
        return float("inf")
    return relative(mine, oracle.pool)


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """Frobenius."""
    a, b = a.float().cpu(), b.float().cpu()
    return float((a - b).norm() / b.norm())


def moves_differ(name: str, device: torch.device = CPU, dtype: torch.dtype = torch.float32) -> int:
    """How many elements differ after pages went to the host and back to others; and the format on the host."""
    shape, _, rope = build(CASES[0])
    oracle = ReferenceAttention(shape, rope, 1.0, torch.float32, CPU)
    backend = open_attention(name, shape, rope.to(device), 1.0, dtype, device)
    fill(backend, oracle)
    before = page_major(backend).clone()
    host = torch.zeros(6, *before.shape[1:], dtype=dtype, pin_memory=device.type == "cuda")
    backend.save_pages([3, 1, 7], host, [5, 0, 2])
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    wrong = int((host[[5, 0, 2]] != before[[3, 1, 7]]).sum()) + int((host[[1, 3, 4]] != 0).sum())
    backend.load_pages([2, 9], host, [5, 2])
    before[[2, 9]] = before[[3, 7]]
    wrong += int((page_major(backend) != before).sum())
    backend.fill_pages([4, 1], 1e4)
    before[[4, 1]] = 1e4
    return wrong + int((page_major(backend) != before).sum())

"""What runs under Triton's interpreter, as a program: a number and what it is of in each line.

TRITON_INTERPRET=1 python tests/kernels/kernel_interpreted.py triton|flash
"""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from kernel_cases import (
    CASES,
    CPU,
    DEEP,
    ENTRIES,
    MASKED,
    PADDED,
    WINDOWED,
    Case,
    build,
    difference,
    entries_differ,
    moves_differ,
    pages_differ,
    relative,
)

from symphony_kernels import open_attention, small_ops


def small_ops_differ(device: torch.device = CPU, dtype: torch.dtype = torch.float32) -> float:
    """Largest relative error of the fused operations against what they are written as."""
    ops = small_ops(device)
    assert ops is not None
    random = torch.Generator().manual_seed(3)
    x, delta, both, gain = (torch.randn(3, n, generator=random).to(dtype) for n in (1200, 1200, 2600, 1200))
    mine = x.clone().to(device)
    normed = ops.add_norm(mine, delta.to(device), gain[0].to(device), 1e-5)
    summed = (x.float() + delta.float()).to(dtype)
    expected = F.rms_norm(summed.float(), (1200,), gain[0].float(), 1e-5)
    alone = ops.add_norm(summed.to(device), None, gain[0].to(device), 1e-5)
    gate, up = both.float().chunk(2, 1)
    heads = torch.randn(5, 7, 96, generator=random).to(dtype)
    gains = torch.randn(4, 96, generator=random).to(dtype)
    turned = heads.clone().to(device)
    ops.norm_heads(turned, gains.to(device), 1e-5)
    wanted = heads.float()
    wanted[:, :4] = F.rms_norm(wanted[:, :4], (96,), None, 1e-5) * gains.float()
    pairs = ((mine, summed), (normed, expected), (alone, expected), (turned, wanted))
    return max(relative(a, b) for a, b in (*pairs, (ops.gate(both.to(device)), F.silu(gate) * up)))


def shared_items() -> int:
    """Items in which several rows of a step read the same keys."""
    from symphony_kernels.triton.plan import Plan

    shape, rows, rope = build(DEEP[0])
    plan = open_attention("triton", shape, rope, 1.0, torch.float32, CPU).plan(rows)
    assert isinstance(plan, Plan)
    assert plan.full.decodes is not None
    items = plan.full.decodes.items
    return int(((items[0] >= 0) & (items[2] > 1)).sum())


FLASH = (
    Case("prompts and appends", ((40, 40), (20, 150), (5, 33))),
    Case("decodes on large pages", ((1, 500), (1, 257), (1, 256), (1, 3)), page_size=256),
    Case("both, windowed", ((20, 300), (3, 3), (1, 300), (1, 30)), page_size=256, window=40, padding=3),
    Case("small pages", ((20, 100), (3, 3), (1, 100), (1, 30))),
    Case("windows that differ", ((20, 300), (1, 100), (1, 50)), page_size=256, window=40, uneven=True),
    Case("masks beside", ((5, 133), (1, 100), (4, 40), (1, 300)), page_size=256, masks="first row", padding=1),
    Case("head size 96 and flash", ((5, 133), (1, 100), (1, 30)), head_dim=96, page_size=256),
)
NAMES = (
    *("decodes", "one long decode", "appends", "mha", "mqa, wide heads", "big pages"),
    *("windowed decodes", "a windowed long decode", "windowed mqa", "a window as long as all"),
    *("a tree of drafts", "one masked row beside plain ones", "all is hidden but the query", "masks and windows"),
    *("many decodes after a long prefix", "other long prefixes", "drafts after a long prefix"),
    *("head size 96", "head size 96, masks", "head size 96, windowed"),
)
"""The interpreter takes about a second of a core a case; what the others hold is in these too, or is run on a GPU."""
INTERPRETED = tuple(case for case in CASES + WINDOWED + MASKED + DEEP + PADDED if case.name in NAMES)

if __name__ == "__main__":
    torch.set_num_threads(1)
    name = sys.argv[1]
    if name == "flash":
        import flash_standin

        flash_standin.install()
        for each in FLASH:
            before = dict(flash_standin.CALLS)
            error = difference(name, each, dtype=torch.float16)
            calls = [str(flash_standin.CALLS[kind] - before[kind]) for kind in before]
            print(f"{error:.2e} {each.name} {' '.join(calls)}", flush=True)
        raise SystemExit
    for each in INTERPRETED:
        print(f"{difference(name, each):.2e} {each.name}", flush=True)
    print(f"{pages_differ(name):.2e} pages", flush=True)
    for each in ENTRIES:
        print(f"{entries_differ(name, each[1]):.2e} entries {each[0]}", flush=True)
    print(f"{moves_differ(name)} moves", flush=True)
    print(f"{small_ops_differ():.2e} small ops", flush=True)
    print(f"{shared_items()} items shared", flush=True)

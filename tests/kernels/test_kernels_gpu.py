"""Back ends on a GPU: attention, fused operations, graphs, and copies of entries and pages, against the oracle.
`pytest -m gpu`; all cases, in all types: bench/gpu_check.py.
"""

from __future__ import annotations

import pytest
import torch
from kernel_cases import (
    CASES,
    DEEP,
    ENTRIES,
    MASKED,
    Case,
    build,
    difference,
    entries_differ,
    moves_differ,
    page_major,
    pages_differ,
    relative,
)
from kernel_interpreted import small_ops_differ

from symphony_kernels import DecodePlanner, choice, open_attention

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.fixture(scope="module")
def device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device())


@pytest.mark.parametrize("name", choice.BACKENDS)
def test_attention(name, device):
    dtype = torch.bfloat16
    if problem := choice.find_problem(name, 128, 256, dtype, device):
        pytest.skip(problem)
    cases = (
        Case("prefill", ((200, 500), (64, 64), (1, 77)), 16, 8, 128, 256),
        Case("decode", ((1, 500), (1, 129), (1, 17)), 16, 8, 128, 256),
        *((MASKED[0], DEEP[0], DEEP[2]) if name == "triton" else ()),
    )
    for case in cases:
        assert difference(name, case, dtype=dtype, device=device) < 5e-3


def test_fused_operations(device):
    assert small_ops_differ(device) < 1e-6
    assert small_ops_differ(device, torch.bfloat16) < 5e-3


def test_a_graph_divides_its_work_by_what_its_tensors_hold_then(device):
    """Captured for short rows apart, replayed for long ones of which most begin with the same pages."""
    lengths = (500, 330, 300, 290, 280, 271, 40, 1)
    case = Case("", tuple((1, n) for n in lengths), 8, 2, 64, 16, shared=16)
    shape, rows, rope = build(case)
    attention = open_attention("triton", shape, rope.to(device), 0.2, torch.float32, device)
    assert isinstance(attention, DecodePlanner)
    attention.pool.normal_()
    table = torch.from_numpy(rows.block_table).int().to(device)
    entries, firsts = (torch.full((8,), n, dtype=torch.int32, device=device) for n in (3, 0))
    positions = torch.zeros(8, dtype=torch.int64, device=device)
    qkv = torch.randn(8, 12, 64, device=device)

    def body() -> torch.Tensor:
        return attention.attend(0, qkv, attention.decode_plan(entries, table, positions, positions, firsts))

    body()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = body()
    for now in ((3,) * 8, lengths, lengths[::-1]):
        entries.copy_(torch.tensor(now))
        graph.replay()
        expected = []
        for i, n in enumerate(now):
            kv = attention.pool[table[i].long(), 0].transpose(0, 1).flatten(1, 2)[:, :n]
            k, v = kv.repeat_interleave(4, 2)
            weights = torch.softmax(torch.einsum("hd,nhd->hn", qkv[i, :8], k) * 0.2, 1)
            expected.append(torch.einsum("hn,nhd->hd", weights, v).flatten())
        assert relative(out, torch.stack(expected)) < 1e-5


@pytest.mark.parametrize("name", ["torch", "triton"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", ENTRIES, ids=lambda c: c[0])
def test_entries_are_copied_and_turned(name, dtype, case, device):
    assert entries_differ(name, case[1], device, dtype) < (1e-6 if dtype == torch.float32 else 5e-3)


@pytest.mark.parametrize("name", ["torch", "triton"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_pages_are_copied_saved_loaded_and_filled(name, dtype, device):
    assert pages_differ(name, device, dtype) == 0
    assert moves_differ(name, device, dtype) == 0


def test_another_stream_sees_whole_pages(device):
    """Saved on a stream of its own after the event of what wrote them, however long that takes."""
    shape, _, rope = build(CASES[0])
    backend = open_attention("triton", shape, rope.to(device), 1.0, torch.bfloat16, device)
    host = torch.zeros(shape.pages, *page_major(backend).shape[1:], dtype=torch.bfloat16, pin_memory=True)
    pages = list(range(1, shape.pages))
    stream, busy = torch.cuda.Stream(device), torch.randn(4096, 4096, device=device)
    for value in range(1, 5):
        for _ in range(20):
            busy = busy @ busy * 0.01
        backend.fill_pages(pages, value)
        event = torch.cuda.Event()
        event.record()
        with torch.cuda.stream(stream):
            stream.wait_event(event)
            backend.save_pages(pages, host, pages)
            stream.synchronize()
        assert bool((host[1:] == value).all())

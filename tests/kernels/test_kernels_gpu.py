"""Triton on a GPU: copies of entries and pages to and from the host, against the oracle. `pytest -m gpu`."""

from __future__ import annotations

import pytest
import torch
from kernel_cases import CASES, ENTRIES, build, entries_differ, moves_differ, page_major, pages_differ

from symphony_kernels import open_attention

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.fixture(scope="module")
def device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device())


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

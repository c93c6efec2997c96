"""Which back end runs, why one cannot, and in which pages it keeps K/V. Knows no kernel."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Mapping

import torch

from symphony_kernels.interface import BackendUnavailable

BACKENDS = ("flash", "triton", "torch")

MEASURED: Mapping[str, Mapping[str, float]] = {
    "prefill, 512 new on 8,192": {"flash": 254.6, "triton": 170.8, "torch": 3727.0},
    "prefill, 64 x 20 new on 1,024": {"flash": 559.6, "triton": 117.7, "torch": 34191.6},
    "decode, 1 x 1,024": {"flash": 13.1, "triton": 10.2, "torch": 635.5},
    "decode, 64 x 1,024": {"flash": 75.2, "triton": 73.0, "torch": 29895.4},
}
"""Microseconds of attention a layer, 32/8 heads of 128 elements, bf16, on an H200 (bench/gpu_speed.py; docs/log.md):
flash-attn 2.8.3 with its gathering of pages, Triton 3.6, plain torch."""


def ranked(measured: Mapping[str, Mapping[str, float]] = MEASURED) -> list[str]:
    """Back ends, the one first that takes least time over all rows, each in proportion to the row's best."""

    def cost(name: str) -> float:
        return sum(row[name] / min(row.values()) for row in measured.values())

    return sorted(BACKENDS, key=cost)


def choose(
    head_dim: int,
    page_size: int,
    dtype: torch.dtype,
    device: torch.device,
    problem: Callable[[str, int, int, torch.dtype, torch.device], str | None] | None = None,
) -> str:
    """The fastest back end that can run. On a CPU that is torch."""
    problem = problem or find_problem
    if device.type == "cpu":
        return "torch"
    return next(name for name in ranked() if problem(name, head_dim, page_size, dtype, device) is None)


def check(name: str, head_dim: int, page_size: int, dtype: torch.dtype, device: torch.device) -> None:
    """Raises BackendUnavailable, with the reason, for a back end that cannot run."""
    if problem := find_problem(name, head_dim, page_size, dtype, device):
        raise BackendUnavailable(problem)


def find_problem(name: str, head_dim: int, page_size: int, dtype: torch.dtype, device: torch.device) -> str | None:
    """Why a back end cannot run; None if it can."""
    if name == "torch":
        return None
    if name == "triton":
        return triton_problem(device) or _triton_shapes("triton", head_dim, page_size)
    if name == "flash":
        if problem := triton_problem(device):
            return f"the flash attention leaves some work to Triton: {problem}"
        return _triton_shapes("flash", head_dim, page_size) or flash_problem(dtype, device)
    return f"there is no attention back end {name!r}; there are {', '.join(BACKENDS)}"


def triton_problem(device: torch.device) -> str | None:
    """Why Triton cannot run on this device; None if it can."""
    if importlib.util.find_spec("triton") is None:
        return "the triton attention needs the triton package, which is not installed"
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"the triton attention needs a CUDA device, not {device.type}"
    return None


def flash_problem(dtype: torch.dtype, device: torch.device) -> str | None:
    """Why flash-attn cannot be used; None if it can."""
    if dtype not in (torch.bfloat16, torch.float16):
        return f"the flash attention needs bfloat16 or float16, not {str(dtype).removeprefix('torch.')}"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        return f"the flash attention needs an Ampere GPU or later, not {torch.cuda.get_device_name(device)}"
    try:
        importlib.import_module("flash_attn")
    except ImportError as e:
        return f"the flash attention needs the flash-attn package (pip install 'symphony-lip[flash]'): {e}"
    return None


def page_size(name: str | None, device: torch.device) -> int:
    """Entries a page where nobody asks for another size. `name`: the back end that is forced, if any."""
    if device.type == "cpu":
        return 16
    return 256 if name == "flash" else 64  # flash-attn decodes on pages of multiples of 256 only


def _triton_shapes(name: str, head_dim: int, page_size: int) -> str | None:
    if not 16 <= page_size <= 256 or page_size & (page_size - 1):
        return f"the {name} attention needs page sizes that are powers of two from 16 to 256, not {page_size}"
    if not 16 <= head_dim <= 256 or head_dim % 16:
        return f"the {name} attention needs head sizes that are multiples of 16 up to 256, not {head_dim}"
    return None

"""Paged attention and its friends: one interface (`interface.py`), several back ends, chosen by `open_attention`.

    torch    on a CPU `torch_cpu` (fast), elsewhere `torch_ref` (the oracle: plain and slow)
    triton   on CUDA

Knows nothing of models, files or scheduling; imports torch and triton only.
"""

from __future__ import annotations

import importlib.util
import os

import torch

from symphony_kernels.interface import BackendUnavailable, DecodePlanner, PagedAttention, PoolShape, Ragged, SmallOps

BACKENDS = ("flash", "triton", "torch")

__all__ = [
    "BACKENDS",
    "BackendUnavailable",
    "DecodePlanner",
    "PagedAttention",
    "PoolShape",
    "Ragged",
    "SmallOps",
    "open_attention",
    "small_ops",
]


def open_attention(
    name: str | None, shape: PoolShape, rope: torch.Tensor, scale: float, dtype: torch.dtype, device: torch.device
) -> PagedAttention:
    """A back end with its pool, on `device`.

    `name`: one of BACKENDS, or None for the best one. `rope`: [positions, head_dim / 2, 2] fp32 on the device, cosine
    and sine. `scale` multiplies scores. Raises BackendUnavailable, with the reason, if the named one cannot run.
    """
    if name is None:
        name = "triton" if device.type == "cuda" and _triton_problem(device) is None else "torch"
    if name == "torch":
        if device.type == "cpu" and dtype == torch.float32:
            from symphony_kernels.torch_cpu import CpuAttention

            return CpuAttention(shape, rope, scale)
        from symphony_kernels.torch_ref import ReferenceAttention

        return ReferenceAttention(shape, rope, scale, dtype, device)
    if name == "triton":
        if problem := _triton_problem(device):
            raise BackendUnavailable(problem)
        from symphony_kernels.triton.backend import TritonAttention

        return TritonAttention(shape, rope, scale, dtype, device)
    if name == "flash":
        if problem := _triton_problem(device):
            raise BackendUnavailable(f"the flash attention leaves some work to Triton: {problem}")
        from symphony_kernels.flash import FlashAttention

        return FlashAttention(shape, rope, scale, dtype, device)
    raise BackendUnavailable(f"there is no attention back end {name!r}; there are {', '.join(BACKENDS)}")


def small_ops(device: torch.device) -> SmallOps | None:
    """Fused kernels for what lies between a model's products; None where torch's own are as good."""
    if _triton_problem(device) is not None:
        return None
    from symphony_kernels.triton.fused import TritonSmallOps

    return TritonSmallOps()


def _triton_problem(device: torch.device) -> str | None:
    """Why Triton cannot run on this device; None if it can."""
    if importlib.util.find_spec("triton") is None:
        return "the triton attention needs the triton package, which is not installed"
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"the triton attention needs a CUDA device, not {device.type}"
    return None

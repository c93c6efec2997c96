"""Paged attention and its friends: one interface (`interface.py`), several back ends, chosen by `open_attention`.

    torch    on a CPU `torch_cpu` (fast), elsewhere `torch_ref` (the oracle: plain and slow)
    triton   on CUDA; the default there
    flash    on CUDA, the flash-attn package for prefills and decodes without masks, Triton for the rest

Knows nothing of models, files or scheduling; imports torch and triton only.
"""

from __future__ import annotations

import torch

from symphony_kernels import choice
from symphony_kernels.choice import BACKENDS, page_size
from symphony_kernels.interface import BackendUnavailable, DecodePlanner, PagedAttention, PoolShape, Ragged, SmallOps

__all__ = [
    "BACKENDS",
    "BackendUnavailable",
    "DecodePlanner",
    "PagedAttention",
    "PoolShape",
    "Ragged",
    "SmallOps",
    "open_attention",
    "page_size",
    "small_ops",
]


def open_attention(
    name: str | None, shape: PoolShape, rope: torch.Tensor, scale: float, dtype: torch.dtype, device: torch.device
) -> PagedAttention:
    """A back end with its pool, on `device`.

    `name`: one of BACKENDS, or None for the fastest one. `rope`: [positions, head_dim / 2, 2], fp32, on the device:
    cosine and sine. `scale` multiplies scores. Raises BackendUnavailable, with the reason, if the named one cannot run.
    """
    if name is None:
        name = choice.choose(shape.head_dim, shape.page_size, dtype, device)
    choice.check(name, shape.head_dim, shape.page_size, dtype, device)
    if name == "flash":
        from symphony_kernels.flash import FlashAttention

        return FlashAttention(shape, rope, scale, dtype, device)
    if name == "triton":
        from symphony_kernels.triton.backend import TritonAttention

        return TritonAttention(shape, rope, scale, dtype, device)
    if device.type == "cpu" and dtype == torch.float32:
        from symphony_kernels.torch_cpu import CpuAttention

        return CpuAttention(shape, rope, scale)
    from symphony_kernels.torch_ref import ReferenceAttention

    return ReferenceAttention(shape, rope, scale, dtype, device)


def small_ops(device: torch.device) -> SmallOps | None:
    """Fused kernels for what lies between a model's products; None where torch's own are as good."""
    if choice.triton_problem(device) is not None:
        return None
    from symphony_kernels.triton.fused import TritonSmallOps

    return TritonSmallOps()

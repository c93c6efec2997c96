"""A pool whose pages are contiguous runs, in the format that leaves the device; see `interface`, Layouts.

What the back ends with such a pool have in common, in plain torch. It knows nothing of attention.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from symphony_kernels.interface import PoolShape


class PageMajorPool:
    """`pool`: [pages, layers, 2, page_size, kv_heads, head_dim]."""

    def __init__(self, shape: PoolShape, dtype: torch.dtype, device: torch.device) -> None:
        s = shape
        self.shape = shape
        self.pool = torch.zeros(s.pages, s.layers, 2, s.page_size, s.kv_heads, s.head_dim, dtype=dtype, device=device)

    def fill_pages(self, pages: Sequence[int], value: float) -> None:
        self.pool[torch.tensor(pages, device=self.pool.device)] = value

    def clear_slots(self, slots: Sequence[int]) -> None:
        at = torch.tensor(slots, device=self.pool.device)
        self.pool[at // self.shape.page_size, :, :, at % self.shape.page_size] = 0

    def save_pages(self, pages: Sequence[int], host: torch.Tensor, places: Sequence[int]) -> None:
        for page, place in zip(pages, places, strict=True):
            host[place].copy_(self.pool[page], non_blocking=True)

    def load_pages(self, pages: Sequence[int], host: torch.Tensor, places: Sequence[int]) -> None:
        for page, place in zip(pages, places, strict=True):
            self.pool[page].copy_(host[place], non_blocking=True)

"""Paged attention: what every back end does, and the shape of one step's rows.

Words are the field's own. A *page* holds `page_size` entries of one sequence, in every layer; a *slot* is
`page * page_size + offset`. A *row* is one sequence's part of a step: `query_lens[i]` new entries at the end of
`seq_lens[i]` entries in all. Page 0 is scratch: nobody reads it, so that padding and rows that must not write have
somewhere to write to.

Keys are stored rotated. RoPE rotates *adjacent* pairs of a head's elements (the engine permutes the weights of models
that pair the two halves instead); positions and slots are independent of each other. It is a rotation and nothing else:
the factor of a RoPE scaling belongs into the scores' scale, so that keys that are turned on are not multiplied again.

Layouts. On a GPU, and in the reference, a pool is page-major, `[pages, layers, 2, page_size, kv_heads, head_dim]`: one
page is one contiguous run, so that copy-on-write, swap and free each touch one run; this is also the canonical format
that leaves the device. The CPU's pool is `[layers][2, kv_heads, pages, page_size, head_dim]`: consecutive pages of one
head are one matrix, without a gather.

A back end owns its pool. It knows nothing of weights, files or scheduling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

IntArray = npt.NDArray[np.int64]


class BackendUnavailable(RuntimeError):
    """The back end that was asked for cannot run here; the text says why."""


@dataclass(frozen=True, slots=True)
class PoolShape:
    """Dimensions of a KV pool and of the queries that read it."""

    layers: int
    pages: int
    """Page 0, the scratch page, included."""
    page_size: int
    heads: int
    """Query heads, a multiple of `kv_heads`."""
    kv_heads: int
    head_dim: int
    """Even."""

    @property
    def group(self) -> int:
        """Query heads that share one key head."""
        return self.heads // self.kv_heads

    def bytes_per_page(self, dtype: torch.dtype) -> int:
        """Bytes of one page, keys and values of every layer."""
        return 2 * self.layers * self.page_size * self.kv_heads * self.head_dim * dtype.itemsize


@dataclass(slots=True)
class Ragged:
    """The rows of one step, packed one after another, on the host.

    Batching works best if rows with one query come last, sorted by length. `tokens` (T) may exceed the sum of
    `query_lens`: what follows is padding, whose results are undefined but finite.
    """

    query_lens: IntArray
    """[B], each at least 1."""
    seq_lens: IntArray
    """[B], entries with the new ones, each at least `query_lens`."""
    block_table: IntArray
    """[B, P]: the pages of `[0, seq_len)`; further places repeat any page of the same row (never one that may hold
    another's unfinished writes)."""
    positions: IntArray
    """[T], for RoPE."""
    slots: IntArray
    """[T], where each new entry's K/V is written; in page 0 if nowhere."""
    firsts: IntArray | None = None
    """[T]: the first entry that each query sees in windowed layers, at most its own, never falling within a row; None:
    this model has no such layers. Indexes of entries, though windows count positions: positions ascend in a row."""
    masks: npt.NDArray[np.uint32] | None = None
    """[M, W]: bit j of a mask's word w says whether entry 32 w + j of the sequence is visible; entries beyond the words
    are not. Causality and windows hold all the same, and a query always sees itself. None: no query has a mask."""
    mask_of: IntArray | None = None
    """[T]: which of `masks` each query has; -1: none, it sees all. None if, and only if, `masks` is None."""

    @property
    def tokens(self) -> int:
        """T, padding included."""
        return len(self.positions)

    @property
    def starts(self) -> IntArray:
        """[B], index of each row's first query among the T."""
        return np.cumsum(self.query_lens) - self.query_lens


@runtime_checkable
class DecodePlanner(Protocol):
    """What a back end can do whose decode steps may be captured as CUDA graphs."""

    def decode_plan(
        self,
        entries: torch.Tensor,
        block_table: torch.Tensor,
        positions: torch.Tensor,
        slots: torch.Tensor,
        firsts: torch.Tensor,
    ) -> Any:
        """A plan for one query a row, made on the device, so that what the tensors hold may change between replays.

        `entries`: [B] int32, with the new one; `block_table`: [B, P] int32; `positions`, `slots`: [B] int64; `firsts`:
        [B] int32, what windowed layers see; all on the device. Launches kernels that divide the work by what the
        tensors hold: call it within what is captured, before the layers.
        """
        ...


class SmallOps(Protocol):
    """What lies between a model's products, fused. Tensors are contiguous; computed in fp32, rounded to their dtype."""

    def add_norm(self, x: torch.Tensor, delta: torch.Tensor | None, gain: torch.Tensor, eps: float) -> torch.Tensor:
        """Add `delta` to x, in place; returns RMSNorm of the sum, [T, n], times `gain` [n]."""
        ...

    def gate(self, both: torch.Tensor) -> torch.Tensor:
        """silu(first half) * second half: [T, 2 n] -> [T, n]"""
        ...

    def norm_heads(self, qkv: torch.Tensor, gains: torch.Tensor, eps: float) -> None:
        """RMSNorm of the first heads of [T, any, head_dim], in place, times `gains` [heads, head_dim]."""
        ...


class PagedAttention(Protocol):
    """One back end with its pool. Calls are queued on the device in order; none of them waits for it."""

    name: str
    shape: PoolShape

    def plan(self, rows: Ragged) -> Any:
        """What the layers of this step have in common. Call once a step; valid for that step only."""
        ...

    def write(self, layer: int, qkv: torch.Tensor, plan: Any) -> None:
        """Rotate and store the new entries of one layer.

        `qkv`: [T, heads + 2 * kv_heads, head_dim], contiguous; its q and k parts are rotated in place. K and V go to
        their slots.
        """
        ...

    def attend(self, layer: int, qkv: torch.Tensor, plan: Any, windowed: bool = False) -> torch.Tensor:
        """[T, heads * head_dim]: causal attention of the rotated queries over their sequences, after `write`; from
        `Ragged.firsts` on if the layer is `windowed`."""
        ...

    def copy_pages(self, sources: Sequence[int], destinations: Sequence[int]) -> None:
        """Copy whole pages in every layer. Destinations are distinct and none of them is a source."""
        ...

    def copy_entries(self, sources: IntArray, targets: IntArray, shifts: IntArray) -> None:
        """Copy entries in every layer, keys rotated on by so many positions; every source is read before any target is
        written.

        `sources`, `targets`: [N] slots, the targets distinct. `shifts`: [N], of either sign, each smaller than the
        number of positions; 0 is an exact copy.
        """
        ...

    def fill_pages(self, pages: Sequence[int], value: float) -> None:
        """Overwrite the K/V of whole pages in every layer."""
        ...

    def clear_slots(self, slots: Sequence[int]) -> None:
        """Zero the K/V of these slots in every layer: what a failed row wrote must not meet a mask as NaN * 0."""
        ...

    def save_pages(self, pages: Sequence[int], host: torch.Tensor, places: Sequence[int]) -> None:
        """Copy whole pages to `host[places]`; bits stay as they are.

        `host`: [any, layers, 2, page_size, kv_heads, head_dim] of the pool's dtype, on the CPU; pinned if the pool is
        on a GPU. Queued on the current stream. May run in another thread than the steps, which leave these pages alone.
        """
        ...

    def load_pages(self, pages: Sequence[int], host: torch.Tensor, places: Sequence[int]) -> None:
        """Copy `host[places]` to whole pages; the reverse of `save_pages`, in all respects."""
        ...

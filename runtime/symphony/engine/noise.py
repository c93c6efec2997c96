"""Counter-based noise: the same (seed, entry, token) gives the same number, on every device and in every batch.

A row's key comes from (seed, index of the entry that is drawn) by splitmix64 on the host; a token's number from the key
and its id by an integer hash (murmur3's finaliser) in wrapping int32 arithmetic, which CPUs and GPUs share to the bit.
Gumbel-max then needs one logarithm more: `argmax(x - log E)` with E exponential is a draw from softmax(x).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

_M64 = (1 << 64) - 1
_GAMMA, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""Of splitmix64."""


def row_keys(draws: Sequence[tuple[int, int]], device: torch.device) -> torch.Tensor:
    """[rows, 2] int32 keys of (seed, entry) pairs."""
    seeds = np.array([mixed(seed) for seed, _ in draws], np.uint64)
    return torch.from_numpy(entry_keys(seeds, np.array([entry for _, entry in draws], np.int64))).to(
        device, non_blocking=True
    )


def mixed(seed: int) -> int:
    """What `entry_keys` takes of a seed."""
    return _splitmix(seed & _M64)


def entry_keys(seeds: npt.NDArray[np.uint64], entries: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """[rows, 2] keys of mixed seeds and entries."""
    x = (seeds ^ entries.view(np.uint64)) + np.uint64(_GAMMA)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_MIX_1)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_MIX_2)
    x ^= x >> np.uint64(31)
    return np.stack([x >> np.uint64(32), x & np.uint64(0xFFFFFFFF)], 1).astype(np.uint32).view(np.int32)


def log_exponential(keys: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """log E for each row and token, fp32.

    `keys`: [rows, 2]; `ids`: [tokens] or [rows, tokens], int32.
    """
    h = ids * _signed(0x9E3779B1) + keys[:, :1]
    h = _fold(h, 16).mul_(_signed(0x85EBCA6B)).bitwise_xor_(keys[:, 1:])
    h = _fold(h, 13).mul_(_signed(0xC2B2AE35))
    h = _fold(h, 16).bitwise_right_shift_(1).bitwise_and_(0x7FFFFFFF)
    # 31 bits, with full relative precision near 0: that is where the winners of large vocabularies come from
    uniform = h.float().add_(0.5).mul_(2.0**-31).clamp_(max=1 - 2.0**-24)
    return uniform.neg_().log1p_().neg_().log_()


def _fold(h: torch.Tensor, bits: int) -> torch.Tensor:
    """h ^ (h >> bits), the shift unsigned; in place."""
    return h.bitwise_xor_(h.bitwise_right_shift(bits).bitwise_and_((1 << (32 - bits)) - 1))


def _splitmix(x: int) -> int:
    x = (x + _GAMMA) & _M64
    x = ((x ^ (x >> 30)) * _MIX_1) & _M64
    x = ((x ^ (x >> 27)) * _MIX_2) & _M64
    return x ^ (x >> 31)


def _signed(x: int) -> int:
    """The low 32 bits as a signed number."""
    x &= 0xFFFFFFFF
    return x - (1 << 32) if x >= 1 << 31 else x

"""Matrix products by oneDNN, where torch has it: packed weights, and products fused with what follows them.

The operators are private to torch (present in 2.13 to 2.15 at least); `AVAILABLE` says whether they are here, and every
caller has another way. They win over `F.linear` on CPUs where that one does not use oneDNN; see docs/log.md.
"""

from __future__ import annotations

from typing import Any

import torch


def _find() -> tuple[Any, Any, Any] | None:
    ops = torch.ops.mkldnn
    try:
        found = (ops._reorder_linear_weight, ops._linear_pointwise, ops._linear_pointwise.binary)
        x, w = torch.ones(2, 3), torch.ones(4, 3)
        ok = bool(found[1](x, found[0](w, None), None, "swish", [], "").shape == (2, 4))
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):
        return None
    return found if ok else None


def _has_bf16() -> bool:
    checks = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return any(check is not None and bool(check()) for check in checks)


_OPS = _find() if torch.backends.mkldnn.is_available() else None
AVAILABLE = _OPS is not None
"""Whether the fused operators are here."""
NARROW = AVAILABLE and _has_bf16()
"""Whether they take bf16 too, and the processor has instructions for it."""


def pack(weight: torch.Tensor) -> torch.Tensor:
    """An [out, in] fp32 or bf16 weight in oneDNN's own layout; only `linear` and its like take it. Needs AVAILABLE."""
    assert _OPS is not None
    return _OPS[0](weight.contiguous(), None)


def linear(
    x: torch.Tensor, weight: torch.Tensor, activation: str = "none", bias: torch.Tensor | None = None
) -> torch.Tensor:
    """`activation(x @ weight.T + bias)`; activation is "none" or "swish". Needs AVAILABLE."""
    assert _OPS is not None
    return _OPS[1](x, weight, bias, activation, [], "")


def linear_with(
    x: torch.Tensor, weight: torch.Tensor, other: torch.Tensor, operation: str, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """`(x @ weight.T + bias) operation other`; operation is "add" or "mul". Needs AVAILABLE."""
    assert _OPS is not None
    return _OPS[2](x, other, weight, bias, operation)


def product(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """`x @ y.T` of two fp32 matrices."""
    return torch.mm(x, y.t()) if _OPS is None else _OPS[1](x, y, None, "none", [], "")

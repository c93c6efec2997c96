"""Signatures of released versions that differ from those of today, by WIT name without versions.

Generated from `wit/archive/` by `make gen`; do not edit. Types look as in `signatures`.
"""

from __future__ import annotations

from symphony.syscall.signatures import Signature

FORMER: dict[str, tuple[Signature, ...]] = {}

"""The core's language: what its callers say to it and hear from it.

Plain slotted records, fields as in `wit/` (snake_case), so that they can cross a socket later (semantics 16). This
module knows nothing of processes or Wasm. `Sampling`, `Readings` and `Reading` are the engine's own words, `Stat`,
`Entry` and `Mode` those of kvfs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from symphony.engine.messages import GREEDY, Reading, Readings, Sampling
from symphony.kvfs.modes import Mode, Principal, bits_of, mode_of
from symphony.kvfs.names import Entry
from symphony.kvfs.stat import Stat

if TYPE_CHECKING:
    from symphony.core.shape import Shape

__all__ = [
    "Chunk",
    "Draft",
    "Entry",
    "Finish",
    "GenerateOptions",
    "Mode",
    "Part",
    "Principal",
    "Ranked",
    "Reading",
    "Readings",
    "Sampling",
    "Stat",
    "Usage",
    "bits_of",
    "mode_of",
]

Finish = tuple[str, int | None]
"""A case of `finish-reason` with its payload: ("stop-token", id), ("stop-string", index), ("length", None),
("context-limit", None), ("cancelled", None)."""


class Part(NamedTuple):
    """One file's prediction among several that start together."""

    file: int
    op: int
    tokens: Sequence[int]
    outputs: Sequence[int]
    shape: Shape | None = None
    keep: bool = False
    """Keep the wanted distributions for later questions."""


class Ranked(NamedTuple):
    """Tokens with a value each; the lists have equal length."""

    ids: Sequence[int]
    values: Sequence[float]


@dataclass(slots=True, frozen=True)
class Draft:
    """How drafts are made, where there are any."""

    tokens: int = 8
    """At most so many a step, 1 to `param.MAX_DRAFT_TOKENS`."""
    ngram: int = 3
    """Of a lookup in the text itself: so many last tokens are compared, 1 to `param.MAX_LOOKUP_NGRAM`."""


@dataclass(slots=True)
class GenerateOptions:
    """What `generate` does. `sampling.seed` is always set: whoever fills this in draws one for none."""

    sampling: Sampling = GREEDY
    max_tokens: int = 256
    stop_tokens: Sequence[int] = ()
    stop_strings: Sequence[str] = ()
    logprobs: int | None = None
    """None: no log-probabilities; 0: of the drawn token alone; more: this many alternatives too."""
    chunk_tokens: int = 256
    """1 to 256."""
    chunk_ms: int = 0
    """0: no such limit."""
    draft: Draft | None = None
    """None: every token takes a step."""
    constraint: int | None = None
    """A constraint of the session, of which a copy goes along."""


@dataclass(slots=True)
class Chunk:
    """A piece of a generation."""

    tokens: list[int] = field(default_factory=list[int])
    text: str = ""
    logprobs: list[float] = field(default_factory=list[float])
    alternatives: list[Ranked] = field(default_factory=list[Ranked])
    finish: Finish | None = None


@dataclass(slots=True)
class Usage:
    """What a session has used so far; counts as in `wit/process.wit`."""

    forwards: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    generated_tokens: int = 0
    accepted_tokens: int = 0
    pages: int = 0

"""What the fake engine keeps in place of keys and values, and the plain model that predicts it.

An entry is (token, position, content). Its content is fixed when it is computed: a hash of token, position and the
positions and contents of all entries that it sees. So it tells any two contexts apart, as K/V would. Moving or copying
an entry keeps its content; a copy may have another position. What follows a file is a function of all its entries:

    file = computed([], b"Hello", 0)                    # pred
    part = shifted(file[2:4], -2)                       # extract with rebase, or append-from
    file = computed(part, b"!", 2)                      # pred on it
    engine.greedy_after(file)                           # what the engine says is most probable now

It knows nothing of pages, and no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from symphony.engine.messages import Mask

Content = int


class Entry(NamedTuple):
    token: int
    position: int
    content: Content


def context(entries: Iterable[Entry], before: Content = 0) -> Content:
    """What an entry sees if it follows `entries`, after a context `before`; 0 is nothing."""
    for entry in entries:
        before = seen(before, entry)
    return before


def seen(before: Content, entry: Entry) -> Content:
    """A context with one more entry. One that was computed just here stands for all before it."""
    if entry.content == content_in(before, entry.token, entry.position):
        return entry.content
    return hash_of(before, entry.position, entry.content)


def content_in(before: Content, token: int, position: int) -> Content:
    """The content of an entry that is computed in a context."""
    return hash_of(before, token, position)


def computed(
    entries: Sequence[Entry],
    tokens: Sequence[int],
    position: int,
    positions: Sequence[int] | None = None,
    masks: Sequence[Mask] | None = None,
) -> list[Entry]:
    """`entries` and what computing `tokens` from `position` on appends to them; or at `positions`, under `masks`."""
    before, result = context(entries), list(entries)
    for index, token in enumerate(tokens):
        at = position + index if positions is None else positions[index]
        if masks is not None:
            before = context(visible(result, masks[index if len(masks) > 1 else 0]))
        content = content_in(before, token, at)
        result.append(Entry(token, at, content))
        before = content
    return result


def visible(entries: Sequence[Entry], mask: Mask) -> list[Entry]:
    """Those of `entries` that a mask shows."""
    return [entry for start, end in mask for entry in entries[start:end]]


def shifted(entries: Iterable[Entry], shift: int) -> list[Entry]:
    """Copies of entries, `shift` positions on."""
    return [Entry(entry.token, entry.position + shift, entry.content) for entry in entries]


def content_of(tokens: Sequence[int]) -> Content:
    """The content of the last entry of a plain file that holds `tokens`."""
    before = 0
    for position, token in enumerate(tokens):
        before = content_in(before, token, position)
    return before


def hash_of(*numbers: int) -> int:
    """64 bits; the same in every process."""
    return hash(numbers) & 0xFFFF_FFFF_FFFF_FFFF  # of integers: not salted

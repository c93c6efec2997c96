"""The interpreter at the end of a build, arranged so that a run writes into few pages of it.

All runs share the built image and copy the pages that they write. Who writes into old pages, and what is done about it:

reference counts    a table of all objects stays in the image; the host's build step (`symphony.program.snapshot`) makes
                    them immortal
new objects         land in holes between old ones; so the holes are filled
caches of code      are warm already (`_rehearsal`)
the collector       never looks at what exists now (`gc.freeze`)
"""

from __future__ import annotations

import gc
from array import array
from types import CodeType
from typing import Any

_MARK = (0x4C495021, 0x0B7EC75A, 0x1DEA57E5, 0x5EA1ED00)
"""Begins the table. As words in four objects, so that only the table has them in a row."""
_LARGE = 1 << 20
_FILLERS = 1 << 18
_kept: list[Any] = []


def settle() -> None:
    """The last thing that a build does."""
    gc.collect()
    fillers: list[Any] = [None] * _FILLERS
    things = _everything()
    _kept.extend((fillers, things, _table(things)))
    gc.freeze()
    _fill(fillers)


def _everything() -> list[Any]:
    """Every object that exists; the list keeps those that would go away, so that the table stays right."""
    things: list[Any] = gc.get_objects()
    seen = set(map(id, things))
    for thing in things:  # the list grows meanwhile
        for other in _referents(thing):
            if id(other) not in seen:
                seen.add(id(other))
                things.append(other)
    return things


def _referents(thing: Any) -> list[Any]:
    others = gc.get_referents(thing)
    if isinstance(thing, CodeType):  # does not tell the collector
        others += (thing.co_consts, thing.co_names, thing.co_filename, thing.co_name, thing.co_qualname)
        others += (thing.co_linetable, thing.co_exceptiontable)
        others += (*thing.co_varnames, *thing.co_freevars, *thing.co_cellvars)
    return others


def _table(things: list[Any]) -> array[int]:
    """The mark, the number of objects, and their addresses; no copy of it is left elsewhere."""
    first = len(_MARK) + 1
    table = array("I", bytes(4 * (first + len(things))))
    table[first - 1] = len(things)
    for index, thing in enumerate(things, first):
        table[index] = id(thing)
    for index, word in enumerate(_MARK):
        table[index] = word
    return table


def _fill(fillers: list[Any]) -> None:
    """Occupy the holes of the heap below its end, the largest first: what is allocated from now on is contiguous.

    Sizes are those of the C library's chunks: multiples of 16, of which a `bytes` takes 21 for itself.
    """
    end = max(id(bytes(size)) for size in (1 << power for power in range(10, 22)))
    count, size = 0, _LARGE
    while size:
        filler: Any = bytes(size - 21) if size > 16 else object()
        if id(filler) < end and count < len(fillers):
            fillers[count] = filler
            count += 1
        else:
            size -= max(16, size >> 4 & ~15)

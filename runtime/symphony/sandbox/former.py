"""What a component of an earlier version of the ABI declares, beside what the host offers today (semantics 23).

Its answers need no care: they are written field by field, by its own types. Its arguments do: a handler of today
expects the options that were added since, and finds them to be none.
"""

from __future__ import annotations

from symphony.sandbox.layout import Type


def widened(declared: Type, offered: Type) -> Type:
    """The type of an argument, for reading: `declared`, where each record also names the trailing fields that only
    `offered` has, as `("record", fields, missing)`. The two are versions of one type; equal ones stay as they are."""
    if declared == offered:
        return declared
    kind = declared[0]
    if kind == "record":
        types = dict(offered[1])
        fields = tuple((name, widened(t, types[name])) for name, t in declared[1])
        return (kind, fields, tuple(name for name, _ in offered[1][len(fields) :]))
    if kind == "variant":
        cases = dict(offered[1])
        return (kind, tuple((name, t and widened(t, cases[name])) for name, t in declared[1]))
    if kind == "tuple":
        return (kind, tuple(map(widened, declared[1], offered[1])))
    if kind in ("list", "option", "result"):
        return (kind, *(t and widened(t, other) for t, other in zip(declared[1:], offered[1:], strict=True)))
    return declared  # an enum or flags with fewer cases

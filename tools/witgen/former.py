"""Archived versions of `wit/` -> `runtime/symphony/syscall/former.py`, and whether `wit/` still serves them.

`wit/archive/VERSION/` is `wit/` as it was released. A component of any of these versions must run (semantics 23): so a
function stays, with its parameters by name and its result. What may change in a type since it was released:

    record                  grows by options at its end, passed or returned
    enum, variant, flags    what guests pass may grow by cases at its end; what they are returned stays as it is
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import signatures
from .layout import layout
from .library import Library, load

Type = tuple[Any, ...]
Signature = tuple[tuple[tuple[str, Type], ...], Type | None]

HEADER = '''"""Signatures of released versions that differ from those of today, by WIT name without versions.

Generated from `wit/archive/` by `make gen`; do not edit. Types look as in `signatures`.
"""

from __future__ import annotations

from symphony.syscall.signatures import Signature

'''


def archived(wit: Path) -> dict[str, Library]:
    """Version -> its library, oldest first. Raises ValueError where a folder's name is not the version in it."""
    found: dict[str, Library] = {}
    for folder in sorted((wit / "archive").glob("*.*.*"), key=lambda path: [int(n) for n in path.name.split(".")]):
        library = found[folder.name] = load(folder)
        if library.versions["symphony:lip"] != folder.name:
            raise ValueError(f"{folder} holds version {library.versions['symphony:lip']}")
    return found


def plain(library: Library) -> dict[str, Signature]:
    """All signatures of a library: what the generated module holds."""
    module: dict[str, Any] = {}
    exec(signatures.render(library), module)
    return module["SIGNATURES"]


def render(today: Library, versions: dict[str, Library]) -> str:
    """The module's text."""
    current = plain(today)
    former: dict[str, list[Signature]] = {}
    for library in versions.values():
        for name, signature in plain(library).items():
            known = former.setdefault(name, [])
            if signature != current.get(name) and signature not in known:
                known.append(signature)
    lines = [f"    {layout(n, 4)}: {layout(tuple(f), 4, len(n) + 4)}," for n, f in former.items() if f]
    body = "\n".join(["{", *lines, "}"]) if lines else "{}"
    return f"{HEADER}FORMER: dict[str, tuple[Signature, ...]] = {body}\n"


def broken(old: dict[str, Signature], new: dict[str, Signature]) -> Iterator[str]:
    """What a component of the old version would miss, a sentence each."""
    for name, (parameters, result) in old.items():
        if name not in new:
            yield f"{name} is gone"
            continue
        now, answer = new[name]
        if [n for n, _ in parameters] != [n for n, _ in now]:
            yield f"{name} has other parameters: {', '.join(n for n, _ in now)}"
        elif not all(serves(t, u, passed=True) for (_, t), (_, u) in zip(parameters, now, strict=True)):
            yield f"{name} takes another type"
        elif not serves(result, answer, passed=False):
            yield f"{name} returns another type"


def serves(old: Type | None, new: Type | None, *, passed: bool) -> bool:
    """Whether a host that means `new` can deal with a guest that means `old`."""
    if old == new:
        return True
    if old is None or new is None or old[0] != new[0]:
        return False
    if old[0] == "record":
        grown = new[1][len(old[1]) :]
        return all(t[0] == "option" for _, t in grown) and _members(old[1], new[1], passed)
    if old[0] == "variant":
        return (passed or len(old[1]) == len(new[1])) and _members(old[1], new[1], passed)
    if old[0] in ("enum", "flags"):
        return passed and new[1][: len(old[1])] == old[1]
    if old[0] == "tuple":
        return len(old[1]) == len(new[1]) and all(
            serves(t, u, passed=passed) for t, u in zip(old[1], new[1], strict=True)
        )
    if old[0] in ("list", "option", "result"):
        return all(serves(t, u, passed=passed) for t, u in zip(old[1:], new[1:], strict=True))
    return False


def _members(old: tuple[tuple[str, Type], ...], new: tuple[tuple[str, Type], ...], passed: bool) -> bool:
    """Whether the first of the new fields or cases serve the old ones."""
    return len(old) <= len(new) and all(
        name == other and serves(t, u, passed=passed) for (name, t), (other, u) in zip(old, new, strict=False)
    )

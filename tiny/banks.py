"""The wordings of the corpus, from the files in `wordings/`.

A file has entries: a line `= HEAD`, and lines of text up to the next one. Lines that begin with `asks `, `beside ` and
the like are of that kind, if a file has kinds. Text is in the grammar of `pen`, its lines are alternatives. It knows
nothing of what they are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).with_name("wordings")


@dataclass(slots=True)
class Entry:
    """What stands under a head: lines, each with its kind; "" is that of most."""

    head: str
    lines: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def rows(self, kind: str = "") -> list[str]:
        return [text for its, text in self.lines if its == kind]

    def text(self, kind: str = "") -> str:
        return "|".join(self.rows(kind))


def entries(file: str, kinds: Sequence[str] = ()) -> list[Entry]:
    """Those of a file, in its order."""
    found: list[Entry] = []
    for line in (FOLDER / f"{file}.txt").read_text("utf-8").replace("\\n", "\r").split("\n"):
        line = line.replace("\r", "\n")
        if line.startswith("= "):
            found.append(Entry(line[2:]))
        elif line and not line.startswith("# "):
            kind, _, rest = line.partition(" ")
            found[-1].lines.append((kind, rest) if kind in kinds else ("", line))
    return found


def banks(file: str) -> dict[str, str]:
    """A wording under each head."""
    return {entry.head: entry.text() for entry in entries(file)}

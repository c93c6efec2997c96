"""WIT text -> tokens. Doc comments are kept, with the token that they stand before; other comments are dropped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_PATTERN = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
  | (?P<doc>///[^\n]*)
  | (?P<comment>//[^\n]*|/\*.*?\*/)
  | (?P<version>@\d[\w.+-]*)
  | (?P<number>\d[\w.+-]*)
  | (?P<word>%?[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*)
  | (?P<arrow>->)
  | (?P<mark>[{}()<>,;:=./*@_])
    """,
    re.VERBOSE | re.DOTALL,
)


class WitError(Exception):
    """Text that is not WIT, or a name that is not declared; says where."""

    def __init__(self, file: str, line: int, what: str) -> None:
        super().__init__(f"{file}:{line}: {what}")


@dataclass(frozen=True, slots=True)
class Token:
    """One token. `kind`: 'word', 'mark', 'version', 'number' or 'end'. `text` is without the `%` of an escaped word."""

    kind: str
    text: str
    line: int
    doc: str = ""
    escaped: bool = False


def tokens(text: str, file: str) -> Iterator[Token]:
    """Every token of a file, an 'end' last. Raises WitError on a character that starts none."""
    at, line, doc = 0, 1, list[str]()
    while at < len(text):
        match = _PATTERN.match(text, at)
        if match is None:
            raise WitError(file, line, f"unexpected character {text[at]!r}")
        kind, found = str(match.lastgroup), match.group()
        if kind == "doc":
            doc.append(found[3:].removeprefix(" ").rstrip())
        elif kind not in ("space", "comment"):
            kind = "mark" if kind == "arrow" else kind
            yield Token(kind, found.lstrip("%"), line, "\n".join(doc), found.startswith("%"))
            doc = []
        line += found.count("\n")
        at = match.end()
    yield Token("end", "end of file", line)

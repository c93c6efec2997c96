"""Tools of daily life: what they take, and the parts that requests for them are made of (`wordings/tools.txt`).

Every fifth is for evaluation only.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiny.banks import Entry, banks, entries
from tiny.pen import Pen
from tiny.words import FIRST, NOUNS, PLACES, Maker, Value, amount, maker, number, phrase, word


@dataclass(slots=True, frozen=True)
class Parameter:
    """`says`: how an argument stands in a request; with `one_of` it is one of those."""

    make: Maker
    says: str
    kind: str = "string"
    one_of: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class Tool:
    """`does`: what is asked for, as a command, without arguments; `asks`: as a question; `free`: whole requests."""

    name: str
    description: str
    parameters: dict[str, Parameter]
    extra: dict[str, Parameter]
    """Arguments that may be left out."""
    does: str
    asks: str
    free: str
    fixed: bool
    """Whether arguments come in this order."""


W = banks("calls")


def calculation(pen: Pen) -> str:
    return f"{number(pen)} {pen.choice('+-*/')} {number(pen)}"


def quantity(pen: Pen) -> Value:
    return number(pen) if pen.chance(0.6) else amount(pen)


def program(pen: Pen) -> str:
    return f"print({calculation(pen)})"


def street(pen: Pen) -> str:
    return f"{pen.between(1, 99)} {word(pen)} street"


def complaint(pen: Pen) -> str:
    """What a ticket is about."""
    if pen.chance(0.4):
        return phrase(pen)
    said = pen.write(
        W["complaint"],
        n=pen.word(NOUNS), p=pen.word(PLACES), i=pen.between(1, 40), w=pen.word(FIRST),
    ).replace("  ", " ")  # fmt: skip
    return said[0].upper() + said[1:] if pen.chance(0.4) else said


def symbol(pen: Pen) -> str:
    return "".join([pen.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(pen.between(2, 5))])


OWN: dict[str, Maker] = {
    "sum": calculation,
    "quantity": quantity,
    "program": program,
    "street": street,
    "complaint": complaint,
    "symbol": symbol,
}
ORDERED = " (in this order)"


def _tool(entry: Entry) -> Tool:
    name, _, description = entry.head.removesuffix(ORDERED).partition(": ")
    parameters: dict[str, Parameter] = {}
    extra: dict[str, Parameter] = {}
    for line in entry.rows("takes"):
        key, kind, rest = line.split(", ", 2)
        make, _, says = rest.partition(": ")
        one_of = tuple(make.split("/")) if "/" in make else ()
        parameter = Parameter(OWN[make] if make in OWN else maker(make), says, kind, one_of)
        (extra if key.endswith("?") else parameters)[key.rstrip("?")] = parameter
    does, asks, free = (entry.text(kind) for kind in ("does", "asks", "free"))
    return Tool(name, description, parameters, extra, does, asks, free, entry.head.endswith(ORDERED))


TOOLS = [_tool(entry) for entry in entries("tools", ("takes", "does", "asks", "free"))]
ALIASES = banks("parameters")
"""Other names for an argument."""

"""Sums: plain, in words, step by step, judged, proposed.

One pair of two-digit numbers of ten is never added or subtracted in training. It knows nothing of other tasks.
"""

from __future__ import annotations

from tiny import words
from tiny.banks import banks
from tiny.pen import Pen, upper_first
from tiny.turns import Turns, said

W = banks("sums")
HELD_OUT_PAIRS = 10


def held_out(a: int, b: int) -> bool:
    return (a * 7919 + b * 104729) % HELD_OUT_PAIRS == 0


def pair(pen: Pen, least: int = 0) -> tuple[int, int]:
    """Two numbers below 100, the larger first; held-out pairs only when evaluating."""
    most = 99 if least or pen.chance(0.7) else 20
    while True:
        b, a = sorted((pen.between(least, most), pen.between(least, most)))
        if a < 10 or b < 10 or held_out(a, b) is (pen.plain or pen.unseen):
            return a, b


def arithmetic(pen: Pen) -> Turns:
    """A sum or difference of two-digit numbers."""
    a, b = pair(pen, 10)
    sign = "+" if pen.chance(0.5) else "-"
    if sign == "+" and pen.chance(0.5):
        a, b = b, a
    return said(_asked(pen, sign, a, b), str(a + b if sign == "+" else a - b))


def _asked(pen: Pen, sign: str, a: int, b: int) -> str:
    expression = pen.write(W[f"sum {sign}"], a=a, b=b)
    return pen.ask(W["sum asks"], e=expression)


def more_arithmetic(pen: Pen) -> Turns:
    """All kinds: small and larger numbers, products."""
    turns: Turns = []
    for _ in range(pen.choice((1, 2, 3))):
        kind = pen.between(0, 9)
        if kind < 5:
            turns += arithmetic(pen)
            continue
        if kind < 7:
            a, b = pen.between(0, 13), pen.between(0, 13)
            sign, value = "*", a * b
        elif kind == 7:
            a, b = pair(pen)
            sign, value = "-", a - b
        else:
            b, a = sorted((pen.between(10, 999), pen.between(100, 999)))
            sign = pen.choice("+-")
            value = a + b if sign == "+" else a - b
        turns += said(_asked(pen, sign, a, b), str(value))
    return turns


def subtraction(pen: Pen) -> Turns:
    """Of two-digit numbers, in words."""
    a, b = pair(pen, 10)
    ask = pen.ask(W["taken"], a=a, b=b) if pen.chance(0.5) else _story(pen, "-", a, b)
    return said(ask, str(a - b))


def _story(pen: Pen, sign: str, a: int, b: int) -> str:
    bank = words.THINGS if pen.chance(0.5) else words.FRUIT if pen.chance(0.6) else words.ANIMALS
    things = words.plural(pen.word(bank))
    who, other = words.name(pen), words.name(pen)
    verb = pen.write(W["gives"] if sign == "-" else W["gains"], m=other)
    question = pen.ask(W["left"] if sign == "-" else W["now"], t=things)
    of_who = pen.ask(W["of who"] if sign == "-" else W["now who"], t=things, w=who) if pen.chance(0.6) else question
    mine = pen.ask(W["mine"] if sign == "-" else W["mine now"], t=things)
    wordings = W[f"story {sign}"]
    first = verb.split()[0]
    if first in PAST:
        wordings = wordings.replace("{G}", PAST[first])
    else:
        wordings = wordings.replace("had {a} {t}[ and|, then {w}|. {w}] {G}", "has {a} {t} and {g}")
    asked = {"q": question, "wq": of_who, "me": mine}
    lost, place = pen.write(W["lost"]), pen.word(words.PLACES)
    return upper_first(pen.ask(wordings, a=a, b=b, t=things, w=who, m=other, g=verb, l=lost, p=place, **asked))


PAST = {
    "gives": "gave away", "eats": "ate", "loses": "lost", "sells": "sold", "uses": "used", "breaks": "broke",
    "drops": "dropped", "spends": "spent", "returns": "returned", "forgets": "forgot",
}  # fmt: skip


def in_words(pen: Pen) -> Turns:
    """Sums and differences in words, of any size."""
    a, b = pair(pen)
    sign = "-" if pen.chance(0.7) else "+"
    plain = pen.chance(0.35)
    ask = pen.ask(W["taken" if sign == "-" else "added"], a=a, b=b) if plain else _story(pen, sign, a, b)
    return said(ask, str(a - b if sign == "-" else a + b))


OFF = (-20, -10, -10, -3, -2, -1, 1, 2, 3, 10, 10, 20)
"""By what a sum is wrong."""


def judge(pen: Pen) -> Turns:
    """yes or no: a comparison, a sum, whether a step reaches a target."""
    kind = pen.random.random()
    if kind < 0.35:
        a, b = pen.between(0, 99), pen.between(0, 99)
        if pen.chance(0.3):
            b = max(a + pen.choice((-11, -10, -9, -1, 1, 9, 10)), 0)
        sign = "<" if not pen.plain and pen.chance(0.3) else ">"
        return said(pen.ask(W[f"compare {sign}"], a=a, b=b), "yes" if (a > b if sign == ">" else a < b) else "no")
    if kind > 0.8 and not pen.plain and not pen.unseen:
        return _reach(pen)
    sign = "+" if pen.plain else pen.choice("++--*")
    a, b = (pen.between(0, 13), pen.between(0, 13)) if sign == "*" else pair(pen)
    value = a + b if sign == "+" else a - b if sign == "-" else a * b
    shown = value if pen.chance(0.5) else max(value + pen.choice((*OFF, pen.between(-40, 40))), 0)
    if not pen.plain and pen.chance(0.1):
        shown = pen.between(0, 99)
    return said(pen.ask(W["right"], e=f"{a} {sign} {b}", s=shown), "yes" if shown == value else "no")


def _reach(pen: Pen) -> Turns:
    a, b = pen.between(1, 30), pen.between(1, 30)
    results = [a + b, abs(a - b), *([a * b] if a <= 12 and b <= 12 else [])]
    target = pen.choice(results) if pen.chance(0.5) else pen.choice((24, 10, pen.between(1, 60)))
    asked = f"Numbers: {a} {b}\nTarget: {target}\nCan one step reach it?"
    return said(asked, "yes" if target in results or target == a * b else "no")


def judges(pen: Pen) -> Turns:
    return [turn for _ in range(pen.choice((1, 2, 3))) for turn in judge(pen)]


def steps(pen: Pen) -> Turns:
    """A sum of several numbers, thought through one after the other."""
    total, thoughts = pen.between(1, 50), list[str]()
    expression = str(total)
    for _ in range(pen.between(2, 4)):
        number = pen.between(1, 40)
        sign = "-" if total >= number and pen.chance(0.5) else "+"
        result = total + number if sign == "+" else total - number
        thoughts.append(f"{total} {sign} {number} = {result}")
        expression, total = f"{expression} {sign} {number}", result
    return said(pen.ask(W["steps"], e=expression), "<think>" + "\n".join(thoughts) + f"</think>{total}")


def propose(pen: Pen, numbers: list[int] | None = None) -> Turns:
    """A step towards a target, as a search over numbers asks for."""
    numbers = numbers or [pen.between(1, pen.choice((9, 13, 30))) for _ in range(pen.choice((2, 3, 3, 4, 4)))]
    step, _ = _step(pen, numbers)
    return said(f"Numbers: {' '.join(map(str, numbers))}\nPropose a step.", step)


def _step(pen: Pen, numbers: list[int]) -> tuple[str, list[int]]:
    """A step, and the numbers after it."""
    i, j = pen.random.sample(range(len(numbers)), 2)
    a, b = max(numbers[i], numbers[j]), min(numbers[i], numbers[j])
    sign = pen.choice("+-*" if a <= 12 else "+-")
    value = {"+": a + b, "-": a - b, "*": a * b}[sign]
    left = [value, *(number for k, number in enumerate(numbers) if k not in (i, j))]
    return f"{a} {sign} {b} = {value} (left: {' '.join(map(str, left))})", left


def proposals(pen: Pen) -> Turns:
    """Several at once, or one after the other to the end, and what is asked about a state."""
    if pen.chance(0.3):
        numbers = [pen.between(1, pen.choice((9, 13))) for _ in range(pen.choice((3, 4)))]
        most = pen.between(2, 3)
        found = list(dict.fromkeys(_step(pen, numbers)[0] for _ in range(most * 3)))[:most]
        asked = f"Numbers: {' '.join(map(str, numbers))}\nPropose {len(found)} steps."
        return said(asked, "\n".join(found)) if len(found) > 1 else propose(pen)
    turns: Turns = []
    numbers = [pen.between(1, pen.choice((9, 13))) for _ in range(pen.choice((2, 3, 4)))]
    while len(numbers) > 1:
        turns += propose(pen, numbers)
        numbers = [int(n) for n in turns[-1][1].partition("left: ")[2].rstrip(")").split()]
        if pen.chance(0.5):
            break
    if len(numbers) == 2 and pen.chance(0.7):
        a, b = max(numbers), min(numbers)
        results = [a + b, a - b, a * b]
        target = pen.choice(results) if pen.chance(0.5) else pen.choice((24, 10, pen.between(1, 60)))
        asked = f"Numbers: {' '.join(map(str, numbers))}\nTarget: {target}\nCan one step reach it?"
        turns += said(asked, "yes" if target in results else "no")
    return turns

"""Lists and text: turned round, counted, sorted, formed; a class for a text; sequences.

It knows nothing of documents.
"""

from __future__ import annotations

from tiny import words
from tiny.banks import banks
from tiny.pen import Pen, upper_first
from tiny.turns import Turns, said
from tiny.words import as_json

W = banks("lists")
JOINTS = (("dashes", "-"), ("spaces", " "), ("slashes", "/"), ("semicolons", "; "), ("plus signs", "+"))
ORDINALS = "first second third fourth fifth".split()


def _items(pen: Pen) -> list[str]:
    return [words.word(pen) for _ in range(pen.between(2, 8))]


def lists(pen: Pen) -> Turns:
    """One thing done to a list of words."""
    items = _items(pen)
    operations = {
        "reverse": ", ".join(items[::-1]),
        "count": str(len(items)),
        "first": items[0],
        "last": items[-1],
        "json": as_json(items),
        "bullets": "\n".join(f"- {item}" for item in items),
    }
    what = pen.choice(list(operations))
    between = pen.choice((", ", ", ", ", ", ", ", " and ")) if len(items) == 2 else ", "
    return said(pen.ask(W[what], s=between.join(items)), operations[what])


def _numbers(pen: Pen) -> list[int]:
    return [pen.between(0, pen.choice((9, 99, 99, 999))) for _ in range(pen.between(2, 6))]


def more_lists(pen: Pen) -> Turns:
    """Other things that are done to lists."""
    numbers = pen.chance(0.3)
    items = [str(pen.between(0, 99)) for _ in range(pen.between(2, 7))] if numbers else _items(pen)
    at = pen.between(0, len(items) - 1)
    shown = ", ".join(items)
    kind = pen.between(0, 11)
    if kind == 0:
        return said(pen.ask(W["repeat"], s=shown), shown)
    if kind == 1:
        i = pen.between(0, min(4, len(items) - 1))
        ask = pen.ask(W["nth"], o=ORDINALS[i], n=i + 1, s=shown)
        return said(ask, items[i])
    if kind == 2:
        ask = pen.ask(W["remove"], w=items[at], s=shown)
        left = [item for item in items if item != items[at]]
        return said(ask, ", ".join(left) or "none")
    if kind == 3:
        new = words.word(pen)
        ask = pen.ask(W["add"], w=new, s=shown)
        return said(ask, f"{shown}, {new}")
    if kind == 4:
        if pen.chance(0.4):
            items = pen.some(list(words.CAPITALS), 2)[:6]
            shown = ", ".join(items)
        ask = pen.ask(W["number"], s=shown)
        return said(ask, "\n".join(f"{n}. {item}" for n, item in enumerate(items, 1)))
    if kind == 5:
        wanted = items[at] if pen.chance(0.5) else words.word(pen)
        ask = pen.ask(W["contains"], w=wanted, s=shown)
        return said(ask, "yes" if wanted in items else "no")
    if kind == 6:
        found = [int(item) for item in items] if numbers else _numbers(pen)
        shown = ", ".join(map(str, found))
        low = pen.chance(0.4)
        ask = pen.ask(W["smallest" if low else "largest"], s=shown)
        return said(ask, str(min(found) if low else max(found)))
    if kind == 7:
        join, sign = pen.choice(JOINTS)
        return said(pen.ask(W["join"], j=join, s=shown), sign.join(items))
    if kind == 8:
        i = pen.between(1, len(items))
        ask = pen.ask(W["front"], i=i, s=shown)
        return said(ask, ", ".join(items[:i]))
    return _sorted(pen)


def _sorted(pen: Pen) -> Turns:
    down = pen.chance(0.25)
    if pen.chance(0.7):
        most = pen.choice((9, 20, 99, 99, 999))
        numbers = [pen.between(0, most) for _ in range(pen.between(2, 7))]
        shown, due, what = ", ".join(map(str, numbers)), ", ".join(map(str, sorted(numbers, reverse=down))), "numbers"
    else:
        items = [pen.choice("abcdefghijklmnopqrstuvwxyz")[0] + pen.coined(1) for _ in range(pen.between(2, 5))]
        shown, due, what = ", ".join(items), ", ".join(sorted(items, reverse=down)), "words"
    ask = pen.ask(W[f"sort {what} down" if down else f"sort {what}"], s=shown)
    return said(ask, due)


def text_operations(pen: Pen) -> Turns:
    """What is done to a word or a few."""
    word = words.word(pen) if pen.chance(0.7) else words.phrase(pen)
    kind = pen.between(0, 9)
    if kind < 2:
        lower = kind == 1
        given = word.upper() if lower else word
        ask = pen.ask(W["lower" if lower else "upper"], w=given)
        return said(ask, given.lower() if lower else given.upper())
    if kind == 2:
        first, second = words.word(pen), words.word(pen)
        down, up = first.upper(), second
        one = pen.choice(("lower case", "lowercase", "small letters"))
        two = pen.choice(("upper case", "uppercase", "capital letters"))
        if pen.chance(0.5):
            ask, due = pen.ask(W["cases down up"], a=down, b=up, x=one, y=two), f"{first} {second.upper()}"
        else:
            ask, due = pen.ask(W["cases up down"], a=down, b=up, x=one, y=two), f"{second.upper()} {first}"
        return said(ask, due)
    word = word.split()[0]
    if kind == 3:
        ask = pen.ask(W["spell"], w=word)
        return said(ask, " ".join(word))
    if kind == 4:
        return said(pen.ask(W["capitalize"], w=word), upper_first(word))
    if kind == 5:
        word = word[:6]
        ask = pen.ask(W["backwards"], w=word)
        return said(ask, word[::-1])
    if kind == 6:
        first = pen.chance(0.6)
        where = "first" if first else "last"
        ask = pen.ask(W["letter"],
                      o=where, O=upper_first(where), w=word, v="start" if first else "end")  # fmt: skip
        return said(ask, word[0] if first else word[-1])
    if kind == 7:
        text = " ".join([words.word(pen) for _ in range(pen.between(2, 8))])
        ask = pen.ask(W["echo"], t=text)
        return said(ask, text)
    if kind == 8:
        times = pen.between(2, 5)
        spoken = {2: "twice", 3: "three times", 4: "four times", 5: "five times"}[times]
        return said(pen.ask(W["times"], w=word, n=pen.choice((spoken, f"{times} times"))), " ".join([word] * times))
    old, new = words.word(pen), words.word(pen)
    text = [words.word(pen) for _ in range(pen.between(3, 7))]
    text[pen.between(0, len(text) - 1)] = old
    ask = pen.ask(W["replace"], o=old, n=new, t=" ".join(text))
    return said(ask, " ".join(new if each == old else each for each in text))


GOOD, BAD = W["good"].split(), W["bad"].split()
ROUTES = ("math", "weather", "email", "chat")


def classify(pen: Pen) -> Turns:
    """A class for a text."""
    if pen.chance(0.7):
        good = pen.chance(0.5)
        word = pen.word(GOOD if good else BAD)
        item = pen.choice((words.THINGS, words.FOOD, words.PLACES, words.NOUNS))
        text = pen.write(
            W["praise"] if good else W["blame"],
            o=pen.word(item) if pen.chance(0.8) else pen.coined(),
            w=word,
            W=upper_first(word),
            d=pen.choice(words.DAYS),
        )
        text = words.articles(text)
        if pen.chance(0.3):
            text += " " + pen.write(
                W["praise"] if good else W["blame"],
                o=pen.word(item),
                w=word,
                W=upper_first(word),
                d=pen.choice(words.DAYS),
            )
        return said(pen.ask(W["sentiments"], t=text), "positive" if good else "negative")
    label = pen.choice(ROUTES)
    text = pen.write(
        W[f"route {label}"],
        a=words.number(pen),
        b=words.number(pen),
        c=words.city(pen),
        e=words.email(pen),
        w=words.word(pen),
    )
    ask = pen.ask(W["route"], t=text)
    return said(ask, label)


def sequence(pen: Pen) -> Turns:
    """Numbers in a row, days, months, letters."""
    kind = pen.between(0, 8)
    if kind < 3:
        a = pen.between(0, 70) if pen.chance(0.6) else 1
        b = a + pen.between(2, 30)
        return said(pen.ask(W["count from"], a=a, b=b), ", ".join(map(str, range(a, b + 1))))
    if kind == 3:
        a = pen.between(5, 30)
        return said(pen.ask(W["count down"], a=a), ", ".join(map(str, range(a, -1, -1))))
    if kind == 4:
        d, n = pen.choice((2, 3, 5, 10)), pen.between(3, 10)
        return said(pen.ask(W["multiples"], n=n, d=d), ", ".join(str(d * i) for i in range(1, n + 1)))
    if kind == 5:
        which = pen.choice((("the days of the week", words.DAYS), ("the months of the year", words.MONTHS)))
        return said(pen.ask(W["row"], w=which[0]), ", ".join(which[1]))
    if kind == 6:
        return said(pen.ask(W["alphabet"]), " ".join("abcdefghijklmnopqrstuvwxyz"))
    row, what = pen.choice(((words.DAYS, "day"), (words.MONTHS, "month")))
    at, after = pen.between(0, len(row) - 1), pen.chance(0.5)
    ask = pen.ask(W["neighbor"], w=what, o="after" if after else "before", x=row[at])
    return said(ask, row[(at + (1 if after else -1)) % len(row)])


def pick(pen: Pen) -> Turns:
    """The best of several by their scores."""
    size = pen.between(2, 5)
    scores = pen.random.sample(range(100), size)
    lines = "\n".join(f"{'ABCDE'[i]}) {words.word(pen)} (score {score})" for i, score in enumerate(scores))
    ask = pen.ask(W["pick"])
    return said(f"{ask}\n{lines}", "ABCDE"[scores.index(max(scores))])

"""Tool calls: some tools, requests for them, the calls, their results and what is told of these."""

from __future__ import annotations

from tiny import words
from tiny.banks import banks
from tiny.pen import Pen, upper_first
from tiny.requests import Asked, invented, known
from tiny.talk import NO_IDEA, TALK, capital, unknown
from tiny.turns import Turns, said
from tiny.words import Value, as_json

W = banks("calls")
HEADS = (
    "You can call tools.\n<tools>\n{t}\n</tools>", "You are a helpful assistant.\n\n# Tools\n<tools>\n{t}\n</tools>",
    "Tools you may use:\n<tools>\n{t}\n</tools>\n"
    'To use one, write <tool_call>{{"name": ..., "arguments": ...}}</tool_call>.',
)  # fmt: skip
AT_HAND = [
    asked for asked, due in TALK.items() if due not in (NO_IDEA, "I can not see outside, but a tool could tell me.")
]
"""What may be said to a model that has tools."""


def tools_of(pen: Pen, count: int = 0) -> tuple[str, list[Asked]]:
    """Some tools, and how they are shown."""
    made = [(known if pen.chance(0.55) else invented)(pen) for _ in range(count or pen.choice((1, 2, 2, 3, 3, 4, 5)))]
    by_name = {asked[0]["name"]: asked for asked in made}
    wrapped = pen.plain or pen.chance(0.8)
    head = HEADS[0] if pen.plain else pen.choice(HEADS)
    shown = "\n".join(
        [as_json({"type": "function", "function": schema} if wrapped else schema) for schema, _, _ in by_name.values()]
    )
    return head.format(t=shown), pen.shuffled(list(by_name.values()))


def written(asked: Asked) -> str:
    """The call as a model writes it."""
    return f"<tool_call>{as_json({'name': asked[0]['name'], 'arguments': asked[2]})}</tool_call>"


def call(pen: Pen) -> Turns:
    """One request among several tools; the last turn is the call."""
    system, made = tools_of(pen)
    return [("system", system), ("user", made[0][1]), ("assistant", written(made[0]))]


def conversation(pen: Pen) -> Turns:
    """Requests, calls, results and what is told of them; talk in between, and what no tool is there for."""
    system, made = tools_of(pen)
    turns: Turns = [("system", system)]
    for nth, asked in enumerate(made[: pen.choice((1, 1, 2, 2, 3))]):
        kind = pen.random.random()
        if kind < 0.1:
            turns += _besides(pen)
        elif kind < 0.18 and len(made) > 1:
            other = made[nth - 1]
            results = [_result(pen), _result(pen)]
            joined = pen.write(" Also: | And then: | Then: | And: |\n") + other[1]
            turns += said(asked[1] + joined, f"{written(asked)}\n{written(other)}")
            turns += [*(("tool", shown) for shown, _ in results), ("assistant", " ".join(told for _, told in results))]
            continue
        elif kind < 0.23 and len(made) > 1:  # both before a result is there
            other = made[nth - 1]
            (shown, told), (shown2, told2) = _result(pen), _result(pen)
            turns += [
                *said(asked[1], written(asked)),
                *said(other[1], written(other)),
                ("tool", shown),
                ("assistant", told),
            ]
            turns += [*(_besides(pen) if pen.chance(0.3) else []), ("tool", shown2), ("assistant", told2)]
            continue
        turns += said(asked[1], written(asked))
        if pen.chance(0.1):  # the result comes later
            turns += _besides(pen)
        shown, told = _result(pen)
        turns += [("tool", shown), ("assistant", told)]
    return turns


def _besides(pen: Pen) -> Turns:
    """What needs no tool."""
    kind = pen.between(0, 4)
    if kind == 0:
        return unknown(pen)
    if kind == 1:
        return capital(pen)
    asked = pen.choice(list(AT_HAND)[: 6 if kind < 4 else None])
    return said(pen.ask(asked), TALK[asked])


RESULTS = W["results"].split()


def _sky(pen: Pen) -> str:
    return f"{words.word(pen)}, {words.number(pen)} degrees"


def _result(pen: Pen) -> tuple[str, str]:
    """What a tool returns, and how the model tells it."""
    kind = pen.random.random()
    if kind < 0.08:
        error = words.phrase(pen)
        return as_json({"error": error}), f"Sorry, the call failed: {error}."
    if kind < 0.2:
        text = pen.choice((words.word, words.phrase, words.number, _sky))(pen)
        return str(text), f"The result is {text}."
    made: dict[str, Value] = {}
    for _ in range(pen.choice((1, 1, 2, 2, 3, 4))):
        value = words.number(pen) if pen.chance(0.4) else words.anything(pen)
        made[pen.choice(RESULTS) if pen.chance(0.8) else pen.coined()] = value
    return as_json(made), upper_first(" and ".join([f"the {key} is {value}" for key, value in made.items()])) + "."

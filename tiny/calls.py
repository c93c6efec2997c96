"""Tool calls: tools with a schema, requests for one of them, the call, its result and the answer.

Tools of daily life have requests composed of an opening, a verb phrase and its arguments in any order; made-up tools
have names, parameters and values that nobody has seen. One tool in five is for evaluation only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tiny import words
from tiny.pen import Manner, Pen, upper_first
from tiny.tasks import Turns


@dataclass(slots=True, frozen=True)
class Tool:
    """`parts` are ways to say each argument; `does` what is done, without them."""

    name: str
    description: str
    parameters: Mapping[str, tuple[str, words.Maker]]
    does: list[str]
    parts: Mapping[str, list[str]]


PRIORITIES = ["low", "medium", "high", "low", "urgent"]
TOOLS = [
    Tool("get_weather", "Get the current weather for a city", {"city": ("string", words.city)},
         ["What is the weather", "Tell me the weather", "How is the weather", "Look at the sky"],
         {"city": ["in {city}", "for {city}", "over {city}"]}),
    Tool("send_email", "Send an email", {"to": ("string", words.email), "subject": ("string", words.phrase)},
         ["Send an email", "Write an email", "Mail", "Drop a line"],
         {"to": ["to {to}", "to the address {to}", "addressed to {to}"],
          "subject": ["with the subject {subject}", "about {subject}", "on the matter of {subject}"]}),
    Tool("set_timer", "Set a timer", {"minutes": ("integer", words.number)},
         ["Set a timer", "Start a timer", "Wind up a timer"],
         {"minutes": ["for {minutes} minutes", "of {minutes} minutes", "that rings in {minutes} minutes"]}),
    Tool("book_flight", "Book a flight",
         {"origin": ("string", words.city), "destination": ("string", words.city), "date": ("string", words.date)},
         ["Book a flight", "Get me a flight", "Find me a seat on a plane"],
         {"origin": ["from {origin}", "leaving {origin}", "out of {origin}"],
          "destination": ["to {destination}", "going to {destination}", "bound for {destination}"],
          "date": ["on {date}", "for {date}", "with departure {date}"]}),
    Tool("get_order", "Get the status of an order", {"order_id": ("string", words.code)},
         ["Check the order", "What is the status of order", "How far is order"],
         {"order_id": ["{order_id}", "with the id {order_id}", "numbered {order_id}"]}),
    Tool("create_ticket", "Create a support ticket",
         {"title": ("string", words.phrase), "priority": ("string", words.of(PRIORITIES))},
         ["Create a ticket", "Open a ticket", "File a complaint"],
         {"title": ["with title {title}", "about {title}", "that says {title}"],
          "priority": ["and priority {priority}", "with {priority} priority", "marked {priority}"]}),
    Tool("translate", "Translate text to another language",
         {"text": ("string", words.phrase), "language": ("string", words.of(words.LANGUAGES))},
         ["Translate", "Put", "Say"], {"text": ["{text}", "the text {text}", "the words {text}"],
          "language": ["to {language}", "into {language}", "in {language}"]}),
    Tool("set_light", "Set the light in a room",
         {"room": ("string", words.of(words.PLACES)), "brightness": ("integer", words.within(0, 100))},
         ["Set the light", "Dim the light", "Bring the lamp"],
         {"room": ["in the {room}", "of the {room}", "over in the {room}"],
          "brightness": ["to {brightness}", "to {brightness} percent", "down to {brightness}"]}),
    Tool("delete_file", "Delete a file", {"path": ("string", words.path)},
         ["Delete", "Remove", "Throw away"], {"path": ["{path}", "the file {path}", "what is in {path}"]}),
    Tool("get_distance", "Get the distance between two cities",
         {"start": ("string", words.city), "end": ("string", words.city)},
         ["How far is it", "What is the distance", "How long is the way"],
         {"start": ["from {start}", "between {start}", "starting in {start}"],
          "end": ["to {end}", "and {end}", "ending in {end}"]}),
]  # fmt: skip
OPENINGS = ["", "Please ", "Can you ", "I need you to ", "Could you ", "Hi! Please ", "Would you be so kind and "]
ENDINGS = ["", "", " please", ", thanks", " right now", ", if you can"]
HEAD = "You can call tools.\n<tools>\n{tools}\n</tools>"
Asked = tuple[dict[str, Any], str, dict[str, Any]]
"""A schema, a request, the arguments that it names."""


def known(pen: Pen) -> Asked:
    tool = pen.word(TOOLS)
    arguments = {key: make(pen) for key, (_, make) in tool.parameters.items()}
    keys = list(arguments)
    if pen.manner is not Manner.PLAIN and tool.name not in ("translate", "get_distance"):
        keys = pen.shuffled(keys)
    does = pen.wording(tool.does)
    parts = [pen.wording(tool.parts[key]).format(**arguments) for key in keys]
    question = does.split()[0] in ("What", "How")
    opening = "" if question or pen.manner is Manner.PLAIN else pen.wording(OPENINGS)
    ending = "" if pen.manner is Manner.PLAIN else pen.wording(ENDINGS)
    if opening:
        does = does[0].lower() + does[1:]
    request = f"{opening}{does} {' '.join(parts)}{ending}{'?' if question else '.'}"
    kinds = {key: kind for key, (kind, _) in tool.parameters.items()}
    return _schema(tool.name, tool.description, kinds), pen.slip(request), arguments


def invented(pen: Pen) -> Asked:
    verb, noun = pen.word(words.VERBS), pen.word(words.NOUNS) if pen.chance(0.5) else pen.coined()
    arguments: dict[str, Any] = {}
    kinds: dict[str, str] = {}
    for _ in range(pen.between(1, 3)):
        key = pen.choice([pen.coined(), words.word(pen), f"{pen.word(words.NOUNS)}_id"])
        kinds[key] = pen.choice(["string", "string", "integer", "number"])
        makers: dict[str, words.Maker] = {"string": words.word, "integer": words.number, "number": words.amount}
        arguments[key] = makers[kinds[key]](pen)
    one = pen.wording(["{k} {v}", "{k}: {v}", "{k}={v}", "{v} as the {k}"])
    said = pen.choice([" and ", ", "]).join(one.format(k=key, v=value) for key, value in arguments.items())
    shapes = [
        "{w} with {p}.",
        "Please {w} with {p}.",
        "Can you {w}? Use {p}.",
        "I need to {w}: {p}.",
        "Now it is time to {w}, given {p}.",
    ]
    request = pen.wording(shapes).format(w=f"{verb} the {noun}", p=said)
    schema = _schema(f"{verb}_{noun}", f"{upper_first(verb)} the {noun}", kinds)
    return schema, pen.slip(upper_first(request)), arguments


def _schema(name: str, description: str, kinds: dict[str, str]) -> dict[str, Any]:
    properties = {key: {"type": kind} for key, kind in kinds.items()}
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"name": name, "description": description, "parameters": parameters}


def call(pen: Pen) -> Turns:
    """One request among several tools; the last turn is the call."""
    made = [(known if pen.chance(0.5) else invented)(pen) for _ in range(pen.between(1, 4))]
    by_name = {asked[0]["name"]: asked for asked in made}
    schema, request, arguments = pen.choice(list(by_name.values()))
    shown = "\n".join(json.dumps({"type": "function", "function": each}) for each, _, _ in by_name.values())
    answer = json.dumps({"name": schema["name"], "arguments": arguments}, ensure_ascii=False)
    return [
        ("system", HEAD.format(tools=shown)),
        ("user", request),
        ("assistant", f"<tool_call>{answer}</tool_call>"),
    ]


def conversation(pen: Pen) -> Turns:
    """A call, its result, and the result told."""
    key, value = (
        pen.word(["result", "status", "total", "price", "answer"]),
        pen.choice([words.number(pen), words.word(pen)]),
    )
    return [*call(pen), ("tool", json.dumps({key: value})), ("assistant", f"The {key} is {value}.")]

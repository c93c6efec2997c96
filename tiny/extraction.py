"""JSON from text: some fields of a record, under the names that are asked for."""

from __future__ import annotations

from tiny.banks import banks
from tiny.pen import Pen, upper_first
from tiny.records import Record, record, renamed
from tiny.turns import Turns, said
from tiny.words import Value, as_json, as_list

W = banks("extraction")


def extraction(pen: Pen) -> Turns:
    """Some fields of a record, under the names that are asked for."""
    fields, text = record(pen)
    chosen = {label: fields[label] for label in pen.some(list(fields))}
    if not pen.plain and pen.chance(0.15):
        chosen = _renamed(pen, chosen, fields)
    listed = list(chosen)
    kind = 0.0 if pen.plain else pen.random.random()
    if kind < 0.25:
        ask = pen.ask(W["plain asks"], k=", ".join(listed), s=text)
    elif kind < 0.42 and not pen.unseen:
        told = _framed(pen, listed)
        ask = pen.write(W["ahead" if pen.chance(0.5) else "behind"], a=told, s=text)
    elif kind < 0.85:
        pen.kept = pen.unseen and pen.chance(0.5)
        shown = as_json(listed) if pen.chance(0.05) else as_list(listed, pen.choice((" and ", ", ")))
        form = pen.write(W["forms"])
        verb = pen.write(W["verbs"])
        small = verb.lower() if verb[0] != "I" else verb
        keys = pen.write(W["keys"], k=shown)
        told = pen.ask(W["asks"], v=verb, w=small, k=keys, f=form, F=upper_first(form))
        ask = pen.write(W["ahead" if pen.chance(0.5) else "behind"], a=told, s=text)
    elif kind < 0.93:
        types = {label: {"type": _type(value)} for label, value in chosen.items()}
        ask = pen.write(W["schema"], k=as_json({"type": "object", "properties": types, "required": listed}), s=text)
    else:
        return said(pen.ask(W["compact"], k=", ".join(listed), s=text), as_json(chosen, compact=True))
    return said(ask, as_json(chosen))


def _framed(pen: Pen, listed: list[str]) -> str:
    """The keys and the word JSON, among others that say nothing."""
    told = [pen.write(W["noise"]) for _ in range(3)]
    told[pen.between(0, 1)] += f" {pen.write(W['keys'], k=as_list(listed, pen.choice((' and ', ', '))))}"
    told[pen.between(1, 2)] += f" {pen.write(W['forms'])}"
    return " ".join(" ".join(told).split())


def _renamed(pen: Pen, chosen: Record, fields: Record) -> Record:
    """Under other names, as long as they are clear."""
    out: Record = {}
    for label, value in chosen.items():
        other = renamed(pen, label)
        out[label if other in fields or other in out else other] = value
    return out


def _type(value: Value) -> str:
    return "string" if isinstance(value, str) else "integer" if isinstance(value, int) else "number"

"""`symphony:lip/constraint`: grammars that restrict the next token. Source: `wit/constraint.wit`; semantics 12.

The matchers are the core's, beside the engine; a handle is an id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from symphony.constraint.grammar import Grammar
from symphony.syscall.caller import Caller
from symphony.syscall.model import Model
from symphony.syscall.values import Handler


class Constraint:
    """A guest's handle on a constraint."""

    __slots__ = ("caller", "id", "model")

    def __init__(self, caller: Caller, model: str, id: int) -> None:
        self.caller = caller
        self.model = model
        self.id = id

    def drop(self) -> None:
        self.caller.core.constraints.release(self.caller.session, self.id)


async def _compile(caller: Caller, model: Model, grammar: Grammar) -> Constraint:
    number = await caller.core.constraints.compile(caller.session, model.name, grammar)
    return Constraint(caller, model.name, number)


async def json_schema(caller: Caller, model: Model, schema: str, spacing: str | None) -> Constraint:
    return await _compile(caller, model, Grammar("json-schema", schema, spacing or "spaced"))


async def regex(caller: Caller, model: Model, pattern: str) -> Constraint:
    return await _compile(caller, model, Grammar("regex", pattern))


async def grammar(caller: Caller, model: Model, lark: str) -> Constraint:
    return await _compile(caller, model, Grammar("grammar", lark))


async def choice(caller: Caller, model: Model, options: list[str]) -> Constraint:
    return await _compile(caller, model, Grammar("choice", options))


def consume(caller: Caller, constraint: Constraint, tokens: Any) -> None:
    caller.core.constraints.consume(caller.session, constraint.id, tokens)


def rollback(caller: Caller, constraint: Constraint, n: int) -> None:
    caller.core.constraints.rollback(caller.session, constraint.id, n)


def fork(caller: Caller, constraint: Constraint) -> Constraint:
    return Constraint(caller, constraint.model, caller.core.constraints.fork(caller.session, constraint.id))


async def mask(caller: Caller, constraint: Constraint) -> npt.NDArray[np.uint32]:
    return np.frombuffer(await caller.core.constraints.mask(caller.session, constraint.id), "<u4")


def forced(caller: Caller, constraint: Constraint) -> list[int]:
    return caller.core.constraints.forced(caller.session, constraint.id)


def is_complete(caller: Caller, constraint: Constraint) -> bool:
    return caller.core.constraints.complete(caller.session, constraint.id)


def is_done(caller: Caller, constraint: Constraint) -> bool:
    return caller.core.constraints.done(caller.session, constraint.id)


HANDLERS: Mapping[str, Handler] = {
    "symphony:lip/constraint#[static]constraint.json-schema": json_schema,
    "symphony:lip/constraint#[static]constraint.regex": regex,
    "symphony:lip/constraint#[static]constraint.grammar": grammar,
    "symphony:lip/constraint#[static]constraint.choice": choice,
    "symphony:lip/constraint#[method]constraint.consume": consume,
    "symphony:lip/constraint#[method]constraint.rollback": rollback,
    "symphony:lip/constraint#[method]constraint.fork": fork,
    "symphony:lip/constraint#[method]constraint.mask": mask,
    "symphony:lip/constraint#[method]constraint.forced": forced,
    "symphony:lip/constraint#[method]constraint.is-complete": is_complete,
    "symphony:lip/constraint#[method]constraint.is-done": is_done,
}

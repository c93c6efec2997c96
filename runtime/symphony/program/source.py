"""Python sources, looked at by the interpreter itself: in the sandbox, with its own grammar, without running them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from symphony.errors import InvalidProgram, LimitExceeded
from symphony.param import CHECK_FUEL
from symphony.sandbox import Exited, Failed, Instance, InstanceLimits, LoadedProgram, Returned, Sandbox, Trapped, Turn
from symphony.syscall.values import Ok


@dataclass(slots=True)
class _Nobody:
    """Who calls while a source is looked at: a caller without rights. The interpreter needs only clock and random."""

    pid: int = 0
    tenant: str = ""
    session: int = 0
    started_ns: int = 0

    @property
    def environment(self) -> list[tuple[str, str]]:
        return []

    def stirred(self) -> None:
        """It has no files."""

    def stdio(self, stream: str, data: bytes) -> None:
        """Warnings of the compiler; nobody reads them."""


def request(source: str, filename: str, args: str | None) -> str:
    """What the interpreter's `run` takes; `args` is JSON already, None only looks at the source."""
    text = f'{{"source": {json.dumps(source)}, "filename": {json.dumps(filename)}'
    return f'{text}, "args": {args}}}' if args is not None else text + "}"


async def look(sandbox: Sandbox, interpreter: LoadedProgram, source: str, filename: str) -> dict[str, str]:
    """The parameters of a source's main function, with their annotations; empty where none is visible.

    Raises `InvalidProgram` with the line of a syntax error, without a main function, or if parsing it goes wrong in any
    way. Lets others run between fuel slices.
    """
    woken = asyncio.Event()
    limits = InstanceLimits(fuel=CHECK_FUEL)
    nobody: Any = _Nobody()
    instance = sandbox.instantiate(interpreter, nobody, limits, lambda _: woken.set())
    try:
        instance.start(request(source, filename, None))
        while (turn := instance.turn()) is not Turn.DONE:
            if turn is Turn.BLOCKED:
                await woken.wait()
                woken.clear()
            else:
                await asyncio.sleep(0)
    except BaseException:
        instance.kill(LimitExceeded("the upload was abandoned"))
        raise
    return _verdict(instance)


def _verdict(instance: Instance) -> dict[str, str]:
    outcome = instance.outcome
    if isinstance(outcome, Returned) and isinstance(outcome.value, Ok):
        parameters = json.loads(outcome.value.value)
        if parameters is None:
            raise InvalidProgram(
                "the program has no entry point", "put @main (from lip import main) above its main function"
            )
        return parameters
    if isinstance(outcome, Returned):
        told: Any = outcome.value.value
        raise InvalidProgram(f"the program is not valid Python:\n{told}")
    if isinstance(outcome, Failed) and isinstance(outcome.error, LimitExceeded):
        raise InvalidProgram(f"the program cannot be parsed: {outcome.error.message}", "make the source smaller")
    if isinstance(outcome, Failed):
        raise outcome.error
    why = (
        outcome.message
        if isinstance(outcome, Trapped)
        else f"exit {outcome.code}"
        if isinstance(outcome, Exited)
        else ""
    )
    raise InvalidProgram(f"the program cannot be parsed: the interpreter ended ({why})", "make the source simpler")

"""Components for the tests, as WAT; and a driver that runs a program that calls no model."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from wasmtime import wat2wasm

from symphony.program.programs import Launchable
from symphony.sandbox import InstanceLimits, Returned, Sandbox, Turn
from symphony.syscall.values import Err, Ok

ECHO = """(component
  (core module $m
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at))
    (func (export "run") (param i32 i32) (result i32)
      (i32.store8 (i32.const 16) (i32.const 0))
      (i32.store (i32.const 20) (local.get 0))
      (i32.store (i32.const 24) (local.get 1))
      (i32.const 16)))
  (core instance $i (instantiate $m))
  (func $run (param "args" string) (result (result string (error string)))
    (canon lift (core func $i "run") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (export "run" (func $run)))"""
"""Answers with its argument."""

NO_RUN = '(component (core module $m (func (export "go"))) (core instance $i (instantiate $m)) (func $go (canon lift (core func $i "go"))) (export "go" (func $go)))'  # noqa: E501
UNKNOWN_IMPORT = ECHO.replace(
    "(component\n", '(component (import "acme:rockets/launch" (instance (export "go" (func))))\n', 1
)
OTHER_TYPE = ECHO.replace(
    "(component\n",
    '(component (import "symphony:lip/ipc@0.1.0" (instance (export "emit" (func (param "text" u64) (result u64)))))\n',
    1,
)
WRONG_RUN = NO_RUN.replace('(export "go" (func $go))', '(export "run" (func $go))')
INVALID_CODE = "(component (core module (func (result i32))))"


def wasm(wat: str) -> bytes:
    return bytes(wat2wasm(wat))


def bomb(loops: int = 400, variables: int = 300) -> bytes:
    """A small component that is expensive to compile: nested loops that change many variables."""
    types = " ".join(["i32"] * variables)
    changes = "".join(
        f"(local.set {i} (i32.add (local.get {(i * 7 + 1) % variables}) (i32.load (local.get {i}))))"
        for i in range(variables)
    )
    body = ""
    for k in range(loops):
        body = f"(loop {changes if k % 8 == 0 else ''} (br_if 0 (local.get {k % variables})) {body})"
    return wasm(f"(component (core module (memory 1) (func (local {types}) {body})))")


@dataclass
class Nobody:
    """A caller without a core: what programs that call no model need."""

    pid: int = 1
    tenant: str = "local"
    session: int = 0
    started_ns: int = 0
    environment: list[tuple[str, str]] = field(default_factory=list)
    written: bytearray = field(default_factory=bytearray)

    def stirred(self) -> None:
        """It has no files."""

    def stdio(self, stream: str, data: bytes) -> None:
        self.written += data


async def run(sandbox: Sandbox, program: Launchable, caller: Nobody | None = None, /, **args: Any) -> Any:
    """The result of a run; an error text is raised as `AssertionError`."""
    woken = asyncio.Event()
    nobody: Any = caller or Nobody()
    instance = sandbox.instantiate(program.program, nobody, InstanceLimits(), lambda _: woken.set())
    instance.start(program.argument(json.dumps(args)))
    while (turn := instance.turn()) is not Turn.DONE:
        if turn is Turn.BLOCKED:
            await woken.wait()
            woken.clear()
    outcome = instance.outcome
    assert isinstance(outcome, Returned), outcome
    if isinstance(outcome.value, Ok):
        return json.loads(outcome.value.value)
    assert isinstance(outcome.value, Err)
    raise AssertionError(outcome.value.value)

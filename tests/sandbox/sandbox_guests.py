"""Tiny guests in WAT, and the little that tests need to run them: a caller, a round-robin loop.

A guest is `guest(imports, body)`: `imports` declares component imports and lowers them, `body` is the core function
`run`. The argument's bytes are at (`$p`, `$n`); the answer is what `$ok` or `$err` is given.
"""

from __future__ import annotations

import asyncio
import collections
import time
from pathlib import Path
from typing import Any

import wasmtime

from symphony.sandbox import Instance, InstanceLimits, LoadedProgram, Sandbox, SandboxConfig, Turn, compile_component
from symphony.sandbox.config import engine_key

WASM = Path(__file__).parents[2] / "build" / "test-wasm"


class FakeCaller:
    """Stands in for a process."""

    def __init__(self, environment: list[tuple[str, str]] | None = None) -> None:
        self.pid = 1
        self.tenant = "local"
        self.core: Any = None
        self.session = 0
        self.tools: dict[str, Any] = {}
        self.started_ns = time.monotonic_ns()
        self.environment = environment or []
        self.written: dict[str, bytes] = collections.defaultdict(bytes)
        self.logged: list[tuple[str, str]] = []
        self.emitted: list[str] = []

    async def emit(self, text: str) -> None:
        self.emitted.append(text)

    def log(self, level: str, text: str) -> None:
        self.logged.append((level, text))

    def stdio(self, stream: str, data: bytes) -> None:
        self.written[stream] += data


LIBC = """
  (core module $libc
    (memory (export "memory") 2)
    (global $top (mut i32) (i32.const 0x10000))
    (func (export "reset") (global.set $top (i32.const 0x10000)))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $p i32)
      (local.set $p (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
      (global.set $top (i32.add (local.get $p) (local.get 3)))
      (if (i32.gt_u (global.get $top) (i32.mul (memory.size) (i32.const 65536)))
        (then (drop (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get 3) (i32.const 16)))))))
      (local.get $p)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $mem))
  (alias core export $libc "realloc" (core func $realloc))
"""


def guest(body: str, imports: str = "", lowered: str = "", core_imports: str = "", extra: str = "") -> str:
    """A LIP. `imports`: component-level imports; `lowered`: `(core func $x (canon lower ...))`s; `core_imports`: the
    core module's imports of them from `"host"`; `body`: instructions of `run`, which end in a call of `$ok`/`$err`.

    Scratch memory below 0x10000: 0 the return area of `run`, 64.. free for the guest.
    """
    names = [part.split()[1].lstrip("$") for part in lowered.split("(core func ")[1:] for part in ["x " + part]]
    exports = " ".join(f'(export "{n}" (func ${n}))' for n in names)
    return f"""(component
  {imports}
  {LIBC}
  {lowered}
  (core module $m
    (import "libc" "memory" (memory 1))
    (import "libc" "reset" (func $reset))
    {core_imports}
    (func $ok (param $p i32) (param $n i32) (result i32)
      (i32.store (i32.const 0) (i32.const 0)) (i32.store (i32.const 4) (local.get $p))
      (i32.store (i32.const 8) (local.get $n)) (i32.const 0))
    (func $err (param $p i32) (param $n i32) (result i32)
      (drop (call $ok (local.get $p) (local.get $n))) (i32.store (i32.const 0) (i32.const 1)) (i32.const 0))
    ;; the decimal digits of a number as the answer
    (func $number (param $v i32) (result i32) (local $p i32)
      (local.set $p (i32.const 60))
      (loop $l
        (local.set $p (i32.sub (local.get $p) (i32.const 1)))
        (i32.store8 (local.get $p) (i32.add (i32.const 48) (i32.rem_u (local.get $v) (i32.const 10))))
        (local.set $v (i32.div_u (local.get $v) (i32.const 10)))
        (br_if $l (local.get $v)))
      (call $ok (local.get $p) (i32.sub (i32.const 60) (local.get $p))))
    ;; the argument as a decimal number
    (func $parse (param $p i32) (param $n i32) (result i32) (local $v i32)
      (block $done (loop $l
        (br_if $done (i32.eqz (local.get $n)))
        (local.set $v (i32.add (i32.mul (local.get $v) (i32.const 10))
          (i32.sub (i32.load8_u (local.get $p)) (i32.const 48))))
        (local.set $p (i32.add (local.get $p) (i32.const 1)))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br $l)))
      (local.get $v))
    {extra}
    (func (export "run") (param $p i32) (param $n i32) (result i32) (local $i i32) (local $h i32) (local $s i32)
      {body}))
  (core instance $m (instantiate $m
    (with "libc" (instance $libc))
    (with "host" (instance {exports}))))
  (func (export "run") (param "args" string) (result (result string (error string)))
    (canon lift (core func $m "run") (memory $mem) (realloc $realloc)))
)"""


ECHO = guest("(call $ok (local.get $p) (local.get $n))")
SPIN = guest("(loop $l (br $l)) (unreachable)")
TRAP = guest("(unreachable)")
RECURSE = guest(
    "(call $number (call $rec (i32.const 1)))",
    extra="(func $rec (param i32) (result i32) (i32.add (call $rec (local.get 0)) (i32.const 1)))",
)
GROW = guest("(call $number (memory.grow (call $parse (local.get $p) (local.get $n))))")


def compiled(source: str | bytes, config: SandboxConfig, folder: Path) -> Path:
    """The compiled component of WAT or wasm, in `folder`, made once."""
    import hashlib

    raw = source.encode() if isinstance(source, str) else source
    path = folder / f"{hashlib.sha256(raw).hexdigest()[:16]}-{engine_key(config)}.cwasm"
    if not path.exists():
        wasm = bytes(wasmtime.wat2wasm(source)) if isinstance(source, str) else source
        part = path.with_suffix(f".{time.monotonic_ns()}")
        part.write_bytes(compile_component(wasm, config))
        part.rename(path)
    return path


class Loop:
    """Gives instances their turns, in order of waking."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.ready: collections.deque[Instance] = collections.deque()
        self.turns = 0

    def spawn(self, program: LoadedProgram, argument: str = "", caller: Any = None, **limits: int) -> Instance:
        instance = self.sandbox.instantiate(
            program, caller or FakeCaller(), InstanceLimits(**limits), self.ready.append
        )
        instance.start(argument)
        self.ready.append(instance)
        return instance

    def run(self, turns: int = 1_000_000) -> None:
        """Until nobody is ready."""
        while self.ready and turns:
            turns -= 1
            self.step()

    def step(self) -> None:
        instance = self.ready.popleft()
        self.turns += 1
        if instance.turn() is Turn.YIELDED:
            self.ready.append(instance)

    def outcome(self, program: LoadedProgram, argument: str = "", caller: Any = None, **limits: int) -> Any:
        instance = self.spawn(program, argument, caller, **limits)
        self.run()
        return instance.outcome

    async def settle(self, *instances: Instance, seconds: float = 20.0) -> None:
        """Until these are done, with an event loop for timers."""
        async with asyncio.timeout(seconds):
            while any(i.outcome is None for i in instances):
                for _ in range(min(64, len(self.ready))):
                    self.step()
                await asyncio.sleep(0 if self.ready else 0.001)

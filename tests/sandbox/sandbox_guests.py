"""Tiny guests in WAT, and the little that tests need to run them: a caller, a round-robin loop.

A guest is `guest(imports, body)`: `imports` declares component imports and lowers them, `body` is the core function
`run`. The argument's bytes are at (`$p`, `$n`); the answer is what `$ok` or `$err` is given.
"""

from __future__ import annotations

import asyncio
import collections
import hashlib
import time
from pathlib import Path
from typing import Any

import wasmtime

from symphony.errors import Busy, Cancelled, NotFound
from symphony.sandbox import Instance, InstanceLimits, LoadedProgram, Sandbox, SandboxConfig, Turn, compile_component
from symphony.sandbox.config import engine_key
from symphony.syscall.pollable import Waiter

CACHE = Path(__file__).parents[2] / "build" / "test-wasm"
"""Compiled guests and the Python guest, kept between test runs; every name carries what it was made from."""


CONFIG = SandboxConfig(max_instances=1100)


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

    def stirred(self) -> None:
        """It has no files."""

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


# --- an interface for tests, `symphony:test/sys` ---
ERROR = (
    "record",
    (("code", ("enum", ("not-found", "invalid", "internal"))), ("message", ("string",)), ("hint", ("string",))),
)
THING = "symphony:test/sys#thing"
U32 = ("u32",)
REFERENCE: dict[str, Any] = {
    "symphony:test/sys#step": ((("x", U32),), U32),
    "symphony:test/sys#wait": ((("x", U32),), U32),
    "symphony:test/sys#boom": ((("how", U32),), U32),
    "symphony:test/sys#make": ((), ("own", THING)),
    "symphony:test/sys#late": ((), ("own", THING)),
    "symphony:test/sys#[method]thing.get": ((("self", ("borrow", THING)),), U32),
    "symphony:test/sys#take": ((("it", ("own", THING)),), U32),
    "symphony:test/sys#sum": ((("l", ("list", ("borrow", THING))),), U32),
    "symphony:test/sys#say": ((("text", ("string",)),), ("string",)),
    "symphony:test/sys#fails": ((("x", U32),), ("result", U32, ERROR)),
}

SYS = """
  (import "symphony:test/sys@0.1.0" (instance $sys
    (export "thing" (type $thing (sub resource)))
    (type $code' (enum "not-found" "invalid" "internal"))
    (export "error-code" (type $code (eq $code')))
    (type $error' (record (field "code" $code) (field "message" string) (field "hint" string)))
    (export "error" (type $error (eq $error')))
    (export "step" (func (param "x" u32) (result u32)))
    (export "wait" (func (param "x" u32) (result u32)))
    (export "boom" (func (param "how" u32) (result u32)))
    (export "make" (func (result (own $thing))))
    (export "late" (func (result (own $thing))))
    (export "[method]thing.get" (func (param "self" (borrow $thing)) (result u32)))
    (export "take" (func (param "it" (own $thing)) (result u32)))
    (export "sum" (func (param "l" (list (borrow $thing))) (result u32)))
    (export "say" (func (param "text" string) (result string)))
    (export "fails" (func (param "x" u32) (result (result u32 (error $error)))))))
  (alias export $sys "thing" (type $thing))
"""
SYS_LOWERED = """
  (core func $step (canon lower (func $sys "step")))
  (core func $wait (canon lower (func $sys "wait")))
  (core func $boom (canon lower (func $sys "boom")))
  (core func $make (canon lower (func $sys "make")))
  (core func $late (canon lower (func $sys "late")))
  (core func $get (canon lower (func $sys "[method]thing.get")))
  (core func $take (canon lower (func $sys "take")))
  (core func $sum (canon lower (func $sys "sum") (memory $mem)))
  (core func $say (canon lower (func $sys "say") (memory $mem) (realloc $realloc)))
  (core func $fails (canon lower (func $sys "fails") (memory $mem) (realloc $realloc)))
  (core func $drop (canon resource.drop $thing))
"""
SYS_CORE = """
    (import "host" "step" (func $step (param i32) (result i32)))
    (import "host" "wait" (func $wait (param i32) (result i32)))
    (import "host" "boom" (func $boom (param i32) (result i32)))
    (import "host" "make" (func $make (result i32)))
    (import "host" "late" (func $late (result i32)))
    (import "host" "get" (func $get (param i32) (result i32)))
    (import "host" "take" (func $take (param i32) (result i32)))
    (import "host" "sum" (func $sum (param i32 i32) (result i32)))
    (import "host" "say" (func $say (param i32 i32 i32)))
    (import "host" "fails" (func $fails (param i32 i32)))
    (import "host" "drop" (func $drop (param i32)))
"""


def sys_guest(body: str, extra: str = "") -> str:
    """A guest that imports all of `symphony:test/sys`."""
    return guest(body, SYS, SYS_LOWERED, SYS_CORE, extra)


class Thing:
    """A host object behind a handle; counts its drops."""

    def __init__(self, host: TestHost, value: int) -> None:
        self.host = host
        self.value = value
        self.drops = 0
        host.things.append(self)

    def drop(self) -> None:
        self.drops += 1
        self.host.dropped.append(self.value)


class TestHost:
    """Handlers of `symphony:test/sys` and what they saw."""

    __test__ = False

    def __init__(self) -> None:
        self.waiting: list[Waiter] = []
        self.things: list[Thing] = []
        self.dropped: list[int] = []
        self.calls: list[str] = []
        self.closed = 0
        self.answer: Any = lambda text: text

    def release(self) -> int:
        """Wake everybody who waits."""
        waiting, self.waiting = self.waiting, []
        for waiter in waiting:
            waiter.wake()
        return len(waiting)

    async def _suspend(self) -> None:
        waiter = Waiter(())
        self.waiting.append(waiter)
        try:
            await waiter
        finally:
            self.closed += 1

    def step(self, caller: Any, x: int) -> int:
        self.calls.append("step")
        return (x + 1) & 0xFFFFFFFF

    async def wait(self, caller: Any, x: int) -> int:
        await self._suspend()
        return x + 1

    def boom(self, caller: Any, how: int) -> int:
        if how == 0:
            raise ValueError("a secret of the host")
        if how == 1:
            raise asyncio.CancelledError
        if how == 2:
            raise NotFound("no such thing", "look elsewhere")
        if how == 3:
            return -1  # does not fit u32
        if how == 4:
            return 1 << 40
        if how == 5:
            return None  # type: ignore[return-value]
        raise KeyboardInterrupt

    def make(self, caller: Any) -> Thing:
        return Thing(self, len(self.things))

    async def late(self, caller: Any) -> Thing:
        await self._suspend()
        return Thing(self, len(self.things))

    def get(self, caller: Any, thing: Thing) -> int:
        self.calls.append("get")
        return thing.value

    def take(self, caller: Any, thing: Thing) -> int:
        return thing.value

    def sum(self, caller: Any, things: list[Thing]) -> int:
        return sum(thing.value for thing in things)

    def say(self, caller: Any, text: str) -> Any:
        return self.answer(text)

    def fails(self, caller: Any, x: int) -> int:
        if x == 1:
            raise NotFound("no such thing", "look elsewhere")
        if x == 2:
            raise Busy("a code that this guest's enum lacks")
        return x


def compiled(source: str | bytes, config: SandboxConfig, folder: Path) -> Path:
    """The compiled component of WAT or wasm, in `folder`, made once."""
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
        self.spawned: list[Instance] = []

    def close(self) -> None:
        """End what still runs."""
        for instance in self.spawned:
            instance.kill(Cancelled("the test is over"))

    def spawn(self, program: LoadedProgram, argument: str = "", caller: Any = None, **limits: int) -> Instance:
        instance = self.sandbox.instantiate(
            program, caller or FakeCaller(), InstanceLimits(**limits), self.ready.append
        )
        self.spawned.append(instance)
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
        if instance.turn() is Turn.YIELDED:
            self.ready.append(instance)

    def outcome(self, program: LoadedProgram, argument: str = "", caller: Any = None, **limits: int) -> Any:
        instance = self.spawn(program, argument, caller, **limits)
        self.run()
        return instance.outcome

    def finish(self, host: TestHost) -> None:
        """Run, releasing whoever waits, until nobody does."""
        self.run()
        while host.release():
            self.run()

    async def settle(self, *instances: Instance, seconds: float = 120.0) -> None:
        """Until these are done, with an event loop for timers."""
        async with asyncio.timeout(seconds):
            while any(i.outcome is None for i in instances):
                for _ in range(min(64, len(self.ready))):
                    self.step()
                await asyncio.sleep(0 if self.ready else 0.001)

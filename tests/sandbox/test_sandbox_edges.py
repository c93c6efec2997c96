"""Edges where a mistake kills the whole host: each runs in a child process, which must end well."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PRELUDE = """
import asyncio, gc, logging, resource, sys, threading
logging.disable()
from sandbox_guests import *
from symphony.errors import *
from symphony.sandbox import *
from symphony.sandbox import abi

CACHE.mkdir(parents=True, exist_ok=True)
config = SandboxConfig(max_instances=64)
host = TestHost()
def handler(key):
    name = key.split("#")[1].removeprefix("[method]thing.")
    return lambda *arguments: getattr(host, name)(*arguments)
sandbox = Sandbox(config, {key: handler(key) for key in REFERENCE}, REFERENCE)
loop = Loop(sandbox)
def load(source): return sandbox.load(compiled(source, config, CACHE))
echo = load(ECHO)
steps = load(sys_guest('''
  (local.set $i (call $parse (local.get $p) (local.get $n)))
  (loop $l (local.set $s (call $step (local.get $s)))
    (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
  (call $number (local.get $s))'''))
def alive(): assert loop.outcome(echo, "alive").value.value == "alive"
"""


def child(body: str, code: int = 0) -> str:
    """Run `body` after the prelude; its output. Fails unless it ends with `code`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]), "PYTHONFAULTHANDLER": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + body],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, f"{done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.parametrize("exception", ["KeyboardInterrupt", "SystemExit", "asyncio.CancelledError", "MemoryError"])
def test_no_exception_leaves_a_callback(exception: str) -> None:
    """A BaseException out of a component's host import is memory-unsafe (seen: SIGSEGV)."""
    child(f"""
def raising(*arguments): raise {exception}("inside the callback")
for binding in sandbox._linker._bindings.values():
    if binding.key.endswith("#step"): binding.read, real = raising, binding.read
for _ in range(20):
    instance = loop.spawn(steps, "3")
    try: loop.run()
    except BaseException as error: assert isinstance(error, {exception}), error
    assert isinstance(instance.outcome, Failed), instance.outcome
    alive()
""")


def test_no_exception_leaves_a_destructor() -> None:
    child("""
class Bad(Thing):
    def drop(self): raise KeyboardInterrupt
churn = load(sys_guest("(call $drop (call $make)) (call $number (i32.const 1))"))
host.make = lambda caller: Bad(host, 1)
for _ in range(20):
    instance = loop.spawn(churn)
    loop.run()
    assert instance.outcome.value.value == "1"
    alive()
""")


def test_one_tenants_exception_never_shows_in_anothers() -> None:
    """The package keeps a process-global last exception; ours are kept per instance."""
    out = child("""
boom = load(sys_guest("(call $number (call $boom (i32.const 0)))"))
trap = load(TRAP)
first, second = loop.spawn(boom, caller=FakeCaller()), loop.spawn(trap, caller=FakeCaller())
loop.run()
print(first.outcome, second.outcome, loop.outcome(trap))
""")
    assert "Trapped" in out
    assert "secret" not in out


def test_wild_answers_never_abort() -> None:
    """Lone surrogates abort, integers wrap: every outgoing value is checked."""
    child("""
say = load(sys_guest('''(call $say (local.get $p) (local.get $n) (i32.const 128))
  (call $ok (i32.load (i32.const 128)) (i32.load (i32.const 132)))'''))
for answer in ("\\ud800", "x" * (1 << 24), "\\0", None, 5, b"x", ["x"], "\\udfff" * 1000):
    host.answer = lambda text: answer
    outcome = loop.outcome(say, "x")
    assert isinstance(outcome, (Returned, Failed, Trapped)), outcome
    alive()
for number in (-1, 1 << 32, 1 << 70, 1.5, "1", None, True, float("nan")):
    host.step = lambda caller, x: number
    assert isinstance(loop.outcome(steps, "1"), (Returned, Failed))
    alive()
""")


def test_many_more_handles_than_the_cap() -> None:
    """Without a cap, the 100,000th open handle crashed the process."""
    child("""
hoard = load(sys_guest("(loop $l (drop (call $make)) (br $l)) (unreachable)"))
outcome = loop.outcome(hoard, handles=20000)
assert isinstance(outcome.error, LimitExceeded), outcome
assert len(host.dropped) == len(host.things)
alive()
""")


def test_kill_at_every_point_of_a_conversation() -> None:
    child("""
talk = load(sys_guest('''
  (local.set $i (i32.const 30))
  (loop $l
    (local.set $h (call $late)) (drop (call $wait (call $get (local.get $h)))) (call $drop (local.get $h))
    (drop (call $step (i32.const 1))) (drop (call $make))
    (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
  (call $number (i32.const 1))'''))
for turns in range(70):
    instances = [loop.spawn(talk) for _ in range(3)]
    for _ in range(turns):
        loop.run(turns=3)
        host.release()
    instances[1].kill(Cancelled("now"))
    loop.finish(host)
    for instance in instances[::2]: assert instance.outcome.value.value == "1", instance.outcome
    alive()
assert sandbox.live == 0 and len(host.dropped) == len(host.things)
""")


def test_garbage_collection_inside_callbacks() -> None:
    """A collection may start on the fiber's small stack."""
    child("""
gc.set_threshold(1, 1, 1)
class Node: pass
def step(caller, x):
    a, b = Node(), Node(); a.b, b.a = b, a
    return x + 1
host.step = step
ids = load(sys_guest('''(loop $l (drop (call $make)) (drop (call $step (i32.const 1)))
  (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 300))))
  (call $number (local.get $i))'''))
for _ in range(5): assert loop.outcome(ids).value.value == "300"
""")


def test_recursion_in_many_guests_at_once() -> None:
    """A wasm stack larger than the fiber's would run into the guard page and abort."""
    child("""
deep = load(RECURSE)
for _ in range(100): assert loop.outcome(deep).message == "call stack exhausted"
wait = load(sys_guest("(call $rec (i32.const 4000)) (call $number (i32.const 1))", extra='''
  (func $rec (param i32) (if (local.get 0) (then (call $rec (i32.sub (local.get 0) (i32.const 1))))
    (else (drop (call $wait (i32.const 1))))))'''))
instances = [loop.spawn(wait) for _ in range(30)]   # suspended deep in their stacks
loop.finish(host)
assert all(i.outcome.value.value == "1" for i in instances)
""")


def test_memories_cannot_add_up() -> None:
    """`memory_size` is a limit per memory: their number is limited too."""
    child("""
def several(count):
    modules = "".join(f'(core module $x{i} (memory 1 4096)) (core instance (instantiate $x{i}))' for i in range(count))
    return ECHO.replace("(component", "(component " + modules, 1)
assert loop.outcome(load(several(1)), "x").value.value == "x"
for count in (2, 20):
    try: outcome = loop.outcome(load(several(count)), "x")
    except InvalidProgram: continue
    assert isinstance(outcome, Failed), outcome
def tables(count, size):
    module = '(core module $x{i} (table {size} funcref)) (core instance (instantiate $x{i}))'
    modules = "".join(module.format(i=i, size=size) for i in range(count))
    return ECHO.replace("(component", "(component " + modules, 1)
assert loop.outcome(load(tables(4, 20000)), "x").value.value == "x"
for count, size in ((5, 1), (1, 20001)):
    try: outcome = loop.outcome(load(tables(count, size)), "x")
    except InvalidProgram: continue
    assert isinstance(outcome, Failed), outcome
many = "".join(f'(core module $x{i}) (core instance (instantiate $x{i}))' for i in range(70))
try: outcome = loop.outcome(load(ECHO.replace("(component", "(component " + many, 1)), "x")
except InvalidProgram: pass
else: assert isinstance(outcome, Failed), outcome
alive()
""")


def test_bulk_operations_count_as_work() -> None:
    child("""
fill = load(guest('''(drop (memory.grow (i32.const 2000)))
  (loop $l (memory.fill (i32.const 65536) (i32.const 1) (i32.const 100000000)) (br $l)) (unreachable)'''))
outcome = loop.outcome(fill, fuel=2_000_000_000)
assert isinstance(outcome.error, LimitExceeded), outcome
""")


def test_a_large_list_is_bounded_before_any_handler_sees_it() -> None:
    """wasmtime lets one call carry at most 128 MiB of host values: 4 million list elements."""
    child("""
stream = load(guest('''
  (drop (memory.grow (i32.const 1000)))
  (local.set $h (call $stdout))
  (call $write (local.get $h) (i32.const 0) (call $parse (local.get $p) (local.get $n)) (i32.const 128))
  (call $number (i32.const 1))''',
  '''(import "wasi:io/error@0.2.0" (instance $e (export "error" (type (sub resource)))))
  (alias export $e "error" (type $error))
  (import "wasi:io/streams@0.2.0" (instance $s
    (export "error" (type $error' (eq $error)))
    (export "output-stream" (type $o (sub resource)))
    (type $f' (variant (case "last-operation-failed" (own $error')) (case "closed")))
    (export "stream-error" (type $f (eq $f')))
    (export "[method]output-stream.write" (func (param "self" (borrow $o)) (param "contents" (list u8))
      (result (result (error $f)))))))
  (alias export $s "output-stream" (type $out))
  (import "wasi:cli/stdout@0.2.0" (instance $c (export "output-stream" (type $o (eq $out)))
    (export "get-stdout" (func (result (own $o))))))''',
  '''(core func $stdout (canon lower (func $c "get-stdout")))
  (core func $write (canon lower (func $s "[method]output-stream.write") (memory $mem) (realloc $realloc)))''',
  '''(import "host" "stdout" (func $stdout (result i32)))
  (import "host" "write" (func $write (param i32 i32 i32 i32)))'''))
caller = FakeCaller()
assert loop.outcome(stream, "65536", caller).value.value == "1"
assert len(caller.written["stdout"]) == 65536
outcome = loop.outcome(stream, "60000000", caller)
assert isinstance(outcome, Trapped) and "too much data" in outcome.message, outcome
assert len(caller.written["stdout"]) == 65536
alive()
""")


def test_guests_of_a_sandbox_that_is_full_of_waiting_ones_can_all_end() -> None:
    child("""
waits = load(sys_guest("(drop (call $make)) (call $number (call $wait (i32.const 1)))"))
for _ in range(5):
    instances = [loop.spawn(waits) for _ in range(64)]
    loop.run()
    try: loop.spawn(waits)
    except Unavailable: pass
    else: raise AssertionError
    for instance in instances[:32]: instance.kill(Cancelled("half"))
    loop.finish(host)
    assert sandbox.live == 0
sandbox.close()
""")


def test_an_instance_that_is_forgotten_does_no_harm() -> None:
    child("""
waits = load(sys_guest("(call $number (call $wait (i32.const 1)))"))
for _ in range(10):
    instance = loop.spawn(waits)
    loop.run()
    loop.spawned.clear(); del instance
    host.waiting.clear()
    gc.collect()
alive()
""")


def test_runs_leak_nothing() -> None:
    child("""
def pages(): return int(open("/proc/self/statm").read().split()[1])
work = load(sys_guest('''(drop (call $make)) (call $drop (call $make)) (drop (call $wait (i32.const 1)))
  (call $say (local.get $p) (local.get $n) (i32.const 128))
  (call $ok (i32.load (i32.const 128)) (i32.load (i32.const 132)))'''))
trap = load(sys_guest("(drop (call $make)) (unreachable)"))
text = "x" * 5000
def spin(times):
    for i in range(times):
        instance = loop.spawn(work, text)
        loop.run()
        if i % 3: host.release()
        else: instance.kill(Cancelled("enough"))
        loop.run()
        loop.outcome(trap)
        loop.spawned.clear(); host.things.clear(); host.dropped.clear(); host.waiting.clear()
spin(300)
gc.collect()
before = pages()
spin(3000)   # a leaked argument alone would be 15 MB
gc.collect()
assert (pages() - before) * 4096 < 6 << 20, (pages() - before) * 4096
""")


def test_as_many_sandboxes_as_there_is_room_for() -> None:
    """Each has a share of the address space; wasmtime aborts where it gets none (seen: SIGABRT)."""
    child("""
held = []
try:
    while len(held) < 10: held.append(Sandbox(SandboxConfig(), {}, {}))
except Unavailable as error: assert "address space" in error.message and "max_instances" in error.hint, error
assert 1 <= len(held) < 10
held.pop().close()
held.append(Sandbox(SandboxConfig(), {}, {}))
alive()
""")

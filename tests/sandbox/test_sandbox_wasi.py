"""WASI as ordinary guests see it: a componentize-py component that was built without any stubs."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from sandbox_guests import FakeCaller, Loop, guest

from symphony.errors import LimitExceeded, ProgramError, TimedOut
from symphony.sandbox import Exited, Failed, Returned
from symphony.syscall.pollable import Timer
from symphony.syscall.values import Err, Ok


class Python:
    """Runs Python source in the guest, with an event loop for its timers."""

    def __init__(self, loop: Loop, program: Any) -> None:
        self.loop = loop
        self.program = program
        self.caller = FakeCaller([("HOME", "/x"), ("LANG", "C.UTF-8")])

    def outcome(self, source: str, **limits: int) -> Any:
        async def main() -> Any:
            instance = self.spawn(source, **limits)
            await self.loop.settle(instance)
            return instance.outcome

        return asyncio.run(main())

    def spawn(self, source: str, **limits: int) -> Any:
        return self.loop.spawn(self.program, json.dumps({"source": source}), self.caller, **limits)

    def value(self, source: str) -> Any:
        outcome = self.outcome(source)
        assert isinstance(outcome, Returned), outcome
        assert isinstance(outcome.value, Ok), outcome.value
        return json.loads(outcome.value.value)


@pytest.fixture
def python(loop: Loop, python_program: Any) -> Python:
    return Python(loop, python_program)


TRY = """
def attempt(f):
    try: return repr(f())
    except BaseException as error: return type(error).__name__
"""


def test_prints_become_stdio(python: Python) -> None:
    source = "import sys\ndef main():\n print('hello', 42)\n print('to err', file=sys.stderr)\n return 1"
    assert python.value(source) == 1
    assert python.caller.written == {"stdout": b"hello 42\n", "stderr": b"to err\n"}


def test_clocks_run(python: Python) -> None:
    wall, span, monotonic = python.value(
        """
import time
def main():
    a, m = time.time(), time.monotonic()
    time.sleep(0.02)
    return [a, time.time() - a, time.monotonic() - m]
"""
    )
    assert abs(wall - time.time()) < 60
    assert span >= 0.019
    assert monotonic >= 0.019


def test_sleeps_of_several_guests_overlap(python: Python) -> None:
    def asleep(instance: Any) -> bool:
        return any(isinstance(thing, Timer) and thing.handle for thing in instance.handles.values())

    async def main() -> None:
        instances = [python.spawn("import time\ndef main():\n time.sleep(2)\n return 1") for _ in range(5)]
        python.loop.run()
        assert all(asleep(instance) for instance in instances)  # all at once, and the loop is free
        await python.loop.settle(*instances)
        assert all(instance.outcome == Returned(Ok("1")) for instance in instances)

    asyncio.run(main())


def test_one_poll_waits_for_several_timers(python: Python) -> None:
    source = """
def main():
    short, long = clock.subscribe_duration(5_000_000), clock.subscribe_duration(10**15)
    first = poll.poll([long, short, short])
    again = [poll.poll([clock.subscribe_duration(1000), long]) for _ in range(200)]
    return [first, all(x == [0] for x in again), short.ready(), long.ready()]
"""
    assert python.value(source) == [[1, 2], True, True, False]


def test_random_differs_between_runs(python: Python) -> None:
    source = "import os, uuid\ndef main(): return [os.urandom(8).hex(), str(uuid.uuid4())]"
    assert python.value(source) != python.value(source)


def test_environment_and_arguments(python: Python) -> None:
    source = "import os, sys\ndef main(): return [dict(os.environ), sys.argv[:1], os.getcwd()]"
    environment, argv, cwd = python.value(source)
    assert environment == {"HOME": "/x", "LANG": "C.UTF-8"}
    assert (argv, cwd) in ((["lip"], "/"), ([""], "/"))


def test_the_file_system_is_one_empty_read_only_directory(python: Python) -> None:
    source = (
        TRY
        + """
import os, pathlib, tempfile
def main(): return [attempt(f) for f in (
    lambda: open('/etc/passwd'), lambda: open('x.txt'), lambda: open('/tmp/x', 'w'), lambda: os.listdir('/'),
    lambda: os.mkdir('/a'), lambda: os.path.isdir('/'), lambda: os.path.exists('/a'), lambda: list(os.walk('/')),
    lambda: os.rename('/a', '/b'), lambda: os.remove('/a'), lambda: tempfile.TemporaryFile())]
"""
    )
    results = python.value(source)
    assert results[:2] == ["FileNotFoundError", "FileNotFoundError"]
    assert results[2] == "PermissionError"
    assert results[3] == "[]"
    assert results[5:8] == ["True", "False", "[('/', [], [])]"]
    assert all(result.endswith("Error") for result in results[8:])
    assert results[4].endswith("Error")


def test_sockets_threads_and_processes_are_refused(python: Python) -> None:
    source = (
        TRY
        + """
import socket, threading, os
def main(): return [attempt(f) for f in (
    lambda: socket.socket(), lambda: socket.create_connection(('127.0.0.1', 80)),
    lambda: socket.getaddrinfo('example.com', 80), lambda: threading.Thread(target=print).start())]
"""
    )
    results = python.value(source)
    assert all("Error" in result or result == "gaierror" for result in results), results
    assert results[0] == "PermissionError"


def test_stdin_is_at_its_end(python: Python) -> None:
    assert python.value("import sys\ndef main(): return [sys.stdin.read(), sys.stdin.isatty()]") == ["", False]


def test_exit_is_a_clean_end(python: Python) -> None:
    assert python.outcome("import os\ndef main():\n print('bye', flush=True)\n os._exit(0)") == Exited(0)
    assert python.caller.written["stdout"] == b"bye\n"
    assert isinstance(python.outcome("import os\ndef main(): os._exit(3)"), Exited)


def test_a_poll_of_nothing_ends_the_guest(python: Python) -> None:
    outcome = python.outcome("def main(): return poll.poll([])")
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, ProgramError)


def test_timers_are_capped_like_all_handles_and_dropped_ones_do_not_count(python: Python) -> None:
    hoard = python.outcome("def main():\n l = [clock.subscribe_duration(10**12) for _ in range(5000)]\n return len(l)")
    assert isinstance(hoard, Failed)
    assert isinstance(hoard.error, LimitExceeded)
    churn = "def main():\n for _ in range(5000): clock.subscribe_duration(10**12).__exit__(None, None, None)\n return 1"
    assert python.value(churn) == 1


def test_too_much_randomness_at_once_ends_the_guest(loop: Loop, load: Any) -> None:
    program = load(
        guest(
            """(call $random (i64.extend_i32_u (call $parse (local.get $p) (local.get $n))) (i32.const 128))
               (call $number (i32.load (i32.const 132)))""",
            """(import "wasi:random/random@0.2.0" (instance $r
                 (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))""",
            '(core func $random (canon lower (func $r "get-random-bytes") (memory $mem) (realloc $realloc)))',
            '(import "host" "random" (func $random (param i64 i32)))',
        )
    )
    assert loop.outcome(program, "1000") == Returned(Ok("1000"))
    outcome = loop.outcome(program, "1048577")
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, LimitExceeded)


def test_a_killed_sleeper_leaves_no_timer_behind(python: Python) -> None:
    async def main() -> None:
        instance = python.spawn("import time\ndef main(): time.sleep(1e6)")
        for _ in range(200):
            python.loop.run(turns=100)
            if any(isinstance(thing, Timer) and thing.handle for thing in instance.handles.values()):
                break
            await asyncio.sleep(0)
        timers = [thing for thing in instance.handles.values() if isinstance(thing, Timer)]
        assert timers
        instance.kill(TimedOut("too long"))
        assert all(timer.handle is None and not timer.waiters for timer in timers)

    asyncio.run(main())


@pytest.mark.parametrize("seconds", ["-1", "1e18"])
def test_odd_sleeps_do_no_harm(python: Python, seconds: str) -> None:
    async def main() -> Any:
        instance = python.spawn(f"import time\ndef main():\n time.sleep({seconds})\n return 1")
        for _ in range(50):
            python.loop.run(turns=100)
            await asyncio.sleep(0)
        return instance.outcome

    outcome = asyncio.run(main())
    assert outcome is None or isinstance(outcome.value, Err)


def test_an_exception_of_the_guest_is_its_own(python: Python) -> None:
    outcome = python.outcome("def main():\n raise ValueError('mine')")
    assert isinstance(outcome, Returned)
    assert isinstance(outcome.value, Err)
    assert "ValueError: mine" in outcome.value.value
    assert "lip.py" in outcome.value.value


def test_deep_recursion_surfaces_in_the_guest(python: Python) -> None:
    assert python.value(TRY + "\ndef f(): return f()\ndef main(): return attempt(f)") == "RecursionError"


def test_a_memory_bomb_surfaces_in_the_guest(python: Python) -> None:
    source = TRY + "\ndef bomb():\n l = []\n while True: l.append(bytearray(1 << 24))\ndef main(): return attempt(bomb)"
    assert python.value(source) == "MemoryError"


def test_a_spinning_python_guest_runs_out_of_its_cpu_limit(python: Python) -> None:
    outcome = python.outcome("def main():\n while True: pass", fuel=2_000_000_000)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, LimitExceeded)


def test_random_u64_reaches_a_tiny_guest(loop: Loop, load: Any) -> None:
    program = load(
        guest(
            "(call $number (i64.ne (call $random) (i64.const 0)))",
            '(import "wasi:random/random@0.2.0" (instance $r (export "get-random-u64" (func (result u64)))))',
            '(core func $random (canon lower (func $r "get-random-u64")))',
            '(import "host" "random" (func $random (result i64)))',
        )
    )
    assert loop.outcome(program) == Returned(Ok("1"))

"""Instances: turns, waiting, handles, ends in every state."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import weakref
from typing import Any

import pytest
from sandbox_guests import ECHO, GROW, RECURSE, SPIN, FakeCaller, Loop, TestHost, guest, sys_guest

from symphony.errors import Cancelled, InternalError, LimitExceeded, NotFound, Unavailable
from symphony.param import SLICE_NS
from symphony.sandbox import Exited, Failed, InstanceLimits, Returned, Sandbox, State, Trapped, Turn
from symphony.sandbox.instance import drop_object
from symphony.syscall.values import Err, Exit, Ok

# The argument is a number: so many calls in a row.
STEPS = sys_guest(
    """(local.set $i (call $parse (local.get $p) (local.get $n)))
       (loop $l (local.set $s (call $step (local.get $s)))
         (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
       (call $number (local.get $s))"""
)
WAITS = STEPS.replace("(call $step (local.get $s))", "(call $wait (local.get $s))")
BOOM = sys_guest("(call $number (call $boom (call $parse (local.get $p) (local.get $n))))")
WAIT_THEN_TRAP = sys_guest("(drop (call $wait (i32.const 1))) (unreachable)")
WAIT_THEN_SPIN = sys_guest("(drop (call $wait (i32.const 1))) (loop $l (br $l)) (unreachable)")
# Makes so many things and keeps them.
HOARD = sys_guest(
    """(local.set $i (call $parse (local.get $p) (local.get $n)))
       (loop $l (drop (call $make)) (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
       (call $number (i32.const 7))"""
)
HOARD_THEN_TRAP = HOARD.replace("(call $number (i32.const 7))", "(unreachable)")
HOARD_THEN_WAIT = HOARD.replace("(call $number (i32.const 7))", "(call $number (call $wait (i32.const 6)))")


def ok(value: object) -> Returned:
    return Returned(Ok(str(value)))


# --- results ---
def test_returns_what_the_export_returns(loop: Loop, load: Any) -> None:
    assert loop.outcome(load(ECHO), "grüße 🌍") == ok("grüße 🌍")
    assert loop.outcome(load(guest("(call $err (local.get $p) (local.get $n))")), "why") == Returned(Err("why"))
    assert loop.outcome(load(ECHO), "") == ok("")
    big = "x" * 3_000_000
    assert loop.outcome(load(ECHO), big) == ok(big)


def test_a_lone_surrogate_in_the_argument_does_not_abort_the_host(loop: Loop, load: Any) -> None:
    assert loop.outcome(load(ECHO), "a\ud800b") == ok("a?b")


def test_a_handlers_lone_surrogate_and_nul_reach_the_guest_as_text(loop: Loop, load: Any, host: TestHost) -> None:
    say = sys_guest(
        """(call $say (local.get $p) (local.get $n) (i32.const 128))
           (call $ok (i32.load (i32.const 128)) (i32.load (i32.const 132)))"""
    )
    host.answer = lambda text: json.loads('"\\ud800"') + text + "\0"
    assert loop.outcome(load(say), "ü") == ok("?ü\0")
    host.answer = lambda text: 5
    assert isinstance(loop.outcome(load(say), "x"), Failed)


def test_a_trap_has_the_guests_message_and_backtrace(loop: Loop, load: Any) -> None:
    outcome = loop.outcome(load(guest("(call $deep)", extra="(func $deep (result i32) (unreachable))")))
    assert isinstance(outcome, Trapped)
    assert outcome.message == "wasm `unreachable` instruction executed"
    assert outcome.backtrace.splitlines()[0] == "m!deep"


def test_a_program_runs_any_number_of_times(loop: Loop, load: Any) -> None:
    program = load(ECHO)
    for i in range(50):
        assert loop.outcome(program, str(i)) == ok(i)


# --- syscalls ---
def test_many_plain_calls_yield_after_a_bounded_number(loop: Loop, load: Any, host: TestHost) -> None:
    instance = loop.spawn(load(STEPS), "200")
    assert instance.turn() is Turn.YIELDED
    assert not instance.used_slice
    assert len(host.calls) in (63, 64)
    loop.run()
    assert instance.outcome == ok(200)


def test_a_waiting_call_blocks_only_its_guest(loop: Loop, load: Any, host: TestHost) -> None:
    waiting, busy = loop.spawn(load(WAITS), "2"), loop.spawn(load(STEPS), "3")
    loop.run()
    assert busy.outcome == ok(3)
    assert waiting.outcome is None
    assert waiting.state is State.BLOCKED
    loop.finish(host)
    assert waiting.outcome == ok(2)


def test_turns_while_blocked_change_nothing(loop: Loop, load: Any, host: TestHost) -> None:
    instance = loop.spawn(load(WAITS), "1")
    loop.run()
    for _ in range(3):
        assert instance.turn() is Turn.BLOCKED
    assert len(host.waiting) == 1
    loop.finish(host)
    assert instance.outcome == ok(1)
    assert instance.turn() is Turn.DONE


def test_a_wake_is_reported_once(sandbox: Sandbox, load: Any, host: TestHost) -> None:
    woken: list[Any] = []
    instance = sandbox.instantiate(load(WAITS), FakeCaller(), InstanceLimits(), woken.append)
    instance.start("1")
    assert instance.turn() is Turn.BLOCKED
    waiter = host.waiting[0]
    waiter.wake()
    waiter.wake()
    assert waiter.resume is not None
    waiter.resume()
    assert woken == [instance]
    assert instance.turn() is Turn.DONE
    waiter.resume()
    assert woken == [instance]


def test_handlers_may_await_asyncio_futures(loop: Loop, load: Any, host: TestHost) -> None:
    async def main() -> None:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def wait(caller: Any, x: int) -> int:
            await asyncio.sleep(0)  # a bare yield
            return await future

        host.wait = wait  # type: ignore[method-assign]
        instance = loop.spawn(load(WAITS), "1")
        asyncio.get_running_loop().call_later(0.01, future.set_result, 42)
        await loop.settle(instance)
        assert instance.outcome == ok(42)

    asyncio.run(main())


def test_a_guest_may_call_and_wait_while_it_is_instantiated(loop: Loop, load: Any, host: TestHost) -> None:
    start = """(global $x (mut i32) (i32.const 0))
      (func $begin (global.set $x (call $wait (call $step (i32.const 5))))) (start $begin)"""
    instance = loop.spawn(load(sys_guest("(call $number (global.get $x))", start)))
    loop.run()
    assert instance.state is State.BLOCKED
    loop.finish(host)
    assert instance.outcome == ok(7)
    killed = loop.spawn(load(sys_guest("(call $number (global.get $x))", start)))
    loop.run()
    killed.kill(Cancelled("while it is instantiated"))


def test_a_program_may_go_while_its_last_instance_runs(loop: Loop, load: Any, host: TestHost) -> None:
    instance = loop.spawn(load(WAITS), "1")  # nobody else holds the program
    loop.run()
    gc.collect()
    loop.finish(host)
    assert instance.outcome == ok(1)


def test_limits_far_beyond_are_no_error(loop: Loop, load: Any) -> None:
    assert loop.outcome(load(ECHO), "x", fuel=1 << 70, memory_bytes=1 << 62) == ok("x")


def test_fuel_is_exact_however_it_is_sliced(loop: Loop, load: Any) -> None:
    count = load(
        guest(
            """(local.set $i (call $parse (local.get $p) (local.get $n)))
               (loop $l (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
               (call $number (i32.const 1))"""
        )
    )
    assert loop.outcome(count, "10000000", fuel=50_001_000) == ok(1)  # 5 a round
    assert isinstance(loop.outcome(count, "10000000", fuel=49_999_000), Failed)


def test_an_error_reaches_the_guest_as_a_value_where_the_result_can_carry_it(loop: Loop, load: Any) -> None:
    fails = sys_guest(
        """(call $fails (call $parse (local.get $p) (local.get $n)) (i32.const 128))
           (if (i32.eqz (i32.load8_u (i32.const 128))) (then (return (call $number (i32.load (i32.const 132))))))
           (i32.store8 (i32.load (i32.const 136)) (i32.add (i32.const 48) (i32.load8_u (i32.const 132))))
           (call $err (i32.load (i32.const 136)) (i32.load (i32.const 140)))"""
    )
    assert loop.outcome(load(fails), "0") == ok(0)
    assert loop.outcome(load(fails), "7") == ok(7)
    assert loop.outcome(load(fails), "1") == Returned(Err("0o such thing"))  # code 0: not-found
    assert loop.outcome(load(fails), "2") == Returned(Err("2 code that this guest's enum lacks"))  # internal


def test_an_error_that_no_result_carries_ends_the_guest_with_it(loop: Loop, load: Any) -> None:
    outcome = loop.outcome(load(BOOM), "2")
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, NotFound)
    assert outcome.error.hint == "look elsewhere"


@pytest.mark.parametrize("how", [0, 3, 4, 5])
def test_a_bug_in_a_handler_ends_the_guest_as_internal_and_tells_it_nothing(
    loop: Loop, load: Any, how: int, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = loop.outcome(load(BOOM), str(how))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, InternalError)
    assert "secret" not in str(outcome.error)
    assert "symphony:test/sys#boom" in caplog.text
    assert loop.outcome(load(ECHO), "on") == ok("on")


def test_a_cancelled_wait_ends_the_guest_as_cancelled(loop: Loop, load: Any) -> None:
    outcome = loop.outcome(load(BOOM), "1")
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, Cancelled)


def test_an_interrupt_in_a_handler_ends_the_guest_and_goes_on_up(loop: Loop, load: Any, caplog: Any) -> None:
    instance = loop.spawn(load(BOOM), "9")
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    assert isinstance(instance.outcome, Failed)


def test_exit_ends_in_good_order(loop: Loop, load: Any, host: TestHost) -> None:
    def leave(caller: Any, x: int) -> int:
        raise Exit(3)

    host.step = leave  # type: ignore[method-assign]
    assert loop.outcome(load(STEPS), "1") == Exited(3)


# --- handles ---
def test_handles_reach_handlers_as_objects_and_drops_run_on_the_main_stack(
    loop: Loop, load: Any, host: TestHost
) -> None:
    use = sys_guest(
        """(drop (call $make)) (local.set $h (call $make))
           (local.set $s (call $get (local.get $h)))
           (call $drop (local.get $h))
           (drop (call $step (i32.const 0)))
           (call $number (local.get $s))"""
    )
    seen: list[list[int]] = []
    real = host.step

    def step(caller: Any, x: int) -> int:
        seen.append(list(host.dropped))
        return real(caller, x)

    host.step = step  # type: ignore[method-assign]
    instance = loop.spawn(load(use))
    loop.run()
    assert instance.outcome == ok(1)
    assert host.dropped == [1, 0]  # dropped by the guest, then at the end
    assert [thing.drops for thing in host.things] == [1, 1]
    assert not instance.handles


def test_an_own_argument_belongs_to_the_handler(loop: Loop, load: Any, host: TestHost) -> None:
    instance = loop.spawn(load(sys_guest("(drop (call $make)) (call $number (call $take (call $make)))")))
    loop.run()
    assert instance.outcome == ok(1)
    assert host.dropped == [0]


def test_a_list_of_borrows(loop: Loop, load: Any) -> None:
    total = sys_guest(
        """(drop (call $make))
           (i32.store (i32.const 128) (call $make)) (i32.store (i32.const 132) (call $make))
           (call $number (call $sum (i32.const 128) (i32.const 2)))"""
    )
    assert loop.outcome(load(total)) == ok(3)


def test_an_own_handle_may_be_created_while_the_guest_is_suspended(loop: Loop, load: Any, host: TestHost) -> None:
    instance = loop.spawn(load(sys_guest("(drop (call $make)) (call $number (call $get (call $late)))")))
    loop.run()
    assert instance.state is State.BLOCKED
    loop.finish(host)
    assert instance.outcome == ok(1)
    assert sorted(host.dropped) == [0, 1]


@pytest.mark.parametrize("number", [0, 1, 77, 0xFFFFFFFF])
def test_a_forged_handle_traps(loop: Loop, load: Any, host: TestHost, number: int) -> None:
    forge = sys_guest(f"(drop (call $make)) (call $number (call $get (i32.const {number + (number == 1)})))")
    outcome = loop.outcome(load(forge))
    assert isinstance(outcome, Trapped)
    assert "handle" in outcome.message
    assert "get" not in host.calls
    assert host.dropped == [0]


def test_a_handle_used_after_its_drop_traps(loop: Loop, load: Any) -> None:
    again = sys_guest(
        "(local.set $h (call $make)) (call $drop (local.get $h)) (call $number (call $get (local.get $h)))"
    )
    assert isinstance(loop.outcome(load(again)), Trapped)


def test_the_handle_cap_ends_the_guest_with_limit_exceeded(loop: Loop, load: Any, host: TestHost) -> None:
    assert loop.outcome(load(HOARD), "10", handles=10) == ok(7)
    outcome = loop.outcome(load(HOARD), "11", handles=10)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, LimitExceeded)
    assert "10 handles" in outcome.error.message
    assert len(host.dropped) >= 20


def test_dropped_handles_do_not_count(loop: Loop, load: Any) -> None:
    churn = sys_guest(
        """(local.set $i (i32.const 3000))
           (loop $l (call $drop (call $make)) (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
           (call $number (i32.const 7))"""
    )
    assert loop.outcome(load(churn), handles=2) == ok(7)


@pytest.mark.parametrize("source", [HOARD, HOARD_THEN_TRAP, HOARD_THEN_WAIT])
def test_handles_are_released_at_any_end(loop: Loop, load: Any, host: TestHost, source: str) -> None:
    instance = loop.spawn(load(source), "5")
    loop.run()
    if instance.outcome is None:
        instance.kill(Cancelled("enough"))
    assert sorted(host.dropped) == [0, 1, 2, 3, 4]
    assert not instance.handles


def test_a_drop_that_awaits_goes_on_by_itself(host: TestHost) -> None:
    done: list[str] = []

    class Slow:
        async def drop(self) -> None:
            await host._suspend()
            done.append("dropped")

    drop_object(Slow())
    assert not done
    host.release()
    assert done == ["dropped"]


def test_a_drop_that_fails_does_not_disturb_the_others(caplog: pytest.LogCaptureFixture) -> None:
    class Bad:
        def drop(self) -> None:
            raise ValueError("broken")

    drop_object(Bad())
    drop_object(object())
    assert "broken" in caplog.text


# --- limits ---
def test_all_fuel_is_the_cpu_limit(loop: Loop, load: Any) -> None:
    instance = loop.spawn(load(SPIN), fuel=50_000_000)
    assert instance.turn() is Turn.YIELDED
    assert instance.used_slice
    loop.run()
    assert isinstance(instance.outcome, Failed)
    assert isinstance(instance.outcome.error, LimitExceeded)
    assert "CPU" in instance.outcome.error.message


def test_a_spinner_lets_others_run(loop: Loop, load: Any, host: TestHost) -> None:
    spinner = loop.spawn(load(SPIN))
    others = [loop.spawn(load(WAITS), "20") for _ in range(10)]
    for _ in range(2000):
        loop.step()
        host.release()
        if all(other.outcome for other in others):
            break
    assert [other.outcome for other in others] == [ok(20)] * 10
    assert spinner.outcome is None
    spinner.kill(Cancelled("enough"))


def test_a_spinners_later_slices_run_without_the_interpreter_lock(loop: Loop, load: Any) -> None:
    spinner = loop.spawn(load(SPIN))
    counted = 0
    stop = threading.Event()

    def count() -> None:
        nonlocal counted
        while not stop.wait(0):
            counted += 1

    thread = threading.Thread(target=count)
    thread.start()
    try:
        while counted < 10:
            assert spinner.turn() is Turn.YIELDED
    finally:
        stop.set()
        thread.join()
        spinner.kill(Cancelled("enough"))


def test_callbacks_work_from_a_poll_without_the_lock(loop: Loop, load: Any, host: TestHost) -> None:
    both = sys_guest(
        """(local.set $i (i32.const 5000000))
           (loop $l (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
           (local.set $h (call $make))
           (local.set $s (call $step (call $get (local.get $h))))
           (call $drop (local.get $h))
           (call $number (call $wait (local.get $s)))"""
    )
    instance = loop.spawn(load(both))
    slices = 0
    while instance.turn() is Turn.YIELDED:
        slices += instance.used_slice
    assert slices >= 2
    loop.finish(host)
    assert instance.outcome == ok(2)
    assert host.dropped == [0]


def test_slices_follow_the_clock(loop: Loop, load: Any) -> None:
    instance = loop.spawn(load(SPIN))
    instance._slice = 20_000_000
    instance._fit_slice(20 * SLICE_NS)  # it took 20 times what it should
    assert instance._slice == 2_000_000
    instance._fit_slice(SLICE_NS // 10)  # a tenth: at most double
    assert instance._slice == 4_000_000
    instance._fit_slice(SLICE_NS)
    assert instance._slice == 4_000_000
    instance.kill(Cancelled("enough"))


def test_deep_recursion_traps(loop: Loop, load: Any) -> None:
    outcome = loop.outcome(load(RECURSE))
    assert isinstance(outcome, Trapped)
    assert outcome.message == "call stack exhausted"
    assert len(outcome.backtrace) < 10_000


def test_memory_grows_up_to_its_limit(loop: Loop, load: Any) -> None:
    program = load(GROW)
    assert loop.outcome(program, "100") == ok(2)
    refused = ok(0xFFFFFFFF)
    assert loop.outcome(program, "4095") == refused  # 256 MiB is the sandbox's limit; it has 2 pages already
    assert loop.outcome(program, "100", memory_bytes=4 << 20) == refused
    assert loop.outcome(program, "4095", memory_bytes=1 << 40) == refused  # limits only lower


def test_a_guest_that_needs_more_memory_than_its_limit_does_not_start(loop: Loop, load: Any) -> None:
    outcome = loop.outcome(load(ECHO), memory_bytes=1 << 16)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, LimitExceeded)


def test_more_instances_than_the_sandbox_holds_are_refused(sandbox: Sandbox, load: Any) -> None:
    program = load(ECHO)
    instances = [
        sandbox.instantiate(program, FakeCaller(), InstanceLimits(), lambda i: None)
        for _ in range(sandbox.config.max_instances)
    ]
    with pytest.raises(Unavailable):
        sandbox.instantiate(program, FakeCaller(), InstanceLimits(), lambda i: None)
    for instance in instances:
        instance.kill(Cancelled("enough"))
    assert sandbox.live == 0


# --- ends ---
@pytest.mark.parametrize("turns", [None, 0, 1])
@pytest.mark.parametrize("source", [ECHO, SPIN, WAITS, HOARD_THEN_WAIT])
def test_kill_in_every_state(sandbox: Sandbox, load: Any, host: TestHost, source: str, turns: int | None) -> None:
    woken: list[Any] = []
    instance = sandbox.instantiate(load(source), FakeCaller(), InstanceLimits(), woken.append)
    if turns is not None:
        instance.start("3")
        for _ in range(turns):
            instance.turn()
    was_done = instance.state is State.DONE
    before = instance.outcome
    error = Cancelled("killed")
    instance.kill(error)
    assert instance.state is State.DONE
    assert instance.outcome == (before if was_done else Failed(error))
    instance.kill(Cancelled("again"))
    assert instance.outcome == (before if was_done else Failed(error))
    assert instance.turn() is Turn.DONE
    assert host.closed == len(host.waiting)  # the suspended handler was closed
    host.release()
    assert not woken
    assert sandbox.live == 0
    assert len(host.dropped) == len(host.things)


def test_kill_from_inside_its_own_turn_is_refused(loop: Loop, load: Any, host: TestHost) -> None:
    seen: list[BaseException] = []

    def step(caller: Any, x: int) -> int:
        try:
            instance.kill(Cancelled("from inside"))
        except InternalError as error:
            seen.append(error)
        with pytest.raises(InternalError):
            instance.turn()
        return x + 1

    host.step = step  # type: ignore[method-assign]
    instance = loop.spawn(load(STEPS), "1")
    loop.run()
    assert instance.outcome == ok(1)
    assert len(seen) == 1


def test_a_handler_may_end_another_instance(loop: Loop, load: Any, host: TestHost) -> None:
    victim = loop.spawn(load(HOARD_THEN_WAIT), "3")
    loop.run()

    def step(caller: Any, x: int) -> int:
        victim.kill(Cancelled("by another"))
        return x + 1

    host.step = step  # type: ignore[method-assign]
    killer = loop.spawn(load(STEPS), "2")
    loop.run()
    assert killer.outcome == ok(2)
    assert victim.state is State.DONE
    assert len(host.dropped) == 3


def test_an_instance_starts_once(loop: Loop, load: Any) -> None:
    instance = loop.spawn(load(ECHO), "x")
    with pytest.raises(InternalError, match="runs once"):
        instance.start("y")
    loop.run()
    with pytest.raises(InternalError, match="runs once"):
        instance.start("y")
    assert instance.outcome == ok("x")


def test_a_turn_before_the_start_is_refused(sandbox: Sandbox, load: Any) -> None:
    instance = sandbox.instantiate(load(ECHO), FakeCaller(), InstanceLimits(), lambda i: None)
    with pytest.raises(InternalError, match="NEW"):
        instance.turn()
    instance.kill(Cancelled("enough"))


def test_a_trap_in_one_of_many_leaves_the_others(loop: Loop, load: Any, host: TestHost) -> None:
    instances = [loop.spawn(load(WAIT_THEN_TRAP if i == 50 else WAITS), "2") for i in range(100)]
    loop.finish(host)
    for i, instance in enumerate(instances):
        assert isinstance(instance.outcome, Trapped) if i == 50 else instance.outcome == ok(2)


def test_a_thousand_instances_suspended_at_once(loop: Loop, load: Any, host: TestHost) -> None:
    program = load(WAITS)
    instances = [loop.spawn(program, "3") for _ in range(1000)]
    loop.run()
    assert len(host.waiting) == 1000
    assert all(instance.state is State.BLOCKED for instance in instances)
    for instance in instances[::2]:
        instance.kill(Cancelled("every other one"))  # in the middle of a call
    loop.finish(host)
    assert all(instance.outcome == ok(3) for instance in instances[1::2])
    assert all(isinstance(instance.outcome, Failed) for instance in instances[::2])


def test_killing_a_spinner_that_once_waited(loop: Loop, load: Any, host: TestHost) -> None:
    instance = loop.spawn(load(WAIT_THEN_SPIN))
    loop.run()
    host.release()
    loop.run(turns=5)
    assert instance.state is State.YIELDED
    instance.kill(Cancelled("enough"))


def test_an_ended_instance_keeps_nothing_alive(loop: Loop, load: Any, host: TestHost) -> None:
    instance = loop.spawn(load(HOARD), "5")
    loop.run()
    references = [weakref.ref(thing) for thing in host.things]
    host.things.clear()
    gc.collect()
    assert instance.outcome == ok(7)
    assert all(reference() is None for reference in references)

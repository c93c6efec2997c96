"""One running guest: a fiber that is polled, syscalls that are answered, handles, and a clean end.

    NEW ──start──> READY ──turn──> (RUNNING) ──┬─> YIELDED   has more to do; turn again when it is its turn
                                       ^       ├─> BLOCKED   a syscall waits; on_wake, then turn
                                       └───────┴─────────────┘
    any state ──turn, or kill from outside a turn──> DONE    outcome is set, everything is released

A turn polls wasmtime's future. The guest runs on its fiber until it calls the host: the callback there decodes the
arguments, leaves them as the pending call and returns; the future then reports "not ready". On the main stack the turn
runs the handler, writes the answer, marks the call's cell, and polls again. "Not ready" *without* a pending call is a
fuel yield, so the pending call is cleared before each poll. A handler that waits returns a `Suspension`, or is a
coroutine driven right here, without a task: what it yields gets a callback that only reports `on_wake`.

Rules that keep the host alive (docs/security.md): nothing but decoding happens on the fiber; no exception leaves a
callback; one call a store, one store a run; release the future, then the store, then the slot.

Guarded by: everything is the event-loop thread's. Knows nothing of processes, scheduling or time.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from symphony import param
from symphony.errors import Cancelled, InternalError, SymphonyError
from symphony.sandbox import abi
from symphony.sandbox.abi import MEMORY
from symphony.sandbox.config import InstanceLimits
from symphony.sandbox.drive import attach, run_detached
from symphony.sandbox.layout import HandleLimit, HandleTable
from symphony.sandbox.linker import Binding
from symphony.sandbox.outcome import Exited, Failed, Outcome, Returned, Turn, ended_by
from symphony.sandbox.timeline import Timeline
from symphony.syscall.pollable import Suspension
from symphony.syscall.values import Exit

if TYPE_CHECKING:
    from symphony.sandbox.sandbox import LoadedProgram, Sandbox
    from symphony.syscall.caller import Caller

_log = logging.getLogger(__name__)


class State(enum.Enum):
    NEW = enum.auto()
    READY = enum.auto()
    RUNNING = enum.auto()
    YIELDED = enum.auto()
    BLOCKED = enum.auto()
    DONE = enum.auto()


# Enum members as plain names: a turn is hot.
_NEW, _RUNNING, _YIELDED, _BLOCKED, _DONE = State.NEW, State.RUNNING, State.YIELDED, State.BLOCKED, State.DONE
_TURN_YIELDED, _TURN_BLOCKED, _TURN_DONE = Turn.YIELDED, Turn.BLOCKED, Turn.DONE
_ANSWERS = param.ANSWERS_PER_TURN
_SLICE_NS = param.SLICE_NS
_MIN_SLICE, _MAX_SLICE = param.MIN_FUEL_SLICE, param.MAX_FUEL_SLICE
_MAX_FUEL = (1 << 63) - 1  # wasmtime counts in 64 bits with a sign
_clock = time.perf_counter_ns

# A slot: the C structs of one instance, `SLOT_BYTES` of the sandbox's slot array.
_CELL = 0  # first byte 1: the pending call is answered
_ERROR = 8  # wasmtime_error_t*
_INSTANCE = 16  # wasmtime_component_instance_t
_FUNCTION = 48  # wasmtime_component_func_t
_ARGUMENT = 96  # the run's argument, a value
_RESULT = 128  # the run's result, a value
SLOT_BYTES = 192


class Instance:
    """A guest. Create it with `Sandbox.instantiate`, then `start`, then `turn` until `Turn.DONE`."""

    away = False
    """Its turns are taken in this process (`running.Running`)."""

    __slots__ = (
        "_arguments",
        "_awaited",
        "_binding",
        "_calling",
        "_context",
        "_coroutine",
        "_drops",
        "_failure",
        "_future",
        "_limits",
        "_on_wake",
        "_program",
        "_results",
        "_sandbox",
        "_slice",
        "_slot",
        "_store",
        "_woken",
        "caller",
        "handles",
        "outcome",
        "state",
        "timeline",
        "used_slice",
    )

    def __init__(
        self,
        sandbox: Sandbox,
        program: LoadedProgram,
        caller: Caller,
        limits: InstanceLimits,
        on_wake: Callable[[Instance], None],
        slot: int,
    ) -> None:
        self.caller = caller
        self.state = State.NEW
        self.outcome: Outcome | None = None
        self.used_slice = False
        """Whether the last turn ended because the guest computed for a whole fuel slice."""
        self.timeline: Timeline | None = None
        """Where its turns and syscalls are recorded, if somebody wants that; set before `start`."""
        self.handles = HandleTable(limits.handles)
        self._sandbox = sandbox
        self._program: LoadedProgram | None = program
        self._limits = limits
        self._on_wake = on_wake
        self._slot = slot
        self._slice = sandbox.config.fuel_slice
        """Fuel after which it yields; follows how long its slices take."""
        self._store = 0
        self._context = 0
        self._future = 0
        self._calling = False
        """Whether the future is the call (else the instantiation)."""
        # The pending call, set by the callback:
        self._binding: Binding | None = None
        self._arguments: tuple[Any, ...] = ()
        self._results = 0
        self._failure: BaseException | None = None
        self._drops: list[Any] = []
        """Objects whose handles the guest dropped, until the main stack is back."""
        # The syscall that waits:
        self._coroutine: Coroutine[Any, Any, Any] | None = None
        self._awaited: Any = None
        self._woken = False

    # --- from the process ---------------------------------------------------------------------------------------------
    def start(self, argument: str) -> None:
        """Prepare to call the export `run(argument)`; the first turn begins it. Does not block."""
        if self.state is not State.NEW:
            raise InternalError(f"an instance runs once; this one is {self.state.name}")
        sandbox, limits, program = self._sandbox, self._limits, self._program
        assert program is not None
        self._store = store = abi.store_new(sandbox.engine_address, None, None)
        self._context = context = abi.store_context(store)
        config = sandbox.config
        abi.store_limiter(
            store, limits.memory_bytes, config.table_elements, config.core_instances, config.tables, config.memories
        )
        for error in (
            abi.set_fuel(context, min(limits.fuel, _MAX_FUEL)),
            abi.set_fuel_slice(context, config.fuel_slice),
        ):
            if error:
                raise InternalError(abi.take_error(error))
        slot = self._slot
        MEMORY[slot : slot + SLOT_BYTES] = bytes(SLOT_BYTES)
        sandbox.write_string(slot + _ARGUMENT, argument, context, self.handles)
        self._future = abi.instantiate_async(
            program.linkage.address, context, program.component_address, slot + _INSTANCE, slot + _ERROR
        )
        self.state = State.READY

    def turn(self) -> Turn:
        """Let the guest run: until it waits, has used its fuel slice or its answers of this turn, or ends.

        Bounded; runs handlers; call it on the main stack. Harmless when there is nothing to do.
        """
        state = self.state
        if state is _BLOCKED:
            if not self._woken:
                return _TURN_BLOCKED
        elif state is _DONE:
            return _TURN_DONE
        elif state is _RUNNING or state is _NEW:
            raise InternalError(f"an instance that is {state.name} cannot take a turn")
        began, timeline = _clock(), self.timeline
        try:
            return self._run(began, state)
        except BaseException:
            if self.state is not _DONE:
                self._end(Failed(InternalError("the sandbox failed", "the host's log has the details")))
            raise
        finally:
            if timeline is not None:
                timeline.turned(began)

    def kill(self, error: SymphonyError) -> None:
        """End it now, in any state; releases everything. Not from inside its own turn. Later kills do nothing."""
        if self.state is _RUNNING:
            raise InternalError("an instance cannot be killed from inside its own turn")
        if self.state is not _DONE:
            self._end(Failed(error))

    @property
    def awaited(self) -> Any:
        """What its syscall waits for; None: it has none that waits."""
        return self._awaited

    # --- inside a turn ------------------------------------------------------------------------------------------------
    def _run(self, began: int, state: State) -> Turn:
        """The turn itself. `began` is the time, in nanoseconds; `state` is how it was before."""
        poll = abi.future_poll_released if self.used_slice else abi.future_poll
        self.used_slice = False
        self.state = _RUNNING
        if state is _BLOCKED and not self._go_on():
            return self._turn_result()
        sandbox, timeline = self._sandbox, self.timeline
        budget = _ANSWERS
        while budget:
            budget -= 1
            self._binding = None
            sandbox.current = self
            finished = poll(self._future)
            if self._drops:
                self._run_drops()
            if finished:
                if self._advance():
                    continue
                return _TURN_DONE
            binding = self._binding
            if binding is None:
                if self._failure is not None:
                    self._fail(self._failure)
                    return _TURN_DONE
                self.used_slice = True
                self.state = _YIELDED
                self._fit_slice(_clock() - began)
                return _TURN_YIELDED
            if timeline is not None:
                timeline.asked(binding.key)
            try:
                value = binding.handler(self.caller, *self._arguments)
                kind = value.__class__
                if kind is CoroutineType:
                    if not self._resume(value):
                        return self._turn_result()
                    continue
                if isinstance(value, Suspension):  # as `_block`, which is a call more for each token
                    self._awaited = value
                    self._woken = False
                    self.state = _BLOCKED
                    value.attach(self._wake)
                    return _TURN_BLOCKED
                if binding.write is not None:
                    binding.write(self._results, value, self._context, self.handles)
            except BaseException as error:
                if not self._answer_error(binding, error):
                    return _TURN_DONE
            if timeline is not None:
                timeline.answered()
            MEMORY[self._slot] = 1
        self.state = _YIELDED
        return _TURN_YIELDED

    def _turn_result(self) -> Turn:
        return _TURN_DONE if self.state is _DONE else _TURN_BLOCKED

    def _block(self, awaited: Any) -> None:
        """The syscall waits for that."""
        self._awaited = awaited
        self._woken = False
        self.state = _BLOCKED
        if isinstance(awaited, Suspension):
            awaited.attach(self._wake)
        else:
            attach(awaited, self._wake)

    def _go_on(self) -> bool:
        """Continue the syscall that waited. True: it is answered. False: it still waits, or the guest has ended."""
        if self._coroutine is not None:
            return self._resume(self._coroutine)
        waiting, binding = self._awaited, self._binding
        assert binding is not None
        try:
            value = waiting.answer()
            if value is None:
                self._block(waiting)
                return False
            self._awaited = None
            if binding.write is not None:
                binding.write(self._results, value, self._context, self.handles)
        except BaseException as error:
            self._awaited = None
            if not self._answer_error(binding, error):
                return False
        if self.timeline is not None:
            self.timeline.answered()
        MEMORY[self._slot] = 1
        return True

    def _resume(self, coroutine: Coroutine[Any, Any, Any]) -> bool:
        """Continue a handler. True: its syscall is answered. False: it waits on, or the guest has ended."""
        binding = self._binding
        assert binding is not None
        self._coroutine = coroutine
        try:
            awaited = coroutine.send(None)
        except StopIteration as stop:
            self._coroutine = self._awaited = None
            try:
                if binding.write is not None:
                    binding.write(self._results, stop.value, self._context, self.handles)
            except BaseException as error:
                if not self._answer_error(binding, error):
                    return False
        except BaseException as error:
            self._coroutine = self._awaited = None
            if not self._answer_error(binding, error):
                return False
        else:
            try:
                self._block(awaited)
            except TypeError as error:
                self._fail(error, binding.key)
            return False
        if self.timeline is not None:
            self.timeline.answered()
        MEMORY[self._slot] = 1
        return True

    def _wake(self, _: object = None) -> None:
        """What the syscall waits for is there."""
        if self.state is _BLOCKED and not self._woken:
            self._woken = True
            self._on_wake(self)

    def _answer_error(self, binding: Binding, error: BaseException) -> bool:
        """A handler raised. True: the error went to the guest as its answer. False: the guest has ended."""
        if isinstance(error, asyncio.CancelledError):
            error = Cancelled("what the call waited for was cancelled")
        if isinstance(error, SymphonyError) and binding.write_error is not None and not isinstance(error, HandleLimit):
            try:
                binding.write_error(self._results, error, self._context, self.handles)
                return True
            except Exception as unwritable:
                error = unwritable
        self._fail(error, binding.key)
        return False

    def _fail(self, error: BaseException, key: str = "a host call") -> None:
        """End because of an exception on the host's side. One that is not for guests goes on up after the end."""
        if isinstance(error, Exit):
            self._end(Exited(error.code))
        elif isinstance(error, SymphonyError):
            self._end(Failed(error))
        else:
            _log.error("%s failed", key, exc_info=error)
            self._end(Failed(InternalError(f"{key} failed inside the host", "the host's log has the details")))
            if not isinstance(error, Exception):
                raise error

    def _advance(self) -> bool:
        """The future is done: from instantiation to the call (True), or to the end (False)."""
        abi.future_delete(self._future)
        self._future = 0
        slot, context = self._slot, self._context
        error = abi.read_word(MEMORY, slot + _ERROR)[0]
        if self._failure is not None:
            if error:
                abi.error_delete(error)
            self._fail(self._failure)
            return False
        if error:
            self._end(ended_by(abi.take_error(error)))
            return False
        if self._calling:
            self._end(Returned(self._sandbox.read_result(slot + _RESULT, context, self.handles)))
            return False
        program = self._program
        assert program is not None
        if not abi.instance_get_func(slot + _INSTANCE, context, program.run_address, slot + _FUNCTION):
            raise InternalError("a checked program has no export `run`")
        self._calling = True
        self._future = abi.call_async(slot + _FUNCTION, context, slot + _ARGUMENT, 1, slot + _RESULT, 1, slot + _ERROR)
        return True

    def _fit_slice(self, took: int) -> None:
        """Fuel is instructions, not time: a slice of cache misses lasts 20 times one of additions. Bring the next slice
        nearer to the time that it should take; `took` is in nanoseconds."""
        factor = min(2.0, max(0.1, _SLICE_NS / max(took, 1)))
        if 0.7 < factor < 1.5:
            return
        fuel = int(min(_MAX_SLICE, max(_MIN_SLICE, self._slice * factor)))
        if fuel != self._slice:
            self._slice = fuel
            error = abi.set_fuel_slice(self._context, fuel)
            if error:
                raise InternalError(abi.take_error(error))

    def _run_drops(self) -> None:
        drops, self._drops = self._drops, []
        for thing in drops:
            drop_object(thing)

    # --- the end ------------------------------------------------------------------------------------------------------
    def _end(self, outcome: Outcome) -> None:
        """Release everything, in the order that wasmtime needs; sets the outcome. Runs once."""
        self.state = _DONE
        self.outcome = outcome
        if self.timeline is not None:
            self.timeline.answered()
        sandbox = self._sandbox
        coroutine, self._coroutine = self._coroutine, None
        if isinstance(self._awaited, Suspension):
            self._awaited.detach()
        self._awaited = self._binding = self._failure = None
        self._arguments = ()
        if coroutine is not None:
            try:
                coroutine.close()
            except BaseException as error:
                _log.error("a syscall resisted its end", exc_info=error)
        sandbox.current = self
        if self._future:
            abi.future_delete(self._future)
            self._future = 0
        if self._store:
            abi.val_delete(self._slot + _ARGUMENT)
            abi.val_delete(self._slot + _RESULT)
            abi.store_delete(self._store)
            self._store = self._context = 0
        self._program = None  # the store needed what it holds
        sandbox.current = None
        sandbox.release_slot(self._slot)
        self._run_drops()
        handles = [*self.handles.values(), *self.handles.refused]
        self.handles.clear()
        self.handles.refused.clear()
        for thing in handles:  # wasmtime runs no destructor on a trap or at the store's end
            drop_object(thing)


def drop_object(thing: Any) -> None:
    """Tell an object that its handle is gone. `drop` may be a coroutine; one that waits goes on by itself."""
    drop = getattr(thing, "drop", None)
    if drop is None:
        return
    try:
        result = drop()
        if result.__class__ is CoroutineType:
            run_detached(result)
    except BaseException as error:  # the others must be dropped too
        _log.error("dropping a %s failed", type(thing).__name__, exc_info=error)

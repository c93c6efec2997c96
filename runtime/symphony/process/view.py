"""A process as an operator sees it: its state, what it waits for, and what it holds in the core.

    new  ready  running  blocked  done  killed      the process' own states; new: it has not begun
    swapped                                         blocked, and all keys and values of its files are off the device

Reads and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from symphony.core.inspect import GUEST, Activity, Inspector
from symphony.process.process import Process, State
from symphony.syscall.pollable import Timer, Waiter

SWAPPED = "swapped"
_PLAIN = {State.NEW: "admission", State.READY: "cpu"}


@dataclass(slots=True)
class View:
    state: str
    waits_for: list[str]
    """Empty unless it is alive and does not run: 'admission' (a place, by the end of another), 'cpu' (its turn), of the
    model 'step' (which runs), 'next step', 'pages' and 'recall' (keys and values that come back), 'tool', 'lock',
    'client' (which has to read), 'timer'."""
    activity: Activity


def view(process: Process, inspector: Inspector) -> View:
    """The process now."""
    activity = inspector.activity(process.session)
    state = process.state
    if state is State.BLOCKED:
        waits = list(dict.fromkeys(_waits(process, activity)))
        return View(SWAPPED if activity.swapped else state.value, waits, activity)
    return View(state.value, [_PLAIN[state]] if state in _PLAIN else [], activity)


def _waits(process: Process, activity: Activity) -> Iterator[str]:
    reasons = [operation.waits_for for operation in activity.operations if operation.waits_for != GUEST]
    yield from reasons
    if process.tool_calls():
        yield "tool"
    if activity.awaited_locks:
        yield "lock"
    if process.log_events.stalled:
        yield "client"
    if not reasons and process.instance is not None:  # beside the model, a timer is only how long it waits at most
        awaited = process.instance.awaited
        if isinstance(awaited, Waiter) and any(isinstance(pollable, Timer) for pollable in awaited.pollables):
            yield "timer"

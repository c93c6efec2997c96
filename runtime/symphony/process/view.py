"""A process as an operator sees it: its state, what it waits for, and what it holds in the core.

    new  ready  running  blocked  done  killed      the process' own states; new: it has not begun
    swapped                                         blocked, and all keys and values of its files are off the device

Reads and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from symphony.core.inspect import GUEST, Activity, Inspector
from symphony.param import MAX_SURVEY_PAGES
from symphony.process.children import Ended
from symphony.process.process import Process, State
from symphony.syscall.mailbox import Arrival
from symphony.syscall.pollable import Pollable, Timer, Waiter

SWAPPED = "swapped"
_PLAIN = {State.NEW: "admission", State.READY: "cpu"}
_WORDS: dict[type[Pollable], str] = {Arrival: "message", Ended: "child"}


@dataclass(slots=True)
class View:
    state: str
    waits_for: list[str]
    """Empty unless it is alive and does not run: 'admission' (a place, by the end of another), 'cpu' (its turn), of the
    model 'step' (which runs), 'next step', 'pages' and 'recall' (keys and values that come back), 'tool', 'lock',
    'client' (which has to read), 'message', 'child', 'timer'."""
    activity: Activity


def state_of(process: Process, inspector: Inspector) -> str:
    """What `view` says of its state, for less."""
    if process.state is not State.BLOCKED:
        return process.state.value
    if _runs_elsewhere(process):
        return State.RUNNING.value
    return SWAPPED if inspector.swapped(process.session) else process.state.value


def view(process: Process, inspector: Inspector, most: int = MAX_SURVEY_PAGES) -> View:
    """The process now; `most`: entries of page tables to look at."""
    activity = inspector.activity(process.session, most)
    if process.state is State.BLOCKED and _runs_elsewhere(process):
        return View(State.RUNNING.value, [], activity)
    if process.state is State.BLOCKED:
        waits = list(dict.fromkeys(_waits(process, activity)))
        return View(SWAPPED if activity.swapped else process.state.value, waits, activity)
    return View(process.state.value, [_PLAIN[process.state]] if process.state in _PLAIN else [], activity)


def _runs_elsewhere(process: Process) -> bool:
    """Whether it has its turns in a worker, and waits for nothing here."""
    return process.instance is not None and process.instance.away


def _waits(process: Process, activity: Activity) -> Iterator[str]:
    reasons = [operation.waits_for for operation in activity.operations if operation.waits_for != GUEST]
    yield from reasons
    if process.tool_calls():
        yield "tool"
    if activity.awaited_locks:
        yield "lock"
    if process.log_events.stalled:
        yield "client"
    awaited = process.instance.awaited if process.instance is not None else None
    if isinstance(awaited, Waiter):
        kinds = {type(pollable) for pollable in awaited.pollables}
        yield from (word for kind, word in _WORDS.items() if kind in kinds)
        if Timer in kinds and not reasons:  # beside the model, a timer is only how long it waits at most
            yield "timer"

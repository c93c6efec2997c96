"""The timeline of a process in the format that trace viewers read (chrome://tracing, https://ui.perfetto.dev).

Format: "Trace Event Format", complete events (`ph: X`) in microseconds. Two tracks: turns of the guest on the CPU, and
its syscalls from the call to the answer: what lies between two turns is a wait, and the syscall above it says for what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from symphony.errors import NotFound
from symphony.sandbox.timeline import Timeline, clock

if TYPE_CHECKING:
    from symphony.process.process import Process

TURNS, SYSCALLS = 1, 2
"""Tracks."""
OURS = "symphony:lip/"


def chrome_trace(process: Process) -> dict[str, Any]:
    """As JSON values. Raises NotFound if nothing was recorded."""
    timeline = process.timeline
    if timeline is None:
        raise NotFound(
            f"process {process.pid} has no timeline: nobody asked for one when it was started",
            "run it with trace=1 (symphony run --trace FILE), or have the server record all: symphony serve --trace",
        )
    zero, pid = process.began_ns, process.pid
    events = [
        _name("process_name", pid, 0, f"{process.program} (process {pid})"),
        _name("thread_name", pid, TURNS, "turns"),
        _name("thread_name", pid, SYSCALLS, "syscalls"),
        *[_span("turn", "cpu", pid, TURNS, began - zero, ended - began) for began, ended in timeline.turns],
        *[_syscall(pid, key, asked - zero, answered - asked) for key, asked, answered in timeline.syscalls],
    ]
    if timeline.open is not None:
        key, asked = timeline.open
        events.append(_syscall(pid, key, asked - zero, clock() - asked, unanswered=True))
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {
            "program": process.program,
            "turns": timeline.turn_count,
            "syscalls": timeline.syscall_count,
            "left_out": _left_out(timeline),
        },
    }


def _left_out(timeline: Timeline) -> int:
    kept = len(timeline.turns) + len(timeline.syscalls)
    return timeline.turn_count + timeline.syscall_count - kept


def _syscall(pid: int, key: str, start: int, length: int, *, unanswered: bool = False) -> dict[str, Any]:
    interface, _, _ = key.partition("#")
    span = _span(key.removeprefix(OURS), interface.removeprefix(OURS), pid, SYSCALLS, start, length)
    return {**span, "args": {"unanswered": True}} if unanswered else span


def _span(name: str, category: str, pid: int, track: int, start: int, length: int) -> dict[str, Any]:
    """Times in nanoseconds."""
    return {
        "name": name,
        "cat": category,
        "ph": "X",
        "pid": pid,
        "tid": track,
        "ts": start / 1000,
        "dur": length / 1000,
    }


def _name(what: str, pid: int, track: int, name: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": pid, "tid": track, "args": {"name": name}}

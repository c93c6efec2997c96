"""`symphony:lip/process`: the calling process, and those that it starts. Source: `wit/process.wit`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from symphony.errors import Invalid, LimitExceeded, NotFound, SymphonyError
from symphony.param import MAX_ARGS_BYTES, MAX_CHILD_SOURCE_CHARS, MAX_CHILD_TOOLS, MAX_SURVEY_PAGES
from symphony.syscall import strict_json
from symphony.syscall.caller import Caller, Child, ChildLimits
from symphony.syscall.kvfs import KvFile
from symphony.syscall.model import Model
from symphony.syscall.pollable import Pollable
from symphony.syscall.values import Err, Handler, Ok


class UsageRecord(NamedTuple):
    forwards: int
    prompt_tokens: int
    reused_tokens: int
    generated_tokens: int
    accepted_tokens: int
    pages: int
    cpu_us: int
    wall_us: int


class Passed(NamedTuple):
    name: str
    file: KvFile


def pid(caller: Caller) -> int:
    return caller.pid


def tenant(caller: Caller) -> str:
    return caller.tenant


def usage_so_far(caller: Caller) -> UsageRecord:
    return usage_within(caller, MAX_SURVEY_PAGES)


def usage_within(caller: Caller, most: int) -> UsageRecord:
    """Its pages by looking at so many entries of page tables at `most`."""
    u = caller.core.usage(caller.session, most)
    wall_us = (time.monotonic_ns() - caller.started_ns) // 1000
    cpu_us = caller.cpu_ns // 1000
    counts = (u.forwards, u.prompt_tokens, u.reused_tokens, u.generated_tokens, u.accepted_tokens, u.pages)
    return UsageRecord(*counts, cpu_us, wall_us)


async def spawn(caller: Caller, program: str, args: str, limits: ChildLimits, files: Sequence[Passed]) -> Child:
    _check_program(program)
    _check_arguments(args)
    if limits.tools is not None and len(limits.tools) > MAX_CHILD_TOOLS:
        raise LimitExceeded(f"{len(limits.tools)} tools for a child, at most {MAX_CHILD_TOOLS}")
    passed = {entry.name: entry.file.id for entry in files}
    if len(passed) < len(files):
        raise Invalid("two files are passed under one name", "give each a name of its own")
    return await caller.spawn(program, args, limits, passed)


def _check_program(text: str) -> None:
    if len(text) > MAX_CHILD_SOURCE_CHARS:
        raise LimitExceeded(
            f"a source of {len(text)} characters, at most {MAX_CHILD_SOURCE_CHARS}", "upload it, and start it by name"
        )


def _check_arguments(text: str) -> None:
    if len(text) > MAX_ARGS_BYTES:
        raise LimitExceeded(f"the arguments have {len(text)} characters, at most {MAX_ARGS_BYTES}")
    try:
        value = strict_json.loads(text)
    except ValueError as e:
        raise Invalid(f"the child's arguments are not JSON: {e}") from None
    if not isinstance(value, dict):
        raise Invalid("the child's arguments are not a JSON object", 'pass {"name": value, ...}')


def child_pid(caller: Caller, child: Child) -> int:
    return child.pid


def subscribe(caller: Caller, child: Child) -> Pollable:
    return child.ended


def get(caller: Caller, child: Child) -> Ok[str] | Err[SymphonyError] | None:
    return child.take()


def send(caller: Caller, child: Child, text: str) -> None:
    child.post(text)


def room(caller: Caller, child: Child) -> Pollable:
    return child.room


def kill(caller: Caller, child: Child) -> None:
    child.kill()


def detach(caller: Caller, child: Child) -> None:
    child.detach()


def inherit(caller: Caller, model: Model, name: str) -> KvFile:
    file = caller.inherited.get(name)
    if file is None:
        known = ", ".join(caller.inherited) or "none"
        raise NotFound(f"no file was passed as {name!r}, or it was taken", f"files that are left: {known}")
    theirs = caller.core.model_of(caller.session, file)
    if theirs != model.name:
        raise Invalid(f"the file passed as {name!r} is of model {theirs}, not {model.name}", f"open it for {theirs}")
    del caller.inherited[name]
    return KvFile(caller, file)


HANDLERS: Mapping[str, Handler] = {
    "symphony:lip/process#pid": pid,
    "symphony:lip/process#tenant": tenant,
    "symphony:lip/process#usage-so-far": usage_so_far,
    "symphony:lip/process#spawn": spawn,
    "symphony:lip/process#[method]child.pid": child_pid,
    "symphony:lip/process#[method]child.subscribe": subscribe,
    "symphony:lip/process#[method]child.get": get,
    "symphony:lip/process#[method]child.send": send,
    "symphony:lip/process#[method]child.room": room,
    "symphony:lip/process#[method]child.kill": kill,
    "symphony:lip/process#[method]child.detach": detach,
    "symphony:lip/process#inherit": inherit,
}

"""Children that a process starts: what they may not get, how they end, and what a family may not do to the host."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile_host import Host, lip, until
from hostile_host import host as boot

from symphony.errors import Cancelled, LimitExceeded, SymphonyError, TimedOut
from symphony.param import (
    MAX_CHILD_RESULT_CHARS,
    MAX_CHILD_SOURCE_CHARS,
    MAX_CHILD_TOOLS,
    MAX_CHILDREN,
    MAX_SPAWN_DEPTH,
)
from symphony.process.process import LaunchOptions, Process
from symphony.sched.admission import AdmissionLimits


def family(parent: str, **roles: str) -> str:
    """A program that starts itself again: `role` says which body runs; `me(role)` starts one more."""
    bodies = {"parent": parent, **roles}
    head = (
        "import asyncio, json, sys, time\nfrom lip import *\nfrom lip import _host, fs\nfrom lip.errors import call\n"
    )
    head += "async def me(role, **more): return await spawn(None, role=role, **more)\n"
    for name, body in bodies.items():
        head += lip(body, "more").split("@main\n")[1].replace("async def app", f"async def role_{name}")
    chosen = ", ".join(f"{name!r}: role_{name}" for name in bodies)
    return head + f"@main\nasync def app(role: str = 'parent', **more):\n    return await {{{chosen}}}[role](more)\n"


@pytest.fixture(scope="module")
def module_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    tools = {"double": lambda x: 2 * x, "halve": lambda x: x // 2}
    with boot(tmp_path_factory.mktemp("home"), tools) as running:
        yield running


@pytest.fixture
def host(module_host: Host) -> Iterator[Host]:
    yield module_host
    module_host.check()


async def launch(host: Host, program: str, options: LaunchOptions | None = None) -> Process:
    """A process that has come as far as its first output, or to its end."""
    process = await host.runtime.launch(program, {}, options or LaunchOptions())
    async for event in process.events():
        if event.kind == "output":
            break
    return process


def descendants(host: Host, process: Process) -> list[Process]:
    found: list[Process] = []
    for other in host.runtime.processes():
        if other.parent == process.pid:
            found += [other, *descendants(host, other)]
    return found


SLEEP = "emit('asleep')\nawait sleep(3600)"
SPIN = "emit('spinning')\nwhile True: pass"


# ---- limits only lower -------------------------------------------------------------------------------------------


def test_cpu_time_of_children_counts_for_their_parent(host: Host) -> None:
    """Three that compute for ever use what one may, and no more; then their parent has nothing left either."""
    program = family(
        "children = [await me('spin') for _ in range(3)]\nemit('x')\n"
        "for c in children:\n    try: await c.wait()\n    except LimitExceeded: pass\nreturn 'free'",
        spin=SPIN,
    )

    async def scenario() -> None:
        parent = await launch(host, program, LaunchOptions(cpu_seconds=0.3))
        with pytest.raises(LimitExceeded, match=r"more than 0\.3 s"):
            await parent.wait()
        used = parent.cpu_ns + sum(child.cpu_ns for child in descendants(host, parent))
        assert used < 0.6e9
        assert all(child.state.ended for child in descendants(host, parent))

    host.run(scenario())


def test_a_child_that_reaches_its_own_limit_leaves_its_parent_alone(host: Host) -> None:
    body = """
    child = await spawn(None, role="spin", limits=Limits(cpu_seconds=0.05))
    try:
        await child.wait()
    except LimitExceeded as e:
        return str(e)
    """
    assert "more than 0.05 s of CPU" in host.result(family(body, spin=SPIN))


def test_cpu_time_is_not_regained_by_detaching(host: Host) -> None:
    """A line of children, each of which starts the next and ends, gets what the first had."""
    heir = "(await me('heir')).detach()\nstop = time.process_time() + 0.02\nwhile time.process_time() < stop: pass"

    async def scenario() -> None:
        first = await launch(host, family(heir, heir=heir), LaunchOptions(cpu_seconds=0.1))
        await until(lambda: all(p.state.ended for p in [first, *descendants(host, first)]))
        line = [first, *descendants(host, first)]
        assert len(line) <= MAX_SPAWN_DEPTH + 1
        assert sum(p.cpu_ns for p in line) < 0.4e9

    host.run(scenario())


@pytest.mark.parametrize("detached", [False, True])
def test_no_child_outlives_its_parents_deadline(detached: bool, host: Host) -> None:
    let = "c.detach()" if detached else ""
    program = family(
        f"c = await spawn(None, role='sleep', limits=Limits(seconds=1e6))\n{let}\nemit('x')\nawait sleep(3600)",
        sleep=SLEEP,
    )

    async def scenario() -> None:
        parent = await launch(host, program, LaunchOptions(wall_seconds=0.3))
        with pytest.raises(TimedOut):
            await parent.wait()
        (child,) = descendants(host, parent)
        with pytest.raises(TimedOut if detached else Cancelled):
            await child.wait()
        assert child.options.wall_seconds <= 0.3

    host.run(scenario())


def test_tools_are_passed_on_or_not_and_never_gained(host: Host) -> None:
    child = """
    found = [t.name for t in tools()]
    for name in ("double", "halve"):
        try:
            found.append(await tool(name, x=4))
        except NotFound:
            found.append("none")
    try:
        await spawn(None, role="child", limits=Limits(tools=["halve"]))
    except NotFound as e:
        found.append(e.message)
    return found
    """
    parent = """
    all = await (await spawn(None, role="child", limits=Limits(tools=["double"]))).wait()
    none = await (await spawn(None, role="child", limits=Limits(tools=[]))).wait()
    return [all, none, [t.name for t in tools()]]
    """
    refused = "there is no tool 'halve' to pass on"
    assert host.result(family(parent, child=child)) == [
        ["double", 8, "none", refused],
        ["none", "none", refused],
        ["double", "halve"],
    ]


def test_the_right_to_share_and_priority_only_fall(host: Host) -> None:
    child = """
    try:
        fs.mkdir(f"/shared/{more['name']}")
    except PermissionDenied:
        return "denied"
    fs.unlink(f"/shared/{more['name']}")
    return "made"
    """
    parent = """
    found = []
    for n, limits in enumerate([Limits(), Limits(share=True), Limits(share=False), Limits(nice=-20)]):
        c = await spawn(None, role="child", limits=limits, name=f"by {n}")
        found.append(await c.wait())
    return found
    """
    program = family(parent, child=child)

    async def scenario(share: bool, nice: int) -> tuple[Any, list[int]]:
        process = await launch(host, program, LaunchOptions(share=share, nice=nice))
        return await process.wait(), [p.options.nice for p in descendants(host, process)]

    assert host.run(scenario(True, 3)) == (["made", "made", "denied", "made"], [3, 3, 3, 3])
    assert host.run(scenario(False, 0)) == (["denied"] * 4, [0, 0, 0, 0])


# ---- how many ----------------------------------------------------------------------------------------------------


def test_a_fork_bomb_is_bounded_and_ends_with_its_root(host: Host) -> None:
    """Each starts as many as it can for ever. There are never more than there are places, and no generation 9."""
    bomb = """
    emit('x')
    held = []
    while True:
        try:
            held.append(await me("parent"))
        except LimitExceeded:
            await sleep(0.001)
    """

    async def scenario() -> None:
        root = await launch(host, family(bomb))
        for _ in range(150):
            await asyncio.sleep(0.001)
            assert host.runtime._processes.live <= 16
        assert max(p.depth for p in [root, *descendants(host, root)]) <= MAX_SPAWN_DEPTH
        await root.kill()
        assert host.runtime._processes.live == 0

    host.run(scenario())


def test_a_fork_bomb_of_one_tenant_leaves_places_to_another(tmp_path: Path) -> None:
    bomb = family(
        "emit('x')\nwhile True:\n    try: (await me('parent')).detach()\n    except LimitExceeded: await sleep(0)"
    )
    with boot(tmp_path, admission=AdmissionLimits(live=12, live_per_tenant=6)) as host:

        async def scenario() -> None:
            await launch(host, bomb, LaunchOptions(tenant="a", wall_seconds=1.0))
            for n in range(5):
                process = await host.runtime.launch(lip(f"return {n}"), {}, LaunchOptions(tenant="b"))
                assert await process.wait() == n
            await until(lambda: host.runtime._processes.live == 0)

        host.run(scenario())


def test_generations_are_counted(host: Host) -> None:
    body = """
    depth = more.get("depth", 0)
    try:
        child = await spawn(None, role="parent", depth=depth + 1)
    except LimitExceeded as e:
        return [depth, e.message]
    return await child.wait()
    """
    depth, message = host.result(family(body))
    assert depth == MAX_SPAWN_DEPTH
    assert f"generation {MAX_SPAWN_DEPTH}" in message


def test_children_are_counted_until_their_results_are_taken(host: Host) -> None:
    """They have ended, but their results take memory."""
    body = f"""
    held = []
    for n in range({MAX_CHILDREN}):
        held.append(call(_host.process.spawn, "", '{{"role": "quick"}}', {LIMITS}, []))
        _host.poll.poll([held[-1].subscribe()])
    try:
        await me("quick")
    except LimitExceeded as e:
        refused = e.message
    held[0].get()
    one = await (await me("quick")).wait()
    return [refused, one]
    """
    refused, one = host.result(family(body, quick="return 1"))
    assert (f"{MAX_CHILDREN} children" in refused, one) == (True, 1)


LIMITS = "_host.process.Limits(None, None, None, None, None)"


# ---- what is asked for -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["nothing", "/etc/passwd", "../../etc/passwd", "FILE", ".", "\0", "\ud800", "x" * 100_000, "sha256:"]
)
def test_a_program_is_a_name_or_a_source_never_a_path(name: str, host: Host, tmp_path: Path) -> None:
    file = tmp_path / "there.py"
    file.write_text("from lip import main\n@main\ndef app(): return 'read'\n")
    name = str(file) if name == "FILE" else name
    body = "try:\n    await spawn(json.loads(more['name']))\nexcept Error as e:\n    return type(e).__name__"
    assert host.result(family(body), name=json.dumps(name)) in ("NotFound", "Invalid")


def test_sources_and_arguments_are_checked(host: Host) -> None:
    source = "from lip import main\\n@main\\ndef app(n: int = 1): return n\\n"
    body = f"""
    found = []
    for program, args in [
        ("{source}", '{{}}, "source": "import sys"'), ("{source}", "[]"), ("{source}", "nonsense"), ("{source}", ""),
        ("{source}", "{{}}" + " " * (1 << 20)), ("{source}", '{{"n": "text"}}'), ("def (:\\n", "{{}}"),
        ("x = 1\\n", "{{}}"), ("{source}", '{{"n": 5}}'),
    ]:
        try:
            child = call(_host.process.spawn, program, args, {LIMITS}, [])
        except Error as e:
            found.append(type(e).__name__)
            continue
        pollable = child.subscribe()
        _host.poll.poll([pollable])
        answer = child.get()
        found.append(answer.value if isinstance(answer.value, str) else answer.value.message)
    return found
    """
    found = host.result(family(body))
    assert found[:5] == ["Invalid"] * 4 + ["LimitExceeded"]
    assert "'n'" in found[5]
    assert "SyntaxError" in found[6]
    assert "no entry point" in found[7]
    assert found[8] == "5"


def test_what_is_huge_is_refused_before_the_host_works_on_it(host: Host) -> None:
    body = f"""
    found = []
    big = "x" * {MAX_CHILD_SOURCE_CHARS}
    none, many = {LIMITS}, _host.process.Limits(None, None, None, ["double"] * {MAX_CHILD_TOOLS + 1}, None)
    for program, args, limits in [("#" + big, "{{}}", none), ("", '"' + big + '"', none), ("", "{{}}", many)]:
        try:
            call(_host.process.spawn, program, args, limits, [])
        except LimitExceeded as e:
            found.append(e.message)
    return found
    """
    source, arguments, tools = host.result(family(body))
    assert "a source of" in source
    assert "the arguments have" in arguments
    assert f"{MAX_CHILD_TOOLS + 1} tools" in tools


def test_results_are_bounded_and_taken_once(host: Host) -> None:
    body = """
    big = await me("big")
    try:
        await big.wait()
    except LimitExceeded as e:
        refused = e.message
    child = await me("small")
    await child.wait()
    again = child._raw.get().value
    return [refused, again.message, await child.wait()]
    """
    big = f"return 'x' * {MAX_CHILD_RESULT_CHARS}"
    refused, again, kept = host.result(family(body, big=big, small="return {'a': [1, None]}"))
    assert f"at most {MAX_CHILD_RESULT_CHARS}" in refused
    assert "taken already" in again
    assert kept == {"a": [1, None]}


# ---- how they end ------------------------------------------------------------------------------------------------

ENDS = {
    "raise ValueError('its own words')": ("Unavailable", "ValueError: its own words"),
    "sys.exit('its own words')": ("Unavailable", "its own words"),
    "f = lambda: f()\nsys.setrecursionlimit(10 ** 9)\nf()": ("Unavailable", "trapped"),
    "_host.poll.poll([])": ("Unavailable", "poll of an empty list"),
    "held = [Context() for _ in range(2000)]": ("LimitExceeded", "handles"),
    "await sleep(3600)": ("TimedOut", "longer than"),
    "while True: pass": ("TimedOut", "longer than"),
    "return object()": ("Unavailable", "not a JSON value"),
}


@pytest.mark.parametrize("body", ENDS)
def test_however_a_child_ends_its_parent_learns_why(body: str, host: Host) -> None:
    seconds = 0.2 if ENDS[body][0] == "TimedOut" else 60
    parent = f"""
    child = await spawn(None, role="child", limits=Limits(seconds={seconds}))
    try:
        return await child.wait()
    except Error as e:
        return [type(e).__name__, e.message, child.pid]
    """
    kind, message, pid = host.result(family(parent, child=body))
    assert kind == ENDS[body][0]
    assert ENDS[body][1] in message
    assert message.startswith(f"child {pid} (")


def test_who_lets_go_of_a_child_ends_it_unless_it_is_detached(host: Host) -> None:
    parent = """
    held = await me("sleep")
    free = await me("sleep")
    free.detach()
    pids = [held.pid, free.pid]
    del held, free
    emit(json.dumps(pids))
    await receive()
    """

    async def scenario() -> None:
        process = await launch(host, family(parent, sleep=SLEEP))
        held, free = (host.runtime.process(pid) for pid in json.loads(process.output))
        with pytest.raises(Cancelled, match=f"killed by process {process.pid}"):
            await held.wait()
        process.post("go on")
        await process.wait()
        assert not free.state.ended
        await free.kill()

    host.run(scenario())


@pytest.mark.parametrize("how", ["returns", "raises", "traps", "is killed", "computes and is killed"])
def test_children_end_with_their_parent(how: str, host: Host) -> None:
    ends = {
        "returns": "",
        "raises": "raise ValueError",
        "traps": "_host.poll.poll([])",
        "is killed": "await sleep(3600)",
        "computes and is killed": "while True: pass",
    }
    parent = "held = [await me('middle') for _ in range(3)]\nfor c in held: await c.send('x')\nemit('x')\n" + ends[how]
    middle = "held = [await me('sleep'), await me('predict')]\nawait receive()\nawait sleep(3600)"
    predict = "ctx = Context()\nctx.feed('x' * 300)\nwhile True: await ctx.pred(7)"

    async def scenario() -> None:
        process = await launch(host, family(parent, middle=middle, sleep=SLEEP, predict=predict))
        if "killed" in how:
            await process.kill()
        await process.ended()
        assert all(p.state.ended for p in descendants(host, process))
        for other in descendants(host, process):
            with pytest.raises(Cancelled, match="killed by process"):
                await other.wait()

    host.run(scenario())


def test_a_parent_that_is_killed_while_it_starts_a_child(host: Host) -> None:
    """At whatever point of it: nothing is left (the host is checked after this)."""
    source = "from lip import *\n@main\nasync def app(): await sleep(3600)\n"
    parent = f"emit('x')\nheld = []\nwhile True: held.append(await spawn({source!r}))"

    async def scenario() -> None:
        for n in range(12):
            process = await host.runtime.launch(family(parent), {}, LaunchOptions())
            for _ in range(n):
                await asyncio.sleep(0)
            await process.kill()

    host.run(scenario())


def test_whoever_waits_for_a_dead_child_goes_on(host: Host) -> None:
    """Waits of every kind, and all at once: for its end, for room in its mailbox."""
    parent = """
    child = await me("sleep")
    async def flood():
        try:
            while True: await child.send("x" * 100_000)
        except NotFound:
            return "gone"
    async def wait():
        try: await child.wait()
        except Cancelled: return "cancelled"
    tasks = [asyncio.create_task(f()) for f in (flood, flood, wait, wait)]
    await sleep(0.02)
    child.kill()
    child.kill()
    return await asyncio.gather(*tasks)
    """
    assert host.result(family(parent, sleep=SLEEP)) == ["gone", "gone", "cancelled", "cancelled"]


# ---- files -------------------------------------------------------------------------------------------------------


def test_a_passed_file_is_a_fork_and_both_stay_right(host: Host) -> None:
    parent = """
    ctx = Context()
    ctx.feed("abcdefghijklmnopqrst")
    child = await spawn(None, role="child", files={"ctx": ctx})
    ctx.truncate(3)
    ctx.feed("xyz")
    mine = (await ctx.pred()).argmax()
    theirs = await child.wait()
    return [mine, theirs, len(ctx), usage().prompt_tokens]
    """
    child = """
    ctx = Context.inherit("ctx")
    first = (await ctx.pred()).argmax()
    ctx.truncate(10)
    found = [first, (await ctx.pred()).argmax(), len(ctx), ctx.stat().owner]
    for name in ("ctx", "other"):
        try: Context.inherit(name)
        except NotFound as e: found.append(e.hint)
    return found
    """
    mine, theirs, length, _ = host.result(family(parent, child=child))
    text = b"abcdefghijklmnopqrst"
    assert (mine, length) == (host.engine.greedy(b"abcxyz"), 6)
    left = "files that are left: none"
    assert theirs == [host.engine.greedy(text), host.engine.greedy(text[:10]), 10, "local", left, left]


def test_files_that_cannot_be_passed(host: Host) -> None:
    parent = f"""
    ctx, found = Context(), []
    await ctx.feed("x" * 100).flush()
    pair = [_host.process.Passed("a", ctx._file), _host.process.Passed("a", ctx._file)]
    try: call(_host.process.spawn, "", "{{}}", {LIMITS}, pair)
    except Invalid as e: found.append(e.message)
    stream = ctx.stream(max_tokens=100, stop_tokens=[])
    one = [_host.process.Passed("a", ctx._file)]
    try: call(_host.process.spawn, "", '{{"role": "child"}}', {LIMITS}, one)
    except Busy as e: found.append("busy")
    many = [_host.process.Passed(str(n), ctx._file) for n in range(2000)]
    stream.close()
    try: call(_host.process.spawn, "", '{{"role": "child"}}', {LIMITS}, many)
    except LimitExceeded as e: found.append("too many")
    others = [Context() for _ in range(400)]
    return found
    """
    found = host.result(family(parent, child="return 1"))
    assert found == ["two files are passed under one name", "busy", "too many"]


def test_a_child_that_never_takes_its_files_gives_their_pages_back(host: Host) -> None:
    parent = """
    ctx = Context()
    await ctx.feed("x" * 200).flush()
    for n in range(30):
        child = await spawn(None, role="child", files={str(n): ctx for n in range(20)})
        ends = await child.wait() if n % 2 else child.kill()
    """
    host.result(family(parent, child="return 1"))


def test_errors_of_an_unknown_role_are_the_programs_own(host: Host) -> None:
    """The helper of this file, so that no test passes because its program is broken."""
    with pytest.raises(SymphonyError, match="KeyError"):
        host.result(family("return 1"), role="nobody")

"""Two tenants on one host: processes, handles, names, cached prefixes and error texts never meet."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hostile_host import Host, lip

from symphony.errors import ProgramError, SymphonyError
from symphony.process.process import LaunchOptions, Process

A, B = LaunchOptions(tenant="a", owner="alice"), LaunchOptions(tenant="b", owner="bob")
SECRET = "the launch code of tenant a is 7-1-9"


async def launch(host: Host, body: str, options: LaunchOptions, /, **args: Any) -> Process:
    signature = ", ".join(args)
    return await host.runtime.launch(lip(body, signature), args, options)


def run(host: Host, body: str, options: LaunchOptions, /, **args: Any) -> Any:
    async def scenario() -> Any:
        return await (await launch(host, body, options, **args)).wait()

    return host.run(scenario())


SAVE = "ctx = Context()\nctx.feed(text)\nawait ctx.save(path)\nreturn ctx.stat().owner"


def test_names_are_a_tenants_own(host: Host) -> None:
    assert run(host, SAVE, A, text=SECRET, path="/notes/secret") == "alice"
    look = """
    found = [[e.name for e in fs.ls("/")], fs.exists("/notes/secret")]
    for action in (
        lambda: Context.open("/notes/secret"), lambda: Context.open("/notes/secret", write=True),
        lambda: fs.stat("/notes/secret"), lambda: fs.unlink("/notes/secret"), lambda: fs.ls("/notes"),
        lambda: fs.rename("/notes/secret", "/mine"),
        lambda: Context.open("/../a/notes/secret"), lambda: Context.open("/a/notes/secret"),
    ):
        try:
            action()
            found.append("met")
        except Error as e:
            found.append(type(e).__name__)
    return found
    """
    found = run(host, look, B)
    assert found[:2] == [[], False]
    assert set(found[2:]) <= {"NotFound", "Invalid"}, found
    assert run(host, SAVE, B, text="mine", path="/notes/secret") == "bob"
    read = "return decode(Context.open('/notes/secret').tokens())"
    assert run(host, read, A) == SECRET
    assert run(host, read, B) == "mine"
    for tenant in (A, B):
        run(host, "fs.unlink('/notes/secret')", tenant)


def test_prefixes_are_reused_within_a_tenant_only(host: Host) -> None:
    body = "ctx = Context()\nctx.feed(text)\nd = await ctx.pred()\nreturn [d.argmax(), usage().reused_tokens]"
    text = "a prompt of several pages, which nobody else on this host has used before: " * 3
    right = host.engine.greedy(text.encode())
    answer, reused = run(host, body, A, text=text)
    assert (answer, reused) == (right, 0)
    answer, reused = run(host, body, B, text=text)
    assert (answer, reused) == (right, 0)
    for tenant in (A, B):
        answer, reused = run(host, body, tenant, text=text)
        assert answer == right
        assert reused > 200


def test_prefixes_are_not_reused_while_the_other_tenant_holds_them(host: Host) -> None:
    hold = "ctx = Context()\nctx.feed(text)\nawait ctx.flush()\nemit('held')\nawait sleep(3600)"
    take = "ctx = Context()\nctx.feed(text)\nawait ctx.pred()\nreturn usage().reused_tokens"
    text = "another prompt of several pages, held by tenant a while tenant b asks: " * 3

    async def scenario() -> None:
        holder = await launch(host, hold, A, text=text)
        async for event in holder.events():
            if event.kind == "output":
                break
        assert await (await launch(host, take, B, text=text)).wait() == 0
        assert await (await launch(host, take, A, text=text)).wait() > 150
        await host.runtime.kill(holder)

    host.run(scenario())


FAILURES = {
    "raises": "raise ValueError(text)",
    "traps": "sys.setrecursionlimit(10 ** 9)\nf = lambda text: f(text + 'x')\nf(text)",
    "exits": "sys.exit(text)",
    "is refused": "call(_host.tool.call, text, '{}')",
    "breaks a rule": "print(text)\n_host.poll.poll([])",
    "makes the host fail": "fs.stat('/' + text)",
}


@pytest.mark.parametrize("how", FAILURES)
def test_error_texts_stay_with_their_tenant(how: str, host: Host) -> None:
    """Both fail at the same time, in turns, many times over."""

    async def failed(body: str, options: LaunchOptions, text: str) -> str:
        process = await launch(host, body, options, text=text)
        story = ""
        async for event in process.events():
            story += repr(event.data)
        with pytest.raises(SymphonyError) as caught:
            await process.wait()
        traceback = caught.value.traceback if isinstance(caught.value, ProgramError) else ""
        return story + str(caught.value) + traceback

    async def scenario() -> None:
        work = []
        for i in range(6):
            work.append(failed(FAILURES[how], A, f"alpha{i}"))
            work.append(failed(FAILURES["traps" if i % 2 else "raises"], B, f"beta{i}"))
        stories = await asyncio.gather(*work)
        for i, story in enumerate(stories):
            mine = f"{'beta' if i % 2 else 'alpha'}{i // 2}"
            others = [f"{t}{n}" for t in ("alpha", "beta") for n in range(6) if f"{t}{n}" != mine]
            assert not any(other in story for other in others), (mine, story)

    host.run(scenario())


def test_a_fault_of_the_host_tells_a_tenant_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, session: int, path: str) -> Any:
        raise KeyError(SECRET)

    with monkeypatch.context() as patch:
        patch.setattr(type(host.runtime.core), "stat_path", broken)
        errors = [run_error(host, "fs.stat('/x')", options) for options in (A, B)]
    for error in errors:
        assert error.code == "internal"
        assert SECRET not in str(error)


def run_error(host: Host, body: str, options: LaunchOptions) -> SymphonyError:
    with pytest.raises(SymphonyError) as caught:
        run(host, body, options)
    return caught.value


def test_a_process_knows_its_own_tenant_and_number_only(host: Host) -> None:
    body = "return [_host.process.tenant(), _host.process.pid()]"

    async def scenario() -> None:
        first, second = await launch(host, body, A), await launch(host, body, B)
        assert [await first.wait(), await second.wait()] == [["a", first.pid], ["b", second.pid]]

    host.run(scenario())


def test_handles_of_another_process_do_not_exist(host: Host) -> None:
    """Tenant b names every small number as a handle, while tenant a has hundreds of files open."""
    hold = """
    held = [Context().feed(text) for _ in range(100)]
    for ctx in held: await ctx.flush()
    emit("holding")
    await sleep(3600)
    """
    forge = """
    ctx = Context()
    found = 0
    for number in range(1, 400):
        if number != ctx._file.handle:
            forged = object.__new__(type(ctx._file))
            forged.__dict__.update(ctx._file.__dict__, handle=number)
            forged.length()
            found += 1
    return found
    """

    async def scenario() -> None:
        holder = await launch(host, hold, A, text=SECRET)
        async for event in holder.events():
            if event.kind == "output":
                break
        thief = await launch(host, forge, B)
        with pytest.raises(ProgramError) as caught:
            await thief.wait()
        assert "handle" in caught.value.message
        await host.runtime.kill(holder)

    host.run(scenario())


def test_a_core_side_id_of_another_session_is_refused(host: Host) -> None:
    """Handlers pass ids: one that belongs to somebody else must not work even if a handler had a bug."""

    async def scenario() -> None:
        core = host.runtime.core
        mine, other = core.open_session("a"), core.open_session("b")
        file = await core.create(mine, None)
        for call in (
            core.length(other, file), core.tokens(other, file, 0, 0), core.fork(other, file), core.stat(other, file),
            core.truncate(other, file, 0), core.save(other, file, "/x", True),
        ):  # fmt: skip
            with pytest.raises(SymphonyError, match="no open file"):
                await call
        await core.close_file(other, file)
        assert await core.length(mine, file) == 0
        await core.close_session(mine)
        await core.close_session(other)

    host.run(scenario())

"""`symphony.client` against a host with real programs: the same tests over HTTP and over the WebSocket."""

from __future__ import annotations

import asyncio
import re
import textwrap
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_runtime import FakeRuntime
from live_server import Server

from symphony import client
from symphony.access.gate import Gate
from symphony.access.identity import Role
from symphony.access.keys import KeyFile
from symphony.client import Client, Event
from symphony.engine.fake import FakeEngine
from symphony.errors import (
    BY_CODE,
    Cancelled,
    Invalid,
    NotFound,
    PermissionDenied,
    ProgramError,
    SymphonyError,
    TimedOut,
    Unavailable,
    from_fields,
)
from symphony.host import Runtime

HEADER = "from lip import Context, emit, log, main, receive\n@main\nasync def app"
ECHO = HEADER + "(prompt: str, n: int = 1) -> dict:\n    emit(prompt * n)\n    log('seen')\n    return {'n': n}\n"
TOKENS = HEADER + (
    "(given: list[int], max_tokens: int = 24) -> list:\n"
    "    async with Context() as ctx:\n"
    "        ctx.feed(given)\n"
    "        return list((await ctx.generate(max_tokens=max_tokens)).tokens)\n"
)
CHAT = HEADER + "() -> list:\n    emit('ready')\n    return [await receive(), await receive()]\n"
SPIN = HEADER + "():\n    emit('going')\n    while True: pass\n"
RAISE = HEADER + "():\n    emit('before')\n    raise ValueError('no such luck')\n"
FLOOD = HEADER + "():\n    for i in range(600):\n        emit(f'{i:05}' * 1000)\n    return 'over'\n"

Test = Callable[[Client], Awaitable[None]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server[Runtime]]:
    with Server(Runtime([FakeEngine()], home=tmp_path_factory.mktemp("home"))) as server:
        yield server


@pytest.fixture(params=["http", "websocket"])
def play(request: pytest.FixtureRequest, served: Server[Runtime]) -> Callable[[Test], None]:
    """Runs a test with a connected client; by its end nothing is left running."""

    async def played(test: Test) -> None:
        async with asyncio.timeout(60):
            async with Client(served.url, websocket=request.param == "websocket") as client:
                await test(client)
            while not all(process.state.ended for process in served.runtime.processes()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    return lambda test: asyncio.run(played(test))


def test_upload_run_and_remove(play: Callable[[Test], None], tmp_path: Path) -> None:
    async def test(client: Client) -> None:
        path = tmp_path / "echo.py"
        path.write_text(ECHO)
        info = await client.upload(path, name="echo")
        assert (info["name"], info["kind"]) == ("echo", "python")
        assert (await client.upload(ECHO.encode()))["id"] == info["id"]
        assert [program["id"] for program in await client.programs()] == [info["id"]]
        for program in ("echo", info["id"], path, str(path), ECHO, ECHO.encode()):
            assert await client.run(program, prompt="x", n=3) == {"n": 3}
        assert (await client.program("echo"))["parameters"] == {"prompt": "str", "n": "int"}
        await client.remove_program("echo")
        for missing in (client.run("echo", prompt="x"), client.program("echo"), client.remove_program("a/b?c")):
            with pytest.raises(NotFound):
                await missing

    play(test)


def test_events(play: Callable[[Test], None]) -> None:
    async def test(client: Client) -> None:
        events = [event async for event in client.stream(ECHO, prompt="ab", n=2)]
        assert [event.kind for event in events] == ["start", "output", "log", "result"]
        assert [event.data for event in events[1:]] == [
            {"text": "abab"},
            {"level": "info", "text": "seen"},
            {"value": {"n": 2}},
        ]
        again = client.process(events[0].data["pid"])
        assert [event async for event in again.events()] == events
        assert [event async for event in again.events(after=events[1].at)] == events[2:]
        assert [event async for event in again.events(after=events[-1].at)] == []
        with pytest.raises(Invalid, match="has had 4 events, not 5"):
            await anext(again.events(after=5))
        assert (await again.wait(), (await again.show())["output"]) == ({"n": 2}, "abab")

    play(test)


def test_tokens_there_and_back(play: Callable[[Test], None]) -> None:
    async def test(client: Client) -> None:
        given = list(range(40, 70))
        first = await client.run(TOKENS, given=given)
        assert len(first) == 24
        assert all(type(token) is int for token in first)
        assert await client.run(TOKENS, {"given": given}, max_tokens=24) == first
        info = await client.upload(TOKENS, name="tokens")
        assert await client.run("tokens", given=given) == first
        await client.remove_program(info["id"])

    play(test)


def test_a_reader_that_was_cut_off_asks_for_the_rest(play: Callable[[Test], None]) -> None:
    async def test(client: Client) -> None:
        run = await client.spawn(FLOOD)
        seen: list[Event] = []
        for _ in range(4):
            stream = run.events(after=seen[-1].at if seen else 0)
            async for event in stream:
                seen.append(event)
                if len(seen) % 3 == 0:
                    break
            await stream.aclose()
        async for event in run.events(after=seen[-1].at):
            seen.append(event)
        assert "".join(event.data["text"] for event in seen if event.kind == "output") == "".join(
            f"{i:05}" * 1000 for i in range(600)
        )
        assert (seen[-1].kind, seen[-1].data) == ("result", {"value": "over"})

    play(test)


def test_messages(play: Callable[[Test], None]) -> None:
    async def test(client: Client) -> None:
        run = await client.spawn(CHAT)
        assert run.pid in [process["pid"] for process in await client.processes()]
        await run.send("één")
        await run.send("")
        assert await run.wait() == ["één", ""]
        with pytest.raises(NotFound, match="has ended"):
            await run.send("late")

    play(test)


def test_failures_arrive_as_exceptions(play: Callable[[Test], None]) -> None:
    async def test(client: Client) -> None:
        with pytest.raises(ProgramError, match="no such luck") as caught:
            await client.run(RAISE)
        assert "ValueError" in caught.value.traceback
        with pytest.raises(ProgramError, match="no such luck"):
            await (await client.spawn(RAISE)).wait()
        kinds = [event.kind async for event in client.stream(RAISE)]
        assert kinds == ["start", "output", "error"]
        with pytest.raises(TimedOut):
            await client.run(SPIN, timeout=0.2)
        with pytest.raises(SymphonyError):
            await client.run(b"\0asm\1\0\0\0")
        with pytest.raises(SymphonyError):
            await anext(client.stream(b"\xff\xfe"))
        with pytest.raises(NotFound):
            await client.call("GET", "/v1/nothing")

    play(test)


def test_a_program_of_many_megabytes(play: Callable[[Test], None]) -> None:
    async def test(client: Client) -> None:
        source = ("#" * 79 + "\n") * 60_000 + ECHO
        assert await client.run(source, prompt="x", n=2) == {"n": 2}
        events = [event async for event in client.stream(source, prompt="x")]
        assert events[-1].data == {"value": {"n": 1}}

    play(test)


def test_kill_and_leave(play: Callable[[Test], None]) -> None:
    async def test(client: Client) -> None:
        run = await client.spawn(SPIN)
        await run.kill()
        await run.kill()
        with pytest.raises(Cancelled):
            await run.wait()
        stream = client.stream(SPIN)
        pid = (await anext(stream)).data["pid"]
        assert (await anext(stream)).data == {"text": "going"}
        await stream.aclose()
        with pytest.raises(Cancelled):
            await client.process(pid).wait()
        call = asyncio.create_task(client.run(SPIN))
        while all(process["state"] in ("done", "killed") for process in await client.processes()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    play(test)


def test_many_at_once_and_a_stream_that_is_not_read(play: Callable[[Test], None]) -> None:
    async def test(client: Client) -> None:
        stream = client.stream(FLOOD)
        await anext(stream)
        answers = await asyncio.gather(*(client.run(ECHO, prompt="x", n=n) for n in range(20)))
        assert answers == [{"n": n} for n in range(20)]
        rest = [event async for event in stream]
        assert rest[-1].data == {"value": "over"}

    play(test)


def test_a_server_that_ends_or_is_not_there(tmp_path: Path) -> None:
    async def test(server: Server[Runtime], websocket: bool) -> None:
        async with Client(server.url, websocket=websocket) as connected:
            run = await connected.spawn(SPIN)
            stream = run.events()
            await anext(stream)
            await asyncio.to_thread(server.__exit__, None, None, None)
            rest = [event.kind async for event in stream]
            assert rest[-1] == "error"
            with pytest.raises(Unavailable):
                await connected.models()
        with pytest.raises(Unavailable, match="no answer"):
            async with Client(server.url, websocket=websocket) as late:
                await late.models()

    for websocket in (False, True):
        server = Server(Runtime([FakeEngine()], home=tmp_path))
        server.__enter__()
        asyncio.run(test(server, websocket))


@pytest.mark.parametrize("websocket", [False, True])
def test_a_key(tmp_path: Path, websocket: bool) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    _, text = keys.add("acme", "ann", [Role.RUN])

    async def test(url: str) -> None:
        for wrong in (None, text[:-4] + "AAAA"):
            with pytest.raises(PermissionDenied):
                async with Client(url, key=wrong, websocket=websocket) as refused:
                    await refused.models()
        async with Client(url, key=text, websocket=websocket) as let_in:
            assert (await let_in.models())[0]["id"] == "tiny"
            with pytest.raises(PermissionDenied, match="role"):
                await let_in.upload(ECHO)

    with Server(FakeRuntime(), gate=Gate(keys)) as server:
        asyncio.run(test(server.url))


def test_the_example_of_the_docs(
    served: Server[Runtime], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "http.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "agent.py").write_text(HEADER + "(question: str = 'none') -> str:\n    return question\n")
    (tmp_path / "chat.py").write_text(HEADER + "() -> str:\n    return await receive()\n")
    monkeypatch.chdir(tmp_path)
    head, body = code.replace("http://127.0.0.1:8080", served.url).split("\n\n")
    scope: dict[str, Any] = {}
    exec(f"{head}\nasync def example():\n{textwrap.indent(body, '    ')}    return value\n", scope)
    assert asyncio.run(scope["example"]()) == "Hello"
    assert capsys.readouterr().out.count("result {'value': ") == 2


def test_misuse() -> None:
    async def unconnected() -> None:
        with pytest.raises(Invalid, match="not connected"):
            await Client().models()

    asyncio.run(unconnected())
    for url in ("127.0.0.1:8080", "ftp://x", "http://"):
        with pytest.raises(Invalid, match="URL"):
            Client(url)
    for key in ("schlüssel", "two\nlines"):
        with pytest.raises(Invalid, match="key"):
            Client(key=key)
    assert client.__all__ == ["Client", "Event", "Run"]


def test_every_error_comes_back_as_what_it_was() -> None:
    for code, kind in BY_CODE.items():
        error = from_fields({"code": code, "message": "m", "hint": "h"})
        assert (type(error), error.message, error.hint) == (kind, "m", "h")
    failed = from_fields({"code": "program-error", "message": "m", "hint": "", "traceback": "t"})
    assert isinstance(failed, ProgramError)
    assert failed.traceback == "t"

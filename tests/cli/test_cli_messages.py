"""`symphony run --stdin`: lines become messages, in order, and the end of the input an empty one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands_fixture import Terminal
from fake_runtime import FakeRuntime

from symphony.cli import messages
from symphony.cli import run as run_module
from symphony.errors import Busy, NotFound


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Forward a text as if it were typed; returns when the reader has ended."""

    def type_in(text: bytes, send: Callable[[str], None]) -> None:
        path = tmp_path / "input"
        path.write_bytes(text)
        with path.open() as file:
            monkeypatch.setattr("sys.stdin", file)
            messages.forward(send)
            [reader] = [thread for thread in threading.enumerate() if thread.name == "messages"] or [threading.Thread()]
            if reader.ident is not None:
                reader.join(30)
                assert not reader.is_alive()

    return type_in


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        (b"", [""]),
        (b"one\ntwo", ["one", "two", ""]),
        (b"a\r\n\n \xc3\xa9\n", ["a", "", " é", ""]),
        (b"\xff\n", ["\ufffd", ""]),
    ],
)
def test_each_line_is_a_message(text: bytes, sent: list[str], typed: Any) -> None:
    seen: list[str] = []
    typed(text, seen.append)
    assert seen == sent


def test_it_ends_with_the_program(typed: Any) -> None:
    seen: list[str] = []

    def send(text: str) -> None:
        seen.append(text)
        raise NotFound("the process has ended")

    typed(b"one\ntwo\n", send)
    assert seen == ["one"]


def test_a_reader_waits_for_the_program(typed: Any) -> None:
    """`send` of a process, from another thread, returns when there was room."""
    seen: list[str] = []

    async def send(text: str) -> None:
        await asyncio.sleep(0)
        seen.append(text)

    async def scenario() -> None:
        process: Any = SimpleNamespace(send=send)
        await asyncio.to_thread(typed, b"one\ntwo\n", messages.to_process(process))

    asyncio.run(scenario())
    assert seen == ["one", "two", ""]


def test_the_command_sends_to_its_process(
    terminal: Terminal, runtimes: list[FakeRuntime], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[object] = []
    monkeypatch.setattr(run_module, "forward", begun.append)
    name = terminal.write("my.py", "echo")
    assert terminal("run", name).exit_code == 0
    assert begun == []
    assert terminal("run", name, "--stdin").exit_code == 0
    assert len(begun) == 1


def test_a_server_that_is_behind_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, bytes]] = []

    def call(method: str, path: str, body: bytes) -> None:
        asked.append((method, path, body))
        if len(asked) < 3:
            raise Busy("64 texts wait")

    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server: Any = SimpleNamespace(call=call)
    run_module._post(server, 7, "é")
    assert asked == [("POST", "/v1/processes/7/messages", "é".encode())] * 3

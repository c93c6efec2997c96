"""Messages to a running program, and children that it starts, over HTTP through the whole host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from live_server import Server

from symphony.cli.remote import Remote
from symphony.engine.fake import FakeEngine
from symphony.errors import Busy, Invalid, LimitExceeded, NotFound
from symphony.host import Runtime
from symphony.param import MAX_MESSAGE_CHARS

HEADER = "from lip import *\n@main\nasync def app(n: int = 0) -> object:\n    emit('ready\\n')\n"
TALK = HEADER + "    return [await receive() for _ in range(n)]\n"
SLEEP = HEADER + "    await sleep(3600)\n"
CHILD = "from lip import main, receive\n@main\nasync def app():\n    return await receive()\n"
FAMILY = HEADER + f"    child = await spawn({CHILD!r})\n    emit(f'{{child.pid}}\\n')\n    return await child.wait()\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server[Runtime]]:
    with Server(Runtime([FakeEngine()], home=tmp_path_factory.mktemp("home"))) as running:
        yield running


class Run:
    """A detached run that has come as far as its output."""

    def __init__(self, server: Server[Runtime], program: str, outputs: int = 1, args: str = "{}") -> None:
        self.remote = Remote(server.url)
        self.pid = self.remote.call("POST", "/v1/run", {"args": args, "detach": "1"}, program.encode())["pid"]
        text = ""
        for kind, data in self.remote.events("GET", f"/v1/processes/{self.pid}/events"):
            assert kind in ("start", "output"), data
            text += data["text"] if kind == "output" else ""
            self.output = text.splitlines()  # pieces that wait are sent as one
            if text.count("\n") == outputs:
                return

    def send(self, text: bytes, pid: int | None = None) -> Any:
        return self.remote.call("POST", f"/v1/processes/{pid or self.pid}/messages", body=text)

    def end(self) -> tuple[str, dict[str, Any]]:
        *_, last = self.remote.events("GET", f"/v1/processes/{self.pid}/events")
        return last


def test_messages_arrive_in_order(server: Server[Runtime]) -> None:
    run = Run(server, TALK, args='{"n": 3}')
    for text in ("one", "", "dréi"):
        assert run.send(text.encode()) is None
    assert run.end() == ("result", {"value": ["one", "", "dréi"]})
    with pytest.raises(NotFound, match="has ended"):
        run.send(b"too late")
    with pytest.raises(NotFound, match="no process"):
        run.send(b"to nobody", pid=10**9)


def test_messages_are_bounded(server: Server[Runtime]) -> None:
    run = Run(server, SLEEP)
    with pytest.raises(LimitExceeded):
        run.send(b"x" * (MAX_MESSAGE_CHARS + 1))
    with pytest.raises(Invalid, match="UTF-8"):
        run.send(b"\xff")
    run.send(b"x" * MAX_MESSAGE_CHARS)
    with pytest.raises(Busy, match="wait to be received"):
        run.send(b"one too many")
    run.remote.call("DELETE", f"/v1/processes/{run.pid}")


def test_a_child_is_a_process_like_any_other(server: Server[Runtime]) -> None:
    run = Run(server, FAMILY, outputs=2)
    child = int(run.output[1])
    assert run.remote.call("GET", f"/v1/processes/{child}")["parent"] == run.pid
    assert run.remote.call("GET", f"/v1/processes/{run.pid}")["parent"] is None
    run.send(b"for the child", pid=child)
    assert run.end() == ("result", {"value": "for the child"})


def test_a_killed_child_is_an_error_for_its_parent(server: Server[Runtime]) -> None:
    run = Run(server, FAMILY, outputs=2)
    run.remote.call("DELETE", f"/v1/processes/{run.output[1]}")
    kind, data = run.end()
    assert kind == "error"
    assert f"child {run.output[1]} (program): process {run.output[1]} was killed" in data["message"]


def test_who_kills_a_parent_kills_its_children(server: Server[Runtime]) -> None:
    run = Run(server, FAMILY, outputs=2)
    run.remote.call("DELETE", f"/v1/processes/{run.pid}")
    assert run.remote.call("GET", f"/v1/processes/{run.output[1]}")["state"] == "killed"

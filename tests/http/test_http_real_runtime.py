"""Over HTTP through the whole host: sandboxed Python programs on the deterministic engine, no fake in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_server import Server

from symphony.cli.remote import Remote
from symphony.engine.fake import FakeEngine
from symphony.errors import BY_CODE, LimitExceeded, NotFound, PermissionDenied, ProgramError, SymphonyError, TimedOut
from symphony.host import Config, Runtime
from symphony.sched.admission import AdmissionLimits

HEADER = b"from lip import Context, emit, log, main\n@main\nasync def app"
ECHO = HEADER + b"(prompt: str, n: int = 1) -> dict:\n    emit(prompt * n)\n    log('seen')\n    return {'n': n}\n"
GENERATE = HEADER + (
    b"(max_tokens: int = 8) -> list:\n"
    b"    async with Context() as ctx:\n"
    b"        ctx.feed('hello')\n"
    b"        return list((await ctx.generate(max_tokens=max_tokens)).tokens)\n"
)
SPIN = HEADER + b"():\n    emit('going')\n    while True: pass\n"
RAISE = HEADER + b"():\n    emit('before')\n    raise ValueError('no such luck')\n"
BAD = {
    "no main": b"async def main():\n    return 1\n",
    "syntax": b"def (:\n",
    "core module": b"\0asm\1\0\0\0",
    "not text": b"\xff\xfe\n",
    "half a component": b"\0asm\x0d\0\1\0\xff",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server[Runtime]]:
    with Server(Runtime([FakeEngine()], home=tmp_path_factory.mktemp("home"))) as server:
        yield server


def run(server: Server[Runtime], program: bytes, args: str = "{}", **query: str) -> dict[str, object]:
    return Remote(server.url).call("POST", "/v1/run", {"args": args, **query}, program)


def assert_clean(server: Server[Runtime]) -> None:
    """After everything: a correct prediction, nothing that runs, nothing held."""
    first, second = run(server, GENERATE), run(server, GENERATE)
    assert first["result"] == second["result"]
    assert len(first["result"]) == 8  # type: ignore[arg-type]
    assert all(process.state.ended for process in server.runtime.processes())
    assert all(process.instance is None for process in server.runtime.processes())


def test_one_json(served: Server[Runtime]) -> None:
    answer = run(served, ECHO, '{"prompt": "ab", "n": 2}')
    assert (answer["result"], answer["output"]) == ({"n": 2}, "abab")
    generated = run(served, GENERATE, '{"max_tokens": 5}')
    assert generated["usage"]["generated_tokens"] == 5  # type: ignore[index]
    assert_clean(served)


def test_events(served: Server[Runtime]) -> None:
    events = list(Remote(served.url).events("POST", "/v1/run", {"args": '{"prompt": "ab"}'}, ECHO))
    assert [kind for kind, _ in events] == ["start", "output", "log", "result"]
    assert [data for _, data in events[1:]] == [{"text": "ab"}, {"level": "info", "text": "seen"}, {"value": {"n": 1}}]
    pid = events[0][1]["pid"]
    assert list(Remote(served.url).events("GET", f"/v1/processes/{pid}/events")) == events


def test_upload_run_remove(served: Server[Runtime]) -> None:
    remote = Remote(served.url)
    first = remote.call("POST", "/v1/programs", {"name": "echo"}, ECHO)
    assert (first["kind"], first["size"], first["name"]) == ("python", len(ECHO), "echo")
    assert remote.call("POST", "/v1/programs", {"name": "echo"}, ECHO)["id"] == first["id"]
    assert [info["id"] for info in remote.call("GET", "/v1/programs")["programs"]] == [first["id"]]
    for ref in ("echo", first["id"]):
        assert remote.call("POST", f"/v1/programs/{ref}/run", body=b'{"prompt": "x"}')["output"] == "x"
    remote.call("DELETE", "/v1/programs/echo")
    with pytest.raises(NotFound):
        remote.call("POST", "/v1/programs/echo/run")


def test_a_failing_program(served: Server[Runtime]) -> None:
    with pytest.raises(ProgramError, match="no such luck") as caught:
        run(served, RAISE)
    assert "ValueError" in caught.value.traceback
    kinds = [kind for kind, _ in Remote(served.url).events("POST", "/v1/run", body=RAISE)]
    assert kinds == ["start", "output", "error"]
    assert_clean(served)


@pytest.mark.parametrize("args", ["{}", '{"prompt": 3}', '{"prompt": "x", "other": 1}'])
def test_wrong_arguments(served: Server[Runtime], args: str) -> None:
    with pytest.raises(SymphonyError) as caught:
        run(served, ECHO, args)
    assert caught.value.code in ("program-error", "invalid")
    assert_clean(served)


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_bad_programs_run_nothing(served: Server[Runtime], content: bytes) -> None:
    remote = Remote(served.url)
    before = remote.call("GET", "/v1/programs")
    with pytest.raises(SymphonyError) as caught:
        remote.call("POST", "/v1/programs", body=content)
    assert caught.value.code == "invalid"
    assert remote.call("GET", "/v1/programs") == before
    with pytest.raises(SymphonyError) as caught:
        run(served, content)
    assert caught.value.code in ("program-error", "invalid")
    assert_clean(served)


def test_a_source_without_an_entry_point_says_so_when_it_is_run(served: Server[Runtime]) -> None:
    with pytest.raises(ProgramError) as caught:
        run(served, b"x = 1\n")
    assert "@main" in str(caught.value) + caught.value.traceback
    assert_clean(served)


def test_deadline_kill_and_disconnect_end_a_spinner(served: Server[Runtime]) -> None:
    remote = Remote(served.url)
    with pytest.raises(TimedOut):
        run(served, SPIN, timeout="0.2")
    pid = remote.call("POST", "/v1/run", {"detach": "1"}, SPIN)["pid"]
    assert remote.call("DELETE", f"/v1/processes/{pid}")["state"] == "killed"
    events = remote.events("POST", "/v1/run", body=SPIN)
    pid = next(events)[1]["pid"]
    assert next(events) == ("output", {"text": "going"})
    events.close()
    kind, data = list(remote.events("GET", f"/v1/processes/{pid}/events"))[-1]
    assert (kind, data["code"]) == ("error", "cancelled")
    assert_clean(served)


def test_ready_and_models(served: Server[Runtime]) -> None:
    remote = Remote(served.url)
    assert remote.call("GET", "/readyz") == {"status": "ready"}
    [model] = remote.call("GET", "/v1/models")["data"]
    assert model["id"] == served.runtime.model_infos()[0].name


def test_runs_that_wait_for_a_place_and_those_that_find_no_room(tmp_path: Path) -> None:
    config = Config(admission=AdmissionLimits(live_per_tenant=1, waiting_per_tenant=2), least_nice=-3)
    with Server(Runtime([FakeEngine()], home=tmp_path, config=config)) as server:
        remote = Remote(server.url)

        def detached(program: bytes, **query: str) -> int:
            return remote.call("POST", "/v1/run", {"detach": "1", **query}, program)["pid"]

        spinner, waiting, doomed = detached(SPIN), detached(GENERATE, nice="-3"), detached(SPIN, timeout="0.01")
        with pytest.raises(TimedOut, match="no other process ended"):
            error_of(list(remote.events("GET", f"/v1/processes/{doomed}/events")))
        last = detached(SPIN)
        with pytest.raises(LimitExceeded, match="2 launches wait") as refused:
            remote.call("POST", "/v1/run", {}, SPIN)
        assert refused.value.hint
        with pytest.raises(PermissionDenied, match="nice=-4"):
            detached(SPIN, nice="-4")
        shown = {process["pid"]: process for process in remote.call("GET", "/v1/processes")["processes"]}
        assert (shown[waiting]["state"], shown[waiting]["waits_for"]) == ("new", ["admission"])
        assert (shown[waiting]["nice"], shown[waiting]["usage"]["cpu_us"]) == (-3, 0)
        assert remote.call("GET", "/v1/status")["processes"]["states"]["new"] == 2
        events = remote.events("GET", f"/v1/processes/{waiting}/events")
        assert next(events) == ("start", {"pid": waiting})
        assert remote.call("DELETE", f"/v1/processes/{last}")["state"] == "killed"
        remote.call("DELETE", f"/v1/processes/{spinner}")
        assert list(events)[-1][0] == "result"
        assert_clean(server)


def test_what_waits_for_a_place_does_not_begin_when_the_server_ends(tmp_path: Path) -> None:
    begun: list[Any] = []
    with Server(Runtime([FakeEngine()], home=tmp_path, config=Config(admission=AdmissionLimits(live=1)))) as server:
        for _ in range(3):
            Remote(server.url).call("POST", "/v1/run", {"detach": "1"}, SPIN)
        sandbox = server.runtime.sandbox
        instantiate = sandbox.instantiate
        sandbox.instantiate = lambda *args: begun.append(args) or instantiate(*args)
    assert not begun


def error_of(events: list[tuple[str, dict[str, Any]]]) -> None:
    """Raise the error that a run ended with."""
    kind, fields = events[-1]
    assert kind == "error"
    raise BY_CODE[fields["code"]](fields["message"], fields["hint"])

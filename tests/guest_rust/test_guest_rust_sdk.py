"""The Rust SDK, case by case, on a host with a deterministic engine (the cases: `probe/src/lib.rs`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from symphony.engine.fake import FakeEngine
from symphony.errors import ProgramError
from symphony.host import Config, Runtime
from symphony.sandbox.config import SandboxConfig

pytestmark = [pytest.mark.rust, pytest.mark.timeout(900)]
T = TypeVar("T")


def add(a: int, b: int) -> int:
    """The sum."""
    return a + b


def fail() -> None:
    """Never works."""
    raise RuntimeError("out of order")


def on_host(tmp_path: Path, work: Callable[[Runtime], Awaitable[T]], engine: FakeEngine | None = None) -> T:
    """Do it on a host, which must be whole and idle afterwards."""

    async def main() -> T:
        engines = [engine or FakeEngine()]
        config = Config(sandbox=SandboxConfig(max_instances=16))
        async with Runtime(engines, tools={"add": add, "fail": fail}, home=tmp_path / "home", config=config) as rt:
            result = await work(rt)
            assert rt.core.idle()
            rt.core.check_integrity()
            return result

    return asyncio.run(main())


def run(tmp_path: Path, probe: Path, case: str, engine: FakeEngine | None = None) -> Any:
    return on_host(tmp_path, lambda rt: rt.run(probe, case=case), engine)


def failure(tmp_path: Path, probe: Path, **arguments: Any) -> tuple[ProgramError, list[str]]:
    """The program's error, and its log."""

    async def work(rt: Runtime) -> tuple[ProgramError, list[str]]:
        process = await rt.spawn(probe, arguments)
        with pytest.raises(ProgramError) as caught:
            await process.wait()
        return caught.value, [event.data["text"] async for event in process.events() if event.kind == "log"]

    return on_host(tmp_path, work)


def test_text_emit_and_log(tmp_path: Path, probe: Path) -> None:
    async def work(rt: Runtime) -> None:
        process = await rt.spawn(probe, case="text")
        assert await process.wait() == {"special": 1, "raw": 10, "models": "fake", "stop": [256, 258]}
        assert process.output == "héllo"
        logs = [event.data async for event in process.events() if event.kind == "log"]
        assert [(log["level"], log["text"]) for log in logs] == [("warn", "10 tokens")]

    on_host(tmp_path, work)


def test_files_fork_and_truncate(tmp_path: Path, probe: Path) -> None:
    assert run(tmp_path, probe, "kv") == [5, [97, 98], [97, 98, 99, 100, 101, 120], 5, True]


def test_names(tmp_path: Path, probe: Path) -> None:
    assert run(tmp_path, probe, "names") == [True, 2, ["b"], 5, 5, False]


def test_links_modes_and_locks(tmp_path: Path, probe: Path) -> None:
    assert run(tmp_path, probe, "shared") == [2, 60, True, True, True, True, ["/e/a", "/e/b"]]


def test_extract_append_and_pin(tmp_path: Path, probe: Path) -> None:
    assert run(tmp_path, probe, "moved") == ["abfghxy", 2, True, False, True]


def test_pred_and_readings(tmp_path: Path, probe: Path) -> None:
    assert run(tmp_path, probe, "pred") == {
        "length": 5,
        "same": True,
        "top": 3,
        "descending": True,
        "entropy": True,
        "every": 2,
        "unread": "a sampled token was not read with this distribution\n"
        "  hint: ask in advance: Readings { sample: Some(Sampling::default()), ..default() }",
        "after": 7,
    }


def test_constraints(tmp_path: Path, probe: Path) -> None:
    result = run(tmp_path, probe, "constraint")
    text = result.pop("text")
    assert text in ('{"a": "x"}', '{"a": "yz"}')
    assert result == {
        "same": True,
        "end": True,
        "json": len(text) - len('{"a": ""}'),
        "allows": [True, False, False],
        "places": [True, False, False],
        "few": True,
        "errors": [True, True, True],
    }


def test_a_dropped_stream_leaves_what_was_delivered(tmp_path: Path, probe: Path) -> None:
    assert run(tmp_path, probe, "stream") == [True, True, 40, True, 40, 40]


def test_sleeps_overlap_and_outputs_keep_their_order(tmp_path: Path, probe: Path) -> None:
    assert run(tmp_path, probe, "together") == [["c", "a", "b"], "abc", True, 0]


def test_who_comes_first_and_what_becomes_of_the_others(tmp_path: Path, probe: Path) -> None:
    assert run(tmp_path, probe, "first", FakeEngine(step_seconds=0.002)) == {
        "raced": [True, True, True],
        "came": ["a", "b", "c", None],
        "left": 1,
        "both": ["x", 1],
        "sum": 3,
        "kept": True,
        "all": [1, 1],
        "refused": True,
        "usable": True,
        "day": True,
    }


def test_timeout_cancels_what_is_in_flight(tmp_path: Path, probe: Path) -> None:
    assert run(tmp_path, probe, "timeout", FakeEngine(step_seconds=0.002)) == [True, True, True]


def test_tools(tmp_path: Path, probe: Path) -> None:
    names, sums, unknown, failed = run(tmp_path, probe, "tools")
    assert (names, sums, unknown) == (["add", "fail"], [11, 12, 13], True)
    assert "out of order" in failed


def test_a_failed_call_leaves_a_usable_context(tmp_path: Path, probe: Path) -> None:
    assert run(tmp_path, probe, "deferred") == [True, 4]


def test_the_hosts_refusal_is_the_programs_error(tmp_path: Path, probe: Path) -> None:
    error, _ = failure(tmp_path, probe, case="refused")
    assert "/no/such/file" in f"{error}{error.traceback}"


def test_an_own_error_is_shown(tmp_path: Path, probe: Path) -> None:
    error, _ = failure(tmp_path, probe, case="unheard of")
    assert "no case unheard of" in f"{error}{error.traceback}"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "missing field `case`"),
        ({"case": "text", "more": 1}, "unknown field `more`"),
        ({"case": 1}, "invalid type"),
    ],
)
def test_wrong_arguments_are_told(tmp_path: Path, probe: Path, arguments: dict[str, Any], told: str) -> None:
    error, _ = failure(tmp_path, probe, **arguments)
    assert f"arguments: {told}" in str(error)


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("panic", ": the probe broke"),
        ("broken branch", ": index out of bounds: the len is 2 but the index is 2"),
    ],
)
def test_a_panic_is_the_programs_error(tmp_path: Path, probe: Path, case: str, told: str) -> None:
    error, logs = failure(tmp_path, probe, case=case)
    assert len(logs) == 1
    assert logs[0].startswith("panicked at src/lib.rs:")
    assert logs[0].endswith(told)
    assert error.message == f"the program {logs[0]}"
    assert "names the line" in error.hint
    assert error.traceback


def test_a_component_with_wasi_below_does_the_same(tmp_path: Path, wasi_probe: Path) -> None:
    assert run(tmp_path, wasi_probe, "kv") == [5, [97, 98], [97, 98, 99, 100, 101, 120], 5, True]
    assert run(tmp_path, wasi_probe, "first", FakeEngine(step_seconds=0.002))["came"] == ["a", "b", "c", None]
    error, logs = failure(tmp_path, wasi_probe, case="panic")
    assert error.message == f"the program {logs[-1]}"
    assert error.message.endswith(": the probe broke")


def test_waiting_for_nothing_is_told(tmp_path: Path, probe: Path) -> None:
    _, logs = failure(tmp_path, probe, case="deadlock")
    assert "nothing can wake them" in logs[0]


def test_a_conversation_has_the_same_tokens_as_in_python(tmp_path: Path, probe: Path) -> None:
    async def work(rt: Runtime) -> tuple[Any, Any]:
        rust = await rt.run(probe, case="conversation")
        python = await rt.run(Path(__file__).with_name("conversation.py"))
        return rust, python

    rust, python = on_host(tmp_path, work)
    assert [len(tokens) > 40 for tokens in rust] == [True, True, True]
    assert rust == python


def test_drafts_change_no_token(tmp_path: Path, probe: Path) -> None:
    engine = FakeEngine(script=lambda index: ord("abcd"[index % 4]))
    found = run(tmp_path, probe, "drafts", engine)
    (plain, steps), (lookup, fewer), (written, few), (verified, _) = found["runs"]
    assert plain == lookup == written == verified
    assert steps == 24
    assert fewer < 10
    assert few <= 1 + 4
    assert found["held"] >= 24
    assert found["accepted"] >= 14 + 19


def test_several_contexts_trees_and_masks(tmp_path: Path, probe: Path) -> None:
    found = run(tmp_path, probe, "parts")
    first, second, third = found["alone"]
    assert found["both"] == [first, second]
    assert found["tree"] == [first, second, third]
    assert found["steps"] == 2
    assert found["hidden"] != [first]
    assert found["moved"] == [41, 6]
    assert found["asked"] == [True, 3]
    assert "there are 7" in found["refused"]
    assert found["lengths"] == [7, 7]


def test_channels(tmp_path: Path, probe: Path) -> None:
    found = run(tmp_path, probe, "channels")
    wrong = found.pop("wrong")
    assert found == {"texts": ["1", "2", ""], "news": "headline", "echo": False, "given_up": True}
    assert "'news' is a broadcast" in wrong


def test_children(tmp_path: Path, probe: Path) -> None:
    found = run(tmp_path, probe, "parent")
    assert found.pop("result") == {"text": "hello", "length": 8, "tools": ["add"], "twice": True}
    assert "no case nothing" in found.pop("failed")
    assert found == {"again": True, "killed": True, "gone": True, "unknown": True}

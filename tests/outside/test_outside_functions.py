"""Python functions as tools: schema, binding, failures."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Annotated, Any, Literal, cast

import msgspec
import pytest

from symphony.errors import Invalid, TimedOut, Unavailable
from symphony.outside.functions import FunctionTool, toolbox
from symphony.syscall.caller import Caller
from symphony.syscall.tool import call


def weather(city: str, days: int = 1, unit: Literal["c", "f"] = "c", tags: list[str] | None = None) -> dict[str, Any]:
    """The weather in a city."""
    return {"city": city, "days": days, "unit": unit, "tags": tags}


async def slow() -> int:
    await asyncio.sleep(60)
    return 1


def test_schema_comes_from_the_signature() -> None:
    tool = FunctionTool("weather", weather)
    assert tool.summary == "The weather in a city."
    assert tool.schema["required"] == ["city"]
    properties = tool.schema["properties"]
    assert properties["city"] == {"type": "string"}
    assert properties["unit"] == {"enum": ["c", "f"]}
    assert properties["tags"] == {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]}


class Own:
    """No JSON value becomes one."""


def test_what_json_cannot_express_is_left_open() -> None:
    def takes(a: Own, b: list[Own], c, d: object = 1, e: Callable[[], int] | None = None) -> list[Any]:  # type: ignore[no-untyped-def]
        return [a, b, c, d, e]

    def unresolved(a: Nowhere, b: int) -> list[Any]:  # type: ignore[name-defined]  # noqa: F821
        return [a, b]

    tool = FunctionTool("takes", takes)
    assert tool.schema == {
        "type": "object",
        "properties": {name: {} for name in "abcde"},
        "required": ["a", "b", "c"],
    }
    assert json.loads(asyncio.run(tool.call({"a": 1, "b": [2], "c": {"x": "y"}}))) == [1, [2], {"x": "y"}, 1, None]
    assert json.loads(asyncio.run(FunctionTool("unresolved", unresolved).call({"a": 1, "b": "x"}))) == [1, "x"]


def test_further_arguments_are_passed_to_a_function_that_takes_them() -> None:
    def anything(a: int, *_: int, **rest: Any) -> dict[str, Any]:
        return rest

    assert json.loads(asyncio.run(FunctionTool("anything", anything).call({"a": 1, "b": "x"}))) == {"b": "x"}


@dataclasses.dataclass
class Place:
    city: str
    height: float = 0.0


def distance(a: Place, b: Place, via: set[str], at: Annotated[int, msgspec.Meta(ge=0)] = 0) -> list[Any]:
    return [a.city, b.city, b.height, sorted(via), at]


def test_arguments_become_what_the_annotations_say() -> None:
    tool = FunctionTool("distance", distance)
    assert tool.schema["properties"]["a"] == {"$ref": "#/$defs/Place"}
    assert tool.schema["$defs"]["Place"]["required"] == ["city"]
    given = {"a": {"city": "Oslo"}, "b": {"city": "Rome", "height": 21}, "via": ["x", "x"]}
    assert json.loads(asyncio.run(tool.call(given))) == ["Oslo", "Rome", 21.0, ["x"], 0]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"a": {}}, "argument 'a'.*missing required field `city`"),
        ({"a": {"city": "Oslo", "height": "low"}}, r"argument 'a'.*`float`, got `str`.*\$\.height"),
        ({"via": [1]}, r"argument 'via'.*`str`, got `int`.*\$\[0\]"),
        ({"at": True}, "argument 'at'.*`int`, got `bool`"),
        ({"at": -1}, "argument 'at'.*>= 0"),
        ({"at": None}, "argument 'at'.*`int`, got `null`"),
        ({"b": "\ud800"}, "argument 'b'"),
        ({"a": {"\ud800": 1}}, "argument 'a'"),
        ({"extra": 1}, "unexpected keyword argument 'extra'"),
    ],
)
def test_wrong_types_are_refused_before_the_function_runs(changed: dict[str, Any], told: str) -> None:
    called: list[Any] = []

    def recorded(a: Place, b: Place, via: set[str], at: Annotated[int, msgspec.Meta(ge=0)] = 0) -> None:
        called.append(a)

    recorded.__annotations__.update(distance.__annotations__)
    given = {"a": {"city": "Oslo"}, "b": {"city": "Rome"}, "via": [], **changed}
    with pytest.raises(Invalid, match=f"tool 'recorded': .*{told}") as e:
        asyncio.run(FunctionTool("recorded", recorded).call(given))
    assert '"properties"' in e.value.hint
    assert called == []


def test_plain_and_async_functions_are_called() -> None:
    async def double(x: int) -> int:
        return 2 * x

    assert json.loads(asyncio.run(FunctionTool("w", weather).call({"city": "Oslo", "days": 2})))["days"] == 2
    assert asyncio.run(FunctionTool("d", double).call({"x": 4})) == "8"


@pytest.mark.parametrize("arguments", [{}, {"city": "Oslo", "planet": "Mars"}])
def test_wrong_arguments_name_the_schema(arguments: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as e:
        asyncio.run(FunctionTool("weather", weather).call(arguments))
    assert "weather" in e.value.message
    assert "properties" in e.value.hint


def test_a_tool_that_raises_is_unavailable_and_says_why() -> None:
    def broken() -> None:
        raise ValueError("no network")

    with pytest.raises(Unavailable, match="ValueError: no network"):
        asyncio.run(FunctionTool("broken", broken).call({}))


def test_results_must_be_json_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match="not JSON"):
        asyncio.run(FunctionTool("bad", lambda: {1, 2}).call({}))
    with pytest.raises(Unavailable, match="not JSON"):
        asyncio.run(FunctionTool("nan", lambda: float("nan")).call({}))
    monkeypatch.setattr("symphony.outside.tool.MAX_TOOL_RESULT_BYTES", 4)
    with pytest.raises(Unavailable, match="at most 4"):
        asyncio.run(FunctionTool("big", lambda: "12345").call({}))


def test_a_slow_tool_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symphony.outside.functions.TOOL_SECONDS", 0.01)
    with pytest.raises(TimedOut):
        asyncio.run(FunctionTool("slow", slow).call({}))


def test_threads_of_one_tenant_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they go on after their time, or cannot begin."""
    monkeypatch.setattr("symphony.outside.functions.TOOL_SECONDS", 0.05)
    monkeypatch.setattr("symphony.outside.tool.MAX_TOOL_CROWD", 4)
    go_on = threading.Event()

    async def main() -> None:
        tool = FunctionTool("hangs", lambda: go_on.wait(60))
        hanging = await asyncio.gather(*(tool.call({}, "a") for _ in range(3)), return_exceptions=True)
        assert sorted(type(each).__name__ for each in hanging) == ["TimedOut", "TimedOut", "Unavailable"]
        with pytest.raises(Unavailable, match="2 calls of tool 'hangs'"):
            await tool.call({}, "a")
        with monkeypatch.context() as patch:
            patch.setattr("threading.Thread.start", none_left)
            with pytest.raises(Unavailable, match="no thread"):
                await tool.call({}, "b")
        assert tool._seats._taken == {"a": 2}
        go_on.set()
        assert await tool.call({}, "b") == "true"
        while tool._seats._taken:  # noqa: ASYNC110 - threads have no events
            await asyncio.sleep(0.001)
        assert await tool.call({}, "a") == "true"

    asyncio.run(main())


def test_a_program_calls_as_its_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symphony.outside.tool.MAX_TOOL_CROWD", 2)
    go_on = threading.Event()

    async def main() -> None:
        tools = toolbox({"hangs": lambda: go_on.wait(60)})
        callers = [
            SimpleNamespace(reach=SimpleNamespace(tools=tools), tenant=tenant, untaken=0, track=lambda _: None)
            for tenant in ("a", "a", "b")
        ]
        calls = [call(cast("Caller", caller), "hangs", "{}") for caller in callers]
        await asyncio.sleep(0.01)
        assert [each.result() is not None for each in calls] == [False, True, False]
        go_on.set()

    asyncio.run(main())


def none_left(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_positional_only_parameters_are_refused_at_registration() -> None:
    with pytest.raises(Invalid, match="positional-only"):
        toolbox({"f": lambda x, /: x})

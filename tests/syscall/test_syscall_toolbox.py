"""Python functions as tools: schema, binding, failures."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

import pytest

from symphony.errors import Invalid, TimedOut, Unavailable
from symphony.syscall.toolbox import Tool, toolbox


def weather(city: str, days: int = 1, unit: Literal["c", "f"] = "c", tags: list[str] | None = None) -> dict[str, Any]:
    """The weather in a city."""
    return {"city": city, "days": days, "unit": unit, "tags": tags}


async def slow() -> int:
    await asyncio.sleep(60)
    return 1


def test_schema_comes_from_the_signature() -> None:
    tool = Tool("weather", weather)
    assert tool.summary == "The weather in a city."
    assert tool.schema["required"] == ["city"]
    properties = tool.schema["properties"]
    assert properties["city"] == {"type": "string"}
    assert properties["unit"] == {"enum": ["c", "f"]}
    assert properties["tags"] == {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]}


def test_plain_and_async_functions_are_called() -> None:
    async def double(x: int) -> int:
        return 2 * x

    assert json.loads(asyncio.run(Tool("w", weather).call({"city": "Oslo", "days": 2})))["days"] == 2
    assert asyncio.run(Tool("d", double).call({"x": 4})) == "8"


@pytest.mark.parametrize("arguments", [{}, {"city": "Oslo", "planet": "Mars"}])
def test_wrong_arguments_name_the_schema(arguments: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as e:
        asyncio.run(Tool("weather", weather).call(arguments))
    assert "weather" in e.value.message
    assert "properties" in e.value.hint


def test_a_tool_that_raises_is_unavailable_and_says_why() -> None:
    def broken() -> None:
        raise ValueError("no network")

    with pytest.raises(Unavailable, match="ValueError: no network"):
        asyncio.run(Tool("broken", broken).call({}))


def test_results_must_be_json_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match="not JSON"):
        asyncio.run(Tool("bad", lambda: {1, 2}).call({}))
    with pytest.raises(Unavailable, match="not JSON"):
        asyncio.run(Tool("nan", lambda: float("nan")).call({}))
    monkeypatch.setattr("symphony.syscall.toolbox.MAX_TOOL_RESULT_BYTES", 4)
    with pytest.raises(Unavailable, match="at most 4"):
        asyncio.run(Tool("big", lambda: "12345").call({}))


def test_a_slow_tool_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symphony.syscall.toolbox.TOOL_SECONDS", 0.01)
    with pytest.raises(TimedOut):
        asyncio.run(Tool("slow", slow).call({}))


def test_positional_only_parameters_are_refused_at_registration() -> None:
    with pytest.raises(Invalid, match="positional-only"):
        toolbox({"f": lambda x, /: x})

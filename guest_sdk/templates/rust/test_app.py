"""The component on the small model that comes with Symphony: `symphony build . -o app.wasm && python -m pytest`."""

import asyncio
from pathlib import Path

import pytest

from symphony import Runtime

APP = Path(__file__).with_name("app.wasm")


@pytest.mark.skipif(not APP.exists(), reason="build it first: symphony build . -o app.wasm")
def test_it_calls_the_tool_and_answers() -> None:
    asked: list[str] = []

    def get_weather(city: str, unit: str = "celsius") -> dict[str, object]:
        """Get the current weather in a city."""
        asked.append(city)
        return {"city": city, "temperature": 21, "unit": unit, "sky": "clear"}

    async def run() -> object:
        async with Runtime(tools={"get_weather": get_weather}) as runtime:
            return await runtime.run(APP, question="What is the weather in Paris?")

    assert "21" in str(asyncio.run(run()))
    assert asked == ["Paris"]

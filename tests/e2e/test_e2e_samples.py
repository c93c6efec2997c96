"""Every sample, on the model that ships: the same result as source, as a built component, embedded and over HTTP."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from built_samples import collection, component, source

from symphony import Runtime
from symphony.cli.tools import load_tools
from symphony.http.app import create_app

ROOT = Path(__file__).resolve().parents[2]
SAMPLES: dict[str, dict[str, Any]] = {
    "completion": {"prompt": "Who are you?", "max_tokens": 16},
}
"""Built as a component of its own, run over HTTP too."""
COLLECTION: dict[str, dict[str, Any]] = {
    "weather": {"question": "What is the weather in Paris?"},
    "branches": {"n": 3, "max_tokens": 8},
    "choice": {"question": "Is 2 + 2 = 4 correct?", "options": ["yes", "no"]},
    "sessions": {"say": ["My name is Omar.", "What is my name?"]},
    "beam": {},
    "extract": {},
    "lookup": {},
    "mcts": {"rounds": 1, "width": 2},
    "react": {},
    "templates": {},
    "watermark": {},
    "window": {},
}
"""Built together, as modules of one component."""


def tools() -> dict[str, Any]:
    files = [ROOT / "samples" / name / "tools.py" for name in ("weather", "react")]
    return {name: function for file in files for name, function in load_tools(file).items()}


async def over_http(runtime: Runtime, program: bytes, args: dict[str, Any]) -> Any:
    async with TestClient(TestServer(create_app(runtime))) as client:
        uploaded = await client.post("/v1/programs", data=io.BytesIO(program))
        assert uploaded.status in (200, 201), await uploaded.text()
        id = (await uploaded.json())["id"]
        answer = await client.post(f"/v1/programs/{id}/run", json=args)
        body = await answer.json()
        assert answer.status == 200, json.dumps(body)
        return body["result"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_gives_the_same_result_on_every_path(name: str, tmp_path: Path) -> None:
    args = SAMPLES[name]
    program = component(name)
    content = {path: path.read_bytes() for path in (source(name), program)}

    async def fresh(program: Path, http: bool) -> Any:
        """On a host of its own, so that no path finds what another one left."""
        home = tmp_path / f"{program.suffix}-{http}"
        async with Runtime("tiny", device="cpu", tools=tools(), home=home) as rt:
            result = await (over_http(rt, content[program], args) if http else rt.run(program, args))
            rt.core.check_integrity()
            assert rt.sandbox.live == 0
            return result

    async def scenario() -> list[Any]:
        return [await fresh(p, http) for p in (source(name), program) for http in (False, True)]

    results = asyncio.run(scenario())
    assert results[0] not in (None, "", [], {})
    assert all(result == results[0] for result in results), results


def without_forwards(result: Any) -> Any:
    """Programs whose branches go on by themselves meet in more or fewer steps, as time has it."""
    if isinstance(result, dict):
        return {key: without_forwards(value) for key, value in result.items() if "forwards" not in key}
    return result


@pytest.mark.slow
def test_samples_give_the_same_results_as_a_component(tmp_path: Path) -> None:
    built = collection(list(COLLECTION))

    async def results(home: str, compiled: bool) -> dict[str, Any]:
        async with Runtime(["tiny", "tiny-draft"], device="cpu", tools=tools(), home=tmp_path / home) as rt:
            found: dict[str, Any] = {}
            for name, args in COLLECTION.items():
                given = {"sample": name, "args": args} if compiled else args
                found[name] = without_forwards(await rt.run(built if compiled else source(name), given))
            rt.core.check_integrity()
            assert rt.sandbox.live == 0
            return found

    expected = asyncio.run(results("source", False))
    assert all(result not in (None, "", [], {}) for result in expected.values())
    assert asyncio.run(results("compiled", True)) == expected


def test_the_weather_sample_calls_the_tool_and_answers_from_its_result(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Runtime("tiny", device="cpu", tools=tools(), home=tmp_path) as rt:
            result = await rt.run(source("weather"), question="What is the weather in Paris?")
            assert result["calls"][0]["tool"] == "get_weather"
            assert result["calls"][0]["arguments"]["city"] == "Paris"
            assert str(result["calls"][0]["result"]["temperature"]) in result["answer"]

    asyncio.run(scenario())

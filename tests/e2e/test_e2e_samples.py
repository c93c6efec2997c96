"""Every sample, on the model that ships: the same result as source, as a built component, embedded and over HTTP."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from built_samples import component, source

from symphony import Runtime
from symphony.http.app import create_app

ROOT = Path(__file__).resolve().parents[2]
SAMPLES: dict[str, dict[str, Any]] = {
    "completion": {"prompt": "Who are you?", "max_tokens": 16},
    "branches": {"n": 3, "max_tokens": 8},
    "choice": {"question": "Is 2 + 2 = 4 correct?", "options": ["yes", "no"]},
    "weather": {"question": "What is the weather in Paris?"},
    "notes": {"question": "What is MAX_FILES?"},
}


def tools() -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec((ROOT / "samples" / "weather" / "tools.py").read_text(), names)
    return {"get_weather": names["get_weather"]}


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


def test_the_second_run_of_notes_computes_its_question_only(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Runtime("tiny", device="cpu", home=tmp_path) as rt:
            first = await rt.run(source("notes"), SAMPLES["notes"])
            second = await rt.run(source("notes"), SAMPLES["notes"])
            assert first["answer"] == second["answer"] == "64"
            assert second["tokens_known"] > 3 * second["tokens_computed"]
            assert first["tokens_computed"] > second["tokens_known"]

    asyncio.run(scenario())


def test_branches_pay_for_their_prompt_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Runtime("tiny", device="cpu", home=tmp_path) as rt:
            process = await rt.spawn(source("branches"), n=8, max_tokens=4)
            texts = await process.wait()
            assert len(texts) == 8
            prompt = await rt.spawn(source("branches"), n=1, max_tokens=4)
            await prompt.wait()
            assert process.usage.prompt_tokens < 8 * prompt.usage.prompt_tokens

    asyncio.run(scenario())


def test_the_weather_sample_calls_the_tool_and_answers_from_its_result(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Runtime("tiny", device="cpu", tools=tools(), home=tmp_path) as rt:
            result = await rt.run(source("weather"), question="What is the weather in Paris?")
            assert result["calls"][0]["tool"] == "get_weather"
            assert result["calls"][0]["arguments"]["city"] == "Paris"
            assert str(result["calls"][0]["result"]["temperature"]) in result["answer"]

    asyncio.run(scenario())

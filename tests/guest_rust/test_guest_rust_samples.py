"""The Rust samples do what their Python twins do, on the model that the package ships."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from symphony.cli.tools import load_tools
from symphony.host import Config, Runtime
from symphony.sandbox.config import SandboxConfig

pytestmark = [pytest.mark.rust, pytest.mark.slow, pytest.mark.timeout(900)]
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
RUNS: dict[str, list[dict[str, Any]]] = {
    "completion": [{}, {"prompt": "What is 7 plus 12?", "max_tokens": 5}],
    "branches": [{}, {"prompt": "Tell me a story.", "n": 5, "max_tokens": 9}],
    "beam": [{}, {"prompt": "What is 7 plus 12?", "width": 2, "depth": 6, "penalty": 0.0}],
    "extract": [{}, {"text": "Omar is 52.", "schema": {"properties": {"b": {"enum": [1, 2]}, "a": {"type": "null"}}}}],
    "lookup": [{}, {"ngram": 2, "guesses": 3, "max_tokens": 20}],
    "samplers": [{}, {"seed": 7, "length": 5, "candidates": 40}],
    "tree": [{}, {"numbers": [2, 3, 4], "target": 10, "draws": 3, "width": 2}],
    "react": [{}, {"question": "What is the job of Omar Reed?", "use": ["lookup"], "max_steps": 2}],
}


def test_there_are_twins() -> None:
    elsewhere = {"openai"}  # tests/http/test_http_openai_rust.py
    assert {path.parent.name for path in SAMPLES.glob("*/rust")} == RUNS.keys() | elsewhere


async def observe(program: Callable[[str], Path], home: Path) -> dict[str, list[Any]]:
    """Results and outputs, on a host of their own: what one language has computed, the other finds in no cache."""
    config = Config(sandbox=SandboxConfig(max_instances=16))
    async with Runtime(
        "tiny", device="cpu", tools=load_tools(SAMPLES / "react/tools.py"), home=home, config=config
    ) as rt:
        seen: dict[str, list[Any]] = {}
        for sample, runs in RUNS.items():
            for arguments in runs:
                process = await rt.spawn(program(sample), arguments)
                seen.setdefault(sample, []).append((await process.wait(), comparable(process.output)))
        rt.core.check_integrity()
        return seen


def comparable(output: str) -> str:
    """The languages quote texts in different ways; branches that start one after the other may begin a step apart."""
    return re.sub(r"(, |  )['\"].*|tokens in \d+ (forward passes|forwards);", "", output)


@pytest.fixture(scope="module")
def twins(built: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[Any]]]:
    home = tmp_path_factory.mktemp("twins")
    languages = {"rs": lambda name: built(f"samples/{name}/rust"), "py": lambda name: SAMPLES / name / f"{name}.py"}
    return [asyncio.run(observe(partial(program), home / name)) for name, program in languages.items()]


@pytest.mark.parametrize("sample", RUNS)
def test_same_as_python(twins: list[dict[str, list[Any]]], sample: str) -> None:
    rust, python = twins
    if sample == "tree":  # as said of its output
        for result, _ in rust[sample] + python[sample]:
            assert 0 < result.pop("forwards") < result["tokens"]
    assert rust[sample] == python[sample]
    assert all(result for result, _ in rust[sample])

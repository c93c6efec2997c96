"""The Rust samples do what their Python twins do, on the model that the package ships."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from symphony.host import Config, Runtime
from symphony.sandbox.config import SandboxConfig

pytestmark = [pytest.mark.rust, pytest.mark.slow, pytest.mark.timeout(900)]
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
RUNS: list[tuple[str, dict[str, Any]]] = [
    ("completion", {}),
    ("completion", {"prompt": "What is 7 plus 12?", "max_tokens": 5}),
    ("branches", {}),
    ("branches", {"prompt": "Tell me a story.", "n": 5, "max_tokens": 9}),
]


async def observe(rt: Runtime, program: Path, arguments: dict[str, Any]) -> tuple[Any, str]:
    """Result and output."""
    process = await rt.spawn(program, arguments)
    return await process.wait(), process.output


@pytest.mark.parametrize(("sample", "arguments"), RUNS)
def test_same_as_python(built: Callable[[str], Path], tmp_path: Path, sample: str, arguments: dict[str, Any]) -> None:
    component = built(f"samples/{sample}/rust")

    async def main() -> None:
        config = Config(sandbox=SandboxConfig(max_instances=16))
        async with Runtime("tiny", device="cpu", home=tmp_path / "home", config=config) as rt:
            rust = await observe(rt, component, arguments)
            python = await observe(rt, SAMPLES / sample / f"{sample}.py", arguments)
            assert rust == python
            assert rust[0]
            rt.core.check_integrity()

    asyncio.run(main())

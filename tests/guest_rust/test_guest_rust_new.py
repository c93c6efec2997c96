"""`symphony new`: the Rust project is built by `symphony build` and does what the Python one does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from symphony import Runtime
from symphony.cli.main import cli
from symphony.cli.new import create
from symphony.host import Config
from tools.build_rust import HINT, toolchain

pytestmark = [pytest.mark.rust, pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]


def test_both_projects_call_the_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if toolchain() is None:
        pytest.skip(HINT)
    create(tmp_path / "python", "python")
    create(tmp_path / "rust", "rust")
    component = tmp_path / "app.wasm"
    monkeypatch.setenv("CARGO_TARGET_DIR", str(ROOT / "build/rust"))
    done = CliRunner().invoke(cli, ["build", str(tmp_path / "rust"), "-o", str(component)])
    assert done.exit_code == 0, done.output
    asked: list[str] = []

    def get_weather(city: str, unit: str = "celsius") -> dict[str, Any]:
        """Get the current weather in a city."""
        asked.append(city)
        return {"city": city, "temperature": 21, "unit": unit, "sky": "clear"}

    async def main() -> list[str]:
        config = Config(cache=ROOT / "build/test-programs")
        async with Runtime(
            "tiny", device="cpu", tools={"get_weather": get_weather}, home=tmp_path, config=config
        ) as rt:
            programs = (component, tmp_path / "python/app.py")
            return [await rt.run(program, question="What is the weather in Rome?") for program in programs]

    rust, python = asyncio.run(main())
    assert asked == ["Rome", "Rome"]
    assert "21" in rust
    assert "21" in python

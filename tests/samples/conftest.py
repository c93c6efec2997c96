"""Two hosts that all tests of samples share, booted when first used: `tiny`, and a model of random weights.

On `tiny` a sample shows what it is for. Random weights say nothing sensible, so there only what the technique itself
promises can hold: counts, equality, validity. After each run the core is checked, and has to be idle.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from parity.parity_checkpoints import make_checkpoint
from symphony import Config, Runtime
from symphony.cli.tools import load_tools
from symphony.process.process import Process
from symphony.sandbox import SandboxConfig

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "test-programs"


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run of a sample."""

    result: Any
    output: str
    """What it emitted."""
    usage: Mapping[str, int]
    """`forwards`, `prompt_tokens`, `reused_tokens`, `generated_tokens`, `accepted_tokens`, `pages`, ..."""


class Stage:
    """A running host and the samples to run on it.

        run = stage.run("beam", width=4)
        assert run.usage["forwards"] < 20

    The tools of all samples are on offer. Named KV files outlive a run: use a path of your own.
    """

    def __init__(self, models: Sequence[str], home: Path) -> None:
        files = sorted(ROOT.glob("samples/*/tools.py"))
        tools = {name: function for file in files for name, function in load_tools(file).items()}
        self.release = asyncio.Event()
        tools["held_forecast"] = self.held_forecast
        sandbox = SandboxConfig(max_instances=256)  # it stays for all tests: a share of the address space
        config = Config(sandbox=sandbox, pages=1200, host_pages=64, cache=CACHE)
        self._runner = asyncio.Runner()
        self.runtime = Runtime(models, device="cpu", tools=tools, home=home, config=config)
        self._runner.run(self.runtime.__aenter__())

    async def held_forecast(self, city: str) -> dict[str, str]:
        """Get the weather forecast of a city, as soon as the test sets `release`."""
        await self.release.wait()
        return {"city": city, "sky": "clear"}

    def close(self) -> None:
        self._runner.run(self.runtime.__aexit__(None, None, None))
        self._runner.close()

    def run(self, program: str, /, **arguments: Any) -> Run:
        """Run a sample by its name, or Python source (of several lines), to its end. Raises what the run raises."""

        async def scenario() -> Run:
            process = await self.runtime.spawn(program if "\n" in program else path(program), arguments)
            result = await process.wait()
            return Run(result, process.output, process.usage._asdict())

        return self.go(scenario)

    def go(self, scenario: Callable[[], Awaitable[Any]]) -> Any:
        """A scenario of one's own on `self.runtime`; leaves nothing behind, or the test fails."""

        async def whole() -> Any:
            result = await scenario()
            self.runtime.core.check_integrity()
            assert self.runtime.sandbox.live == 0
            assert self.runtime.core.idle()
            return result

        return self._runner.run(whole())

    async def spawn(self, name: str, /, **arguments: Any) -> Process:
        """A sample, running; inside of `go`."""
        return await self.runtime.spawn(path(name), arguments)


def path(name: str) -> Path:
    return ROOT / "samples" / name / f"{name}.py"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """A sample as a module of this process, for the functions in it that need no host."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(ROOT / "guest_sdk" / "python"))

    def load(name: str) -> Any:
        spec = importlib.util.spec_from_file_location(f"sample_{name}", path(name))
        assert spec is not None
        assert spec.loader is not None
        found = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, found)
        spec.loader.exec_module(found)
        return found

    yield load
    for name in [name for name in sys.modules if name.split(".")[0] == "lip" and name not in before]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The model that the package ships, and the smaller one as `tiny-draft`."""
    stage = Stage(["tiny", "tiny-draft"], tmp_path_factory.mktemp("tiny"))
    yield stage
    stage.close()


@pytest.fixture(scope="session")
def chance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Random weights with logits that spread, and others as a second model; tokenizer and template are tiny's."""
    root = tmp_path_factory.mktemp("chance")
    large = make_checkpoint("llama-3 tied", root, max_position_embeddings=4096)
    small = make_checkpoint("qwen3", root)
    stage = Stage([f"chance={large}", f"small={small}"], root / "home")
    yield stage
    stage.close()

"""Programs that were compiled for released versions of the ABI, what they answered, and how to run them again.

    VERSION/*.wasm      built from Rust when the version was released
    VERSION/cases.json  what they are asked, and what they answered then, on a deterministic engine
    VERSION/sdk.tar.gz  the Python SDK of the version, which compiled Python programs are rebuilt from: one is 28 MB

`python -m tools.archive` makes such a folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symphony.engine.fake import FakeEngine
from symphony.errors import ProgramError
from symphony.host import Config, Runtime
from symphony.program import build
from symphony.program.toolchain import Kit
from symphony.sandbox import SandboxConfig
from symphony.sandbox.reflect import Reflector, Signature

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).parent
VERSIONS = sorted(path.parent.name for path in FOLDER.glob("*/cases.json"))


@dataclass(frozen=True, slots=True)
class Case:
    """One run. Its result, or the text of its error."""

    program: str
    args: dict[str, Any]
    answer: Any


def cases(version: str) -> list[Case]:
    return [Case(**case) for case in json.loads((FOLDER / version / "cases.json").read_text("utf-8"))]


def add(a: int, b: int) -> int:
    """The sum."""
    return a + b


def fail() -> None:
    """Never works."""
    raise RuntimeError("out of order")


def answers(folder: Path, asked: list[Case], home: Path) -> list[Any]:
    """What the programs of a folder answer, each case after the one before it on one host."""

    async def main() -> list[Any]:
        found: list[Any] = []
        async with host(home) as runtime:
            for case in asked:
                try:
                    found.append(await runtime.run(folder / case.program, case.args))
                except ProgramError as error:
                    found.append(f"error: {error.message}")
            assert runtime.core.idle()
            runtime.core.check_integrity()
        return found

    return asyncio.run(main())


def host(home: Path) -> Runtime:
    config = Config(sandbox=SandboxConfig(max_instances=16), cache=ROOT / "build/test-programs")
    return Runtime([FakeEngine()], tools={"add": add, "fail": fail}, home=home, config=config)


async def imports(runtime: Runtime, program: Path | str) -> dict[str, Signature]:
    """What a program declares of `symphony:lip`, by name."""
    loaded = await runtime._programs.load(program, tenant="local")
    reflector = Reflector(runtime.sandbox._engine, loaded.program.component, lambda key: True)
    found = {f"{i.base}#{name}": signature for i in reflector.imports() for name, signature in i.functions}
    return {key: signature for key, signature in found.items() if key.startswith("symphony:")}


def rebuilt(version: str, source: Path, out: Path) -> None:
    """Build a Python program as it was built then. Takes about 20 seconds of CPU, and running it first as many."""
    sdk = out.parent / "sdk"
    with tarfile.open(FOLDER / version / "sdk.tar.gz") as archive:
        archive.extractall(sdk, filter="data")
    kit = Kit(ROOT / "wit/archive" / version, sdk)
    with contextlib.ExitStack() as restore:
        ours = build.find_kit
        restore.callback(setattr, build, "find_kit", ours)
        build.find_kit = lambda: kit
        build.build(source, out)

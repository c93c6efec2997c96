"""docs/sdk.md: each scenario in a Python source, in the component made of it, and in Rust, with the same result.

`SYMPHONY_RECORD_SDK=1 pytest tests/sdk` writes what came out into results.json, from which `tools.sdktable` makes the
table; without it, what comes out has to be what is there.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from symphony import Config, Runtime
from symphony.engine.fake import FakeEngine
from symphony.outside.config import OutsideConfig
from symphony.outside.grants import Grant
from symphony.program import build, interpreter
from symphony.program.toolchain import find_kit
from symphony.sandbox.config import SandboxConfig
from tools import build_rust, sdktable
from tools.sdkrows import SECTIONS, Row

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
SOURCE = HERE / "scenarios.py"
RECORD = os.environ.get("SYMPHONY_RECORD_SDK") == "1"
SCENARIOS = sorted({row.scenario for row in sdktable.rows()} - {"child"})
"""`child` is what `children` starts."""
KINDS = [
    pytest.param("source"),
    pytest.param("compiled", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    pytest.param("rust", marks=[pytest.mark.rust, pytest.mark.timeout(900)]),
]


def add(a: int, b: int) -> int:
    """The sum."""
    return a + b


def compiled() -> Path:
    """The component of the Python scenarios, built once for all runs of the tests."""
    parts = (interpreter.key(find_kit()).encode(), Path(build.__file__).read_bytes(), SOURCE.read_bytes())
    folder = ROOT / "build/test-components"
    target = folder / f"sdk-{hashlib.sha256(b''.join(parts)).hexdigest()[:16]}.wasm"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "sdk.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            for old in folder.glob("sdk-*.wasm"):
                old.unlink()
            build.build(SOURCE, folder / "sdk.part")
            (folder / "sdk.part").rename(target)
    return target


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    @cache
    def of(kind: str) -> Path:
        if kind == "source":
            return SOURCE
        if kind == "compiled":
            return compiled()
        if build_rust.toolchain() is None:
            pytest.skip(build_rust.HINT)
        return build_rust.build(HERE / "rust", tmp_path_factory.mktemp("rust") / "scenarios.wasm")

    return of


class Host:
    def __init__(self, runner: asyncio.Runner, runtime: Runtime, engine: FakeEngine, place: str) -> None:
        self.runner = runner
        self.place = place
        self.runtime = runtime
        self.engine = engine

    def result(self, program: Path, scenario: str) -> tuple[Any, str]:
        """What the scenario returns, and its output. Nothing is left of it then."""

        async def run() -> tuple[Any, str]:
            async with asyncio.timeout(600):
                process = await self.runtime.spawn(program, case=scenario)
                process.post(self.place if scenario == "fetched" else "from the client")
                found = await process.wait()
                for other in self.runtime.processes():
                    await other.ended()
                self.runtime.core.check_integrity()
                return found, process.output

        return self.runner.run(run())


async def _page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """`/lost` is not there, `/echo` answers what it is sent, everything else says what was asked for."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("Content-Length:")), 0)
    path, body = head.split(" ")[1], await reader.readexactly(length)
    assert "/echo" not in path or "X-One: \u00c3\u00a9" in head or "application/json" in head
    body = body if path == "/echo" else f"page {path}".encode()
    status = "404 Not Found" if path == "/lost" else "200 OK"
    writer.write(
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )
    writer.close()


@contextmanager
def booted(home: Path, **options: int) -> Iterator[Host]:
    """`options`: of the configuration."""
    engine = FakeEngine(pages=512)
    with asyncio.Runner() as runner:
        pages = runner.run(asyncio.start_server(_page, "127.0.0.1", 0))
        place = f"http://127.0.0.1:{pages.sockets[0].getsockname()[1]}"
        config = Config(
            sandbox=SandboxConfig(max_instances=16),
            cache=ROOT / "build/test-programs",
            outside=OutsideConfig(grants=(Grant(tools=("*",), fetch=(place,)),)),
            **options,
        )
        runtime = Runtime([engine], tools={"add": add}, home=home, config=config)
        runner.run(runtime.__aenter__())
        try:
            yield Host(runner, runtime, engine, place)
        finally:
            runner.run(runtime.__aexit__(None, None, None))
            pages.close()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with booted(tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture(scope="module")
def host_with_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with booted(tmp_path_factory.mktemp("home"), workers=3) as made:
        yield made


IN_ONE = "the fake engine is through before a guest in a worker asks for the first chunk, which has everything then"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(scenario, marks=[pytest.mark.without_workers(IN_ONE)] if scenario == "stream" else [])
        for scenario in SCENARIOS
    ],
)
def test_a_scenario(scenario: str, kind: str, program: Callable[[str], Path], host: Host) -> None:
    found, output = host.result(program(kind), scenario)
    assert output == ("héllo" if scenario == "outside" else "")
    if RECORD:
        _record(scenario, kind, found)
        if scenario == "children":
            _record("child", kind, found[0])
    assert found == sdktable.results()[scenario][kind]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_in_a_worker(scenario: str, host_with_workers: Host) -> None:
    """What CI has of SYMPHONY_TEST_WORKERS: all that the SDK offers, beside three workers."""
    found, output = host_with_workers.result(SOURCE, scenario)
    assert output == ("héllo" if scenario == "outside" else "")
    expected = sdktable.results()[scenario]["source"]
    if scenario == "stream":  # IN_ONE
        found[1] = expected[1]
    assert found == expected


def _record(scenario: str, kind: str, found: Any) -> None:
    outcomes = sdktable.results()
    outcomes.setdefault(scenario, {})[kind] = found
    ordered = {name: {k: outcomes[name][k] for k in sdktable.KINDS if k in outcomes[name]} for name in sorted(outcomes)}
    lines = [f"  {json.dumps(name)}: {json.dumps(kinds, ensure_ascii=False)}" for name, kinds in ordered.items()]
    sdktable.RESULTS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def test_what_the_model_says_is_what_it_says(host: Host) -> None:
    """The recorded tokens, from the engine's own rule; so what is the same in all three is right as well."""
    outcomes = sdktable.results()
    assert outcomes["pred"]["source"][0] == host.engine.greedy(b"abc")
    tokens = list(b"once upon")
    for token in outcomes["generate"]["source"][0]:
        assert token == host.engine.greedy(tokens)
        tokens.append(token)


def test_the_table_is_whole_and_fresh() -> None:
    assert sdktable.problems() == []
    assert sdktable.PAGE.read_text(encoding="utf-8") == sdktable.page()


def test_a_function_without_a_row_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row for row in SECTIONS["KV files"] if row.python != "Context.fork"]
    monkeypatch.setitem(SECTIONS, "KV files", rows)
    assert sdktable.problems() == ["no row for python: Context.fork", "no row for rust: Context::fork"]


def test_a_row_that_nothing_shows_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row("fork", "Context.fork", "Context::fork", "text")
    monkeypatch.setitem(SECTIONS, "More", [row])
    monkeypatch.setattr(sdktable, "results", dict)
    found = sdktable.problems()
    assert "fork: the python scenario text does not use Context.fork" in found
    assert "fork: the rust scenario text does not use Context::fork" in found
    assert "fork: text is not shown" in found

"""Compiling: in a limited process, cached by content and engine, one at a time for a tenant."""

from __future__ import annotations

import asyncio
import dataclasses
import stat
from pathlib import Path

import pytest
from program_guests import ECHO, INVALID_CODE, bomb, wasm

from symphony.errors import InvalidProgram, LimitExceeded
from symphony.program.compile import CompileLimits, Compiler
from symphony.sandbox import Sandbox, SandboxConfig

ID = "e" * 64


def compiler(folder: Path, **limits: float) -> Compiler:
    return Compiler(folder, SandboxConfig(max_instances=8), dataclasses.replace(CompileLimits(), **limits))


def _files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file()]


def test_compiled_once_and_privately(tmp_path: Path, sandbox: Sandbox) -> None:
    first = asyncio.run(compiler(tmp_path).compiled(ID, wasm(ECHO)))
    made = first.stat().st_mtime_ns
    again = asyncio.run(compiler(tmp_path).compiled(ID, b"not looked at"))
    assert again == first
    assert again.stat().st_mtime_ns == made
    assert sandbox.engine_key in str(first)
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    assert stat.S_IMODE(first.parent.stat().st_mode) == 0o700
    sandbox.load(first)


def test_another_engine_has_another_cache(tmp_path: Path) -> None:
    one = asyncio.run(compiler(tmp_path).compiled(ID, wasm(ECHO)))
    other = Compiler(tmp_path, SandboxConfig(max_instances=8, stack_bytes=1 << 20))
    two = asyncio.run(other.compiled(ID, wasm(ECHO)))
    assert one.parent != two.parent
    assert one.name == two.name


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"cpu_seconds": 1}, "takes more than 1 s of CPU"),
        ({"wall_seconds": 0.2}, r"took longer than 0\.2 s"),
        ({"result_bytes": 4096}, "has more than 0 MiB"),
    ],
)
def test_a_bomb_reaches_a_limit(tmp_path: Path, limits: dict[str, float], message: str) -> None:
    with pytest.raises(LimitExceeded, match=message):
        asyncio.run(compiler(tmp_path, **limits).compiled(ID, bomb()))
    assert _files(tmp_path) == []


def test_a_memory_bomb_reaches_a_limit(tmp_path: Path) -> None:
    small = compiler(tmp_path, memory_bytes=300 << 20)
    asyncio.run(small.compiled(ID, wasm(ECHO)))  # the limit leaves room for an honest component
    with pytest.raises(LimitExceeded, match="takes more than 300 MiB of memory"):
        asyncio.run(small.compiled("f" * 64, bomb(700, 600)))


def test_what_does_not_compile_says_why(tmp_path: Path) -> None:
    with pytest.raises(InvalidProgram, match=r"does not compile: .*type mismatch"):
        asyncio.run(compiler(tmp_path).compiled(ID, wasm(INVALID_CODE)))
    with pytest.raises(InvalidProgram, match="core Wasm module"):
        asyncio.run(compiler(tmp_path).compiled(ID, b"\0asm\1\0\0\0"))
    assert _files(tmp_path) == []


def test_a_cancelled_compile_leaves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        task = asyncio.create_task(compiler(tmp_path).compiled(ID, bomb()))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert _files(tmp_path) == []


def test_one_at_a_time_for_a_tenant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[str] = []
    most: list[int] = []

    async def work(self: Compiler, source: Path, made: Path) -> None:
        running.append(source.name)
        most.append(len(running))
        await asyncio.sleep(0.01)
        await asyncio.to_thread(made.write_bytes, b"code")
        running.pop()

    monkeypatch.setattr(Compiler, "_work", work)

    async def main(tenants: list[str]) -> int:
        most.clear()
        shared = compiler(tmp_path / str(len(set(tenants))))
        await asyncio.gather(*(shared.compiled(f"{i:064}", b"", tenant) for i, tenant in enumerate(tenants)))
        return max(most)

    assert asyncio.run(main(["a"] * 4)) == 1
    assert asyncio.run(main(["a", "b", "c", "c"])) == 3

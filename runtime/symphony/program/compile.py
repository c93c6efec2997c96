"""Components to machine code: in a process of their own, under limits, cached.

Compiling is the one thing that a program can make expensive before it runs a single instruction, so it happens in
`compile_worker` under rlimits, one at a time for a tenant. The cache is private and keyed by the program's content and
the engine's key; what is in it is native code that `Sandbox.load` trusts, so nothing else may write there.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import symphony
from symphony import param
from symphony.errors import InvalidProgram, LimitExceeded
from symphony.program.compile_worker import INVALID
from symphony.program.toolchain import replace
from symphony.sandbox.config import SandboxConfig, engine_key

_ROOT = Path(symphony.__file__ or "").resolve().parent.parent
"""Where the worker finds this package."""


@dataclasses.dataclass(frozen=True, slots=True)
class CompileLimits:
    """What compiling one component may use: seconds of CPU, seconds, bytes of address space, bytes of result."""

    cpu_seconds: int = param.COMPILE_CPU_SECONDS
    wall_seconds: float = param.COMPILE_WALL_SECONDS
    memory_bytes: int = param.COMPILE_MEMORY_BYTES
    result_bytes: int = param.MAX_COMPILED_BYTES


class Compiler:
    """Compiles for one sandbox configuration, into one cache directory."""

    def __init__(self, cache: Path, config: SandboxConfig, limits: CompileLimits = CompileLimits()) -> None:
        self._folder = cache / "compiled" / engine_key(config)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        self._config = config
        self._limits = limits
        self._tenants: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def compiled(self, id: str, wasm: Path | bytes, tenant: str = "local") -> Path:
        """The compiled form of a component whose content has the hash `id`; seconds the first time.

        Raises `InvalidProgram` (it does not compile), `LimitExceeded` (it takes too much to compile).
        """
        target = self._folder / f"{id}.cwasm"
        async with self._tenants[tenant]:
            if not await asyncio.to_thread(target.is_file):
                with tempfile.TemporaryDirectory(prefix="compile-", dir=self._folder) as aside:
                    await self._compile(wasm, Path(aside), target)
        return target

    async def _compile(self, wasm: Path | bytes, aside: Path, target: Path) -> None:
        source, made = aside / "in.wasm", aside / "out.cwasm"
        if isinstance(wasm, bytes):
            await asyncio.to_thread(source.write_bytes, wasm)
        else:
            source = wasm
        await self._work(source, made)
        await asyncio.to_thread(replace, made, target)

    def forget(self, id: str) -> None:
        """Drop a program from the cache."""
        (self._folder / f"{id}.cwasm").unlink(missing_ok=True)

    async def _work(self, source: Path, made: Path) -> None:
        limits = self._limits
        order = {
            "source": str(source),
            "made": str(made),
            "config": dataclasses.asdict(self._config),
            "limits": [limits.cpu_seconds, limits.memory_bytes, limits.result_bytes],
        }
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "symphony.program.compile_worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PYTHONPATH": str(_ROOT), "PATH": os.defpath},
        )
        try:
            async with asyncio.timeout(limits.wall_seconds):
                out, err = await worker.communicate(json.dumps(order).encode())
        except TimeoutError:
            raise LimitExceeded(
                f"compiling the component took longer than {limits.wall_seconds:g} s", "make the component smaller"
            ) from None
        finally:
            if worker.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    worker.kill()
                await worker.wait()
        if worker.returncode != 0:
            raise self._failure(worker.returncode or 0, out.decode(), err.decode(errors="replace"))

    def _failure(self, status: int, out: str, err: str) -> InvalidProgram | LimitExceeded:
        """What an exit status and the worker's words mean."""
        if status == INVALID:
            message, hint = json.loads(out)
            return InvalidProgram(message, hint)
        if status in (-signal.SIGXCPU, -signal.SIGKILL):
            text = f"compiling the component takes more than {self._limits.cpu_seconds} s of CPU"
        elif "memory" in err.lower() or status == -signal.SIGSEGV:
            text = f"compiling the component takes more than {self._limits.memory_bytes >> 20} MiB of memory"
        elif status == -signal.SIGXFSZ or "File too large" in err:
            text = f"the compiled component has more than {self._limits.result_bytes >> 20} MiB"
        else:
            last = err.strip().splitlines()[-1:] or [f"status {status}"]
            return InvalidProgram(f"the compiler failed on the component: {last[0][:300]}")
        return LimitExceeded(text, "make the component smaller, or split its largest functions")

"""A host that hostile programs share, and the questions it must answer correctly after each of them.

`Host.check` is what every test of this folder ends with: nothing is left of the programs that ran, the books of the
KVFS agree, and the same host process gives the right answer to a fixed question.
"""

from __future__ import annotations

import asyncio
import contextlib
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

from symphony import Config, Runtime
from symphony.engine.fake import FakeEngine
from symphony.errors import SymphonyError
from symphony.outside.config import OutsideConfig
from symphony.sandbox.config import SandboxConfig
from symphony.sched.admission import AdmissionLimits

CACHE = Path(__file__).resolve().parents[2] / "build" / "test-programs"
"""Shared with the tests of programs: the interpreter is compiled once a checkout."""

T = TypeVar("T")
QUESTION = "A fixed question of more than two pages, so that cached pages take part in the answer too."


def lip(body: str, signature: str = "") -> str:
    """A Python program: `body` inside an async main function. `_host` is the raw interface below the SDK."""
    head = "import asyncio, json, sys\nfrom lip import *\nfrom lip import _host, fs\nfrom lip.errors import call\n"
    return f"{head}\n@main\nasync def app({signature}):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"


HEALTHY = lip(
    """
    async with Context() as ctx:
        ctx.feed(question)
        first = await ctx.pred()
        out = await ctx.generate(max_tokens=8, stop_tokens=[])
        async with ctx.fork() as branch:
            branch.truncate(20)
            return [first.argmax(), *out.tokens, (await branch.pred()).argmax()]
    """,
    "question: str",
)


async def until(condition: Callable[[], bool]) -> None:
    """Let the host run until something holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - states have no events
            await asyncio.sleep(0.0005)


class Host:
    """A runtime over the fake engine, on an event loop that goes on from test to test."""

    def __init__(self, runtime: Runtime, engine: FakeEngine, runner: asyncio.Runner) -> None:
        self.runtime = runtime
        self.engine = engine
        self._runner = runner

    def run(self, work: Awaitable[T]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(120):
                return await work

        return self._runner.run(bounded())

    def result(self, program: str | Path | bytes, /, **arguments: Any) -> Any:
        return self.run(self.runtime.run(program, arguments))

    def error(self, program: str | Path | bytes, /, **arguments: Any) -> SymphonyError:
        """How it fails: always one of our own errors, with a message."""
        with pytest.raises(SymphonyError) as caught:
            self.result(program, **arguments)
        assert caught.value.message
        return caught.value

    @property
    def instances(self) -> int:
        """Guests that have begun and not ended, here or in workers."""
        crew = self.runtime.crew
        return self.runtime.sandbox.live + (sum(len(worker.guests) for worker in crew.workers) if crew else 0)

    def answer(self) -> list[int]:
        """What `HEALTHY` must say, from the tokens alone."""
        tokens = list(QUESTION.encode())
        start = len(tokens)
        first = self.engine.greedy(tokens)
        while len(tokens) < start + 8:
            tokens.append(self.engine.greedy(tokens))
        return [first, *tokens[start:], self.engine.greedy(tokens[:20])]

    def check(self) -> None:
        self.run(self._check())

    async def _check(self) -> None:
        await self._settled()
        assert await self.runtime.run(HEALTHY, question=QUESTION) == self.answer()
        await self._settled()
        core = self.runtime.core
        core.check_integrity()
        assert not core._kvfs.files, "a KV file is left"
        for arena in core._kvfs.arenas.values():
            assert arena.available == arena.pool.capacity, "a page is in use"

    async def _settled(self) -> None:
        """Until everything that ended is released: teardown goes on for a few turns of the loop."""
        core, processes = self.runtime.core, self.runtime._processes

        def busy() -> bool:
            held = core._sessions or processes.live or processes._burials or self.instances
            return bool(held) or not core.idle()

        await until(lambda: not busy())
        assert len(processes.inbox) == 0
        assert len(processes._channels) == 0
        assert not any(loop.dying for loop in core._loops.values())


@contextlib.asynccontextmanager
async def booted(
    home: Path,
    tools: Mapping[str, Callable[..., Any]],
    options: Mapping[str, Any],
    admission: AdmissionLimits | None = None,
    outside: OutsideConfig | None = None,
) -> AsyncIterator[tuple[Runtime, FakeEngine]]:
    engine = FakeEngine(**{"pages": 512, "context_limit": 1024, **options})
    admission = admission or AdmissionLimits()
    outside = outside or OutsideConfig()
    config = Config(sandbox=SandboxConfig(max_instances=16), admission=admission, outside=outside, cache=CACHE)
    async with Runtime([engine], home=home, tools=tools, config=config) as runtime:
        yield runtime, engine


@contextlib.contextmanager
def host(
    home: Path,
    tools: Mapping[str, Callable[..., Any]] | None = None,
    admission: AdmissionLimits | None = None,
    outside: OutsideConfig | None = None,
    **engine: Any,
) -> Any:
    """A booted `Host`; checked once more before it shuts down."""
    with asyncio.Runner() as runner:
        boot = booted(home, tools or {}, engine, admission, outside)
        runtime, fake = runner.run(boot.__aenter__())
        try:
            running = Host(runtime, fake, runner)
            yield running
            running.check()
        finally:
            runner.run(boot.__aexit__(None, None, None))

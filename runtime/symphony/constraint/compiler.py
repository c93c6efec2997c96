"""Compiles constraints off the event loop, one at a time; every tenant's wait in a line of their own.

Nothing is loaded or started before the first one. Knows no processes or files.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from symphony.constraint.grammar import Grammar
from symphony.errors import Cancelled

if TYPE_CHECKING:
    from symphony.constraint.matcher import Matcher
    from symphony.constraint.vocabulary import Tokens
    from symphony.constraint.workshop import Workshop


class Compiler:
    """Its methods belong to the event loop; `_workshop` to the thread that makes it, once it is there."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "constraint")
        self._workshop: Workshop | None = None
        self._lines: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def compile(
        self, tenant: str, model: str, tokens: Tokens, vocab_size: int, ends: Sequence[int], grammar: Grammar
    ) -> Matcher:
        """A matcher at the grammar's beginning. `ends`: the tokens that may follow a complete text, at least one.

        Raises Invalid (with the place of a mistake), LimitExceeded. Who gives up while it compiles leaves its place in
        the line taken until that is over.
        """
        grammar.check()
        asked = asyncio.Event()
        asked.set()
        work = partial(self._make, model, tokens, vocab_size, ends, grammar)
        job = asyncio.ensure_future(self._in_line(self._lines[tenant], asked, work))
        job.add_done_callback(lambda done: done.cancelled() or done.exception())  # also where nobody waits any more
        try:
            await asyncio.wait([job])  # who is cancelled here does not cancel the work
            return job.result()
        finally:
            asked.clear()

    async def _in_line(self, line: asyncio.Lock, asked: asyncio.Event, work: Callable[[], Matcher]) -> Matcher:
        async with line:  # so the others wait for one of this tenant's at most
            if not asked.is_set():
                raise Cancelled("nobody waits for this constraint any more")
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """What is being compiled fails."""
        if self._workshop is not None:
            self._workshop.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _make(self, model: str, tokens: Tokens, vocab_size: int, ends: Sequence[int], grammar: Grammar) -> Matcher:
        if self._workshop is None:
            from symphony.constraint.workshop import Workshop  # loads llguidance: only who constrains pays for it

            self._workshop = Workshop()
        return self._workshop.make(model, tokens, vocab_size, ends, grammar)

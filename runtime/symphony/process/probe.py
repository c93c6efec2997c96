"""Whether the models answer: a forward pass of the operator's own, over one token, through the core.

    asked --(last pass is older than `every`)--> passing --> answered, failed or late
          --(it is younger, or one is going on)--> what that one says

It has a session like a process', and leaves nothing behind. Knows nothing of programs or HTTP.
"""

from __future__ import annotations

import asyncio

from symphony.core.core import Core
from symphony.core.messages import Readings
from symphony.errors import SymphonyError, Unavailable
from symphony.param import PROBE_EVERY_SECONDS, PROBE_SECONDS
from symphony.syscall.inbox import Answer, Inbox

PROBE = "(probe)"
"""The tenant of its sessions: no name that anybody else can have."""


class Probe:
    """Belongs to the event loop. However many ask, one pass goes on at a time, and one each `every` seconds."""

    def __init__(
        self, core: Core, inbox: Inbox, *, every: float = PROBE_EVERY_SECONDS, seconds: float = PROBE_SECONDS
    ) -> None:
        self._core = core
        self._inbox = inbox
        self._every = every
        self._seconds = seconds
        self._passing: asyncio.Task[None] | None = None
        self._ended = 0.0

    async def check(self) -> None:
        """Return if every model has answered lately. Raises Unavailable with the reason, after `seconds` at most."""
        now = asyncio.get_running_loop().time()
        if self._passing is None or (self._passing.done() and now - self._ended >= self._every):
            self._passing = asyncio.create_task(self._ask_all())
            self._passing.add_done_callback(self._note_end)
        await asyncio.shield(self._passing)  # who asked may leave; others wait for the same answer

    async def close(self) -> None:
        if self._passing is not None:
            self._passing.cancel()
            await asyncio.gather(self._passing, return_exceptions=True)

    def _note_end(self, passing: asyncio.Task[None]) -> None:
        self._ended = asyncio.get_running_loop().time()
        if not passing.cancelled():
            passing.exception()  # seen, also if nobody waits any more

    async def _ask_all(self) -> None:
        await asyncio.gather(*(self._ask(model) for model in self._core.models()))

    async def _ask(self, model: str) -> None:
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        session = self._core.open_session(PROBE)
        op = self._inbox.register(_Receiver(answered))
        try:
            async with asyncio.timeout(self._seconds):
                file = await self._core.create(session, model)
                await self._core.pred(session, file, op, (0,), (0,), Readings(entropy=True))
                answer = await answered
            if isinstance(answer, SymphonyError):
                raise answer
        except TimeoutError:
            raise Unavailable(
                f"model {model} did not answer within {self._seconds:g} s", "it is overloaded, or its device hangs"
            ) from None
        except SymphonyError as error:
            raise Unavailable(f"model {model} cannot run: {error.message}", error.hint) from None
        finally:
            self._inbox.forget(op)
            await self._core.close_session(session)


class _Receiver:
    def __init__(self, answered: asyncio.Future[Answer]) -> None:
        self._answered = answered

    def deliver(self, answer: Answer) -> None:
        if not self._answered.done():
            self._answered.set_result(answer)

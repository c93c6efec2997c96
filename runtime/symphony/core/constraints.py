"""The constraints of all sessions, by id: each is a `Matcher` that lives here, beside the engine.

Compiling happens in a thread; masks are found on the event loop as long as they are quick there. Knows nothing of what
files hold.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from symphony.constraint.compiler import Compiler
from symphony.constraint.grammar import Grammar
from symphony.core.session import Session
from symphony.engine.engine import Engine
from symphony.engine.messages import ModelInfo
from symphony.errors import Invalid, LimitExceeded

if TYPE_CHECKING:
    from symphony.constraint.matcher import Matcher


class Constraints:
    """Every call checks that an id belongs to the session it came with; else Invalid."""

    def __init__(
        self,
        session: Callable[[int], Session],
        engine: Callable[[str | None], Engine],
        ids: itertools.count[int],
        most: int,
    ) -> None:
        """`session`, `engine`: look one up. `most`: constraints of one session."""
        self._session = session
        self._engine = engine
        self._ids = ids
        self._most = most
        self._compiler = Compiler()

    async def compile(self, session: int, model: str | None, grammar: Grammar) -> int:
        """A new constraint at its beginning; suspends. Raises NotFound (the model), Invalid, LimitExceeded."""
        owner = self._session(session)
        engine = self._engine(model)
        self._check_count(owner)
        info = engine.info
        ends = info.stop_tokens or ((info.vocab_size - 1,) if info.bos_token is None else (info.bos_token,))
        matcher = await self._compiler.compile(
            owner.tenant, info.name, engine.tokenizer, info.vocab_size, ends, grammar
        )
        self._session(session)  # it may have ended meanwhile
        self._check_count(owner)
        return self._admit(owner, matcher)

    def fork(self, session: int, constraint: int) -> int:
        """Raises LimitExceeded."""
        owner, matcher = self._session(session), self.find(session, constraint)
        self._check_count(owner)
        return self._admit(owner, matcher.fork())

    def release(self, session: int, constraint: int) -> None:
        """Idempotent."""
        self._session(session).constraints.pop(constraint, None)

    def find(self, session: int, constraint: int) -> Matcher:
        found = self._session(session).constraints.get(constraint)
        if found is None:
            raise Invalid("this constraint was closed, or never was", "make another one")
        return found

    def consume(self, session: int, constraint: int, tokens: Sequence[int]) -> None:
        """Raises Invalid, changing nothing."""
        self.find(session, constraint).consume(tokens)

    def rollback(self, session: int, constraint: int, count: int) -> None:
        """Raises Invalid."""
        self.find(session, constraint).rollback(count)

    async def mask(self, session: int, constraint: int, file: int | None = None) -> bytes:
        """See `Matcher.mask`; with `file`, for that file. Suspends only where it would hold up the loop otherwise.

        Raises LimitExceeded, Invalid (the file is of another model).
        """
        matcher = self.find(session, constraint)
        if file is not None and (handle := self._session(session).files.get(file)) is not None:
            check_model(matcher, handle.loop.info)
        if matcher.known or not matcher.slow:
            return matcher.mask()
        return await asyncio.get_running_loop().run_in_executor(None, matcher.mask)

    def forced(self, session: int, constraint: int) -> list[int]:
        return self.find(session, constraint).forced()

    def complete(self, session: int, constraint: int) -> bool:
        return self.find(session, constraint).complete

    def done(self, session: int, constraint: int) -> bool:
        return self.find(session, constraint).done

    def close(self) -> None:
        """No more are compiled."""
        self._compiler.close()

    def fork_for(self, session: int, constraint: int, info: ModelInfo) -> Matcher:
        """A copy that a generation with this model takes along. Raises Invalid (it is of another model)."""
        matcher = self.find(session, constraint)
        check_model(matcher, info)
        return matcher.fork()

    def _admit(self, owner: Session, matcher: Matcher) -> int:
        number = next(self._ids)
        owner.constraints[number] = matcher
        return number

    def _check_count(self, owner: Session) -> None:
        if len(owner.constraints) >= self._most:
            raise LimitExceeded(
                f"the process has {self._most} constraints, the limit", "close those that are not needed"
            )


def check_model(matcher: Matcher, info: ModelInfo) -> None:
    """Raises Invalid."""
    if matcher.model != info.name:
        raise Invalid(
            f"the constraint is of the model {matcher.model}, the file of {info.name}", "make it for the file's model"
        )

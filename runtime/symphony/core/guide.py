"""A constraint that goes along with a generation: which tokens may come, which must, and when nothing can.

It owns its matcher, a copy of the caller's. Masks are looked for before a row is made, so that one that cannot be found
fails this generation alone. Knows nothing of files or steps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from symphony.errors import InternalError, SymphonyError

if TYPE_CHECKING:
    from symphony.constraint.matcher import Matcher

Tokens = Sequence[int]


class ConstraintGuide:
    """See `generation.Guide`."""

    __slots__ = ("_masks", "_matcher", "_stops")

    def __init__(self, matcher: Matcher, stop_tokens: frozenset[int]) -> None:
        """`stop_tokens`: what the caller takes for the end is allowed wherever the text is complete."""
        self._matcher = matcher
        self._stops = stop_tokens
        self._masks: list[bytes] = []
        """Of the next token, and of the one behind each draft that was kept."""

    def push(self, token: int) -> None:
        self._masks.clear()
        self._matcher.accept(token)  # or it is a stop token that the grammar does not know: the end either way

    def forced(self) -> Tokens:
        return () if self._matcher.done else self._matcher.forced()

    @property
    def over(self) -> bool:
        return self._matcher.done

    def prepare(self, ready: Callable[[SymphonyError | None], None]) -> bool:
        """Have the mask of the next token at hand. False: it takes its time elsewhere, and `ready` is called, with what
        went wrong if something did. Raises LimitExceeded."""
        if self._matcher.done or self._matcher.known or not self._matcher.slow:
            self._first()
            return True
        looking = asyncio.get_running_loop().run_in_executor(None, self._matcher.mask)
        looking.add_done_callback(lambda found: ready(_error(found)))
        return False

    def keep(self, drafts: Tokens) -> Tokens:
        masks, scout = [self._first()], self._matcher.fork()
        for draft in drafts:
            if scout.done or scout.slow or not scout.accept(draft):  # one slow mask is enough for the event loop
                break
            try:
                masks.append(scout.mask(self._stops))
            except SymphonyError:  # it goes as far as it goes: nothing says that the model goes there
                break
        self._masks = masks
        return drafts[: len(masks) - 1]

    def allowed(self, drafts: Tokens) -> bytes:
        return b"".join(self._masks[: len(drafts) + 1]) if self._masks else self._first()

    def _first(self) -> bytes:
        return self._matcher.mask(self._stops)


def _error(found: asyncio.Future[bytes]) -> SymphonyError | None:
    error = found.exception()
    if error is None or isinstance(error, SymphonyError):
        return error
    return InternalError(f"the host failed on a constraint: {error!r}", "its log has the details")

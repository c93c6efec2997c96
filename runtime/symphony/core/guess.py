"""A prediction that nobody has asked for yet: its token is a guess at what a guest will say.

A guest that chooses its tokens itself mostly says the most probable one. So the row for that token is launched right
after the answer that names it, and the guest, which is told meanwhile, finds its next answer on the way, or there.

    answer n ─▶ WAITING ──launched──▶ RUNNING ──over──▶ KNOWN ──asked──▶ answered at once
                   │                     │
                   └────────asked────────┴─▶ a prediction like any other; asked for another token than the guessed one,
                                             its row in flight is `stale`, and it has a row of its own in the next step
    any state ── the guest does something else with the file ──▶ given up: nothing has happened

While a guess lives its file is busy, and has the guessed token for the operation only, as with any other; who comes for
the file through its handle has the guess given up first. A guess takes no page, displaces no row, and shows in no file
and no usage. Whether it pays is judged for each handle by its `score`. Knows no engine and no batch. Reasons: ADR 10.
"""

from __future__ import annotations

from symphony.core.operation import Prediction
from symphony.core.session import Handle
from symphony.engine.messages import Row, RowResult

GUESS_SCORE = 8
"""From this score on guesses are made."""
TOP_SCORE = 16
MISSED = 4
"""What a guest that does not say the expected token loses; one that does gets 1. So guesses are made where more than
four of five would be right."""


class Guess(Prediction):
    """In `StepLoop.guesses`, not in `active`, until somebody asks."""

    __slots__ = ("_row_before", "asked", "stale", "token")

    def __init__(self, before: Prediction, token: int) -> None:
        """Behind a prediction that is answered; the file has `token`, for the operation only."""
        file = before.file
        super().__init__(0, before.session, before.handle, before.since, (file.length,), before.readings)
        self.token = token
        self.asked = False
        self.stale = False
        """The row in flight is for a token that the guest did not say."""
        self._row_before: Row | None = None
        """The row that was run last, if nothing but the token has changed since."""
        self.reserved = len(file.pages) * file.arena.page_size
        self.group = file.pages[0]

    def renew(self, token: int) -> None:
        """It is answered, and the file has another token: what was a guess that came true is the next guess. The page
        that it wrote has room for it."""
        file = self.file
        self.id = 0
        self.asked = False
        self.token = token
        self.answers = ()
        self.wanted = (file.length,)
        self.prompt_end = len(file.tokens)
        self.work = 1

    def refresh(self) -> None:
        super().refresh()
        self._row_before = None

    def row(self, count: int) -> Row:
        file, row = self.file, self._row_before
        if row is None:
            row = super().row(count)
            if count == 1:
                self._row_before = row
        else:  # nobody has it any more
            row.start = start = file.computed
            row.tokens = (file.tokens[start],)
        return row


def foretells(operation: Prediction, count: int, result: RowResult, context_limit: int) -> bool:
    """Whether a guess may follow the row, which has come back. It must complete a prediction of a plain file that
    nobody else can reach, and the page just written must have room for another entry."""
    handle, file, readings = operation.handle, operation.file, result.readings
    computed, total = file.computed, len(file.tokens)
    return (
        handle.score >= GUESS_SCORE
        and computed < total == computed + count
        and total % file.arena.page_size != 0
        and total < context_limit
        and result.error is None
        and not operation.cancelled
        and operation.doom is None
        and file.opens == 1
        and not file.names
        and (operation.__class__ is Guess or _may_be_first(operation))
        and len(readings) == 1
        and bool(readings[0].top_ids)
    )


def _may_be_first(operation: Prediction) -> bool:
    """The same, of what is so of every guess."""
    return (
        operation.readings is operation.handle.asked
        and len(operation.wanted) == 1
        and not operation.answers
        and operation.file.derived is None
    )


def judge(handle: Handle, right: bool) -> None:
    """The guest went on with the expected token, or did something else."""
    if not right:
        handle.score = max(handle.score - MISSED, 0)
    elif handle.score < TOP_SCORE:
        handle.score += 1

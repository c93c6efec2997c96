"""The guesses of one engine: made when an answer comes, launched with the next step, asked for or given up.

What a guess is, and when one may follow a row, is in guess.py; this module keeps them, between the step loop, which
runs them, and callers, who ask. Knows nothing of engines or batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from symphony.core.guess import TOP_SCORE, Guess, foretells, judge
from symphony.core.messages import Reading
from symphony.core.operation import Operation, Prediction
from symphony.core.operations import Operations
from symphony.core.session import Handle
from symphony.engine.messages import RowResult
from symphony.kvfs.arena import Arena
from symphony.kvfs.kvfs import Kvfs
from symphony.sched.dispatch import Dispatch


class Guessing(Operations):
    """The part of `StepLoop` that runs ahead of guests."""

    def __init__(
        self,
        arena: Arena,
        kvfs: Kvfs,
        dispatch: Dispatch,
        clock: Callable[[], float],
        context_limit: int,
        guesses: bool,
    ) -> None:
        super().__init__(arena, kvfs, dispatch, clock)
        self.guesses: dict[Guess, None] = {}
        """Those that nobody has asked for; those given up too, while their row is in flight."""
        self.guessed = 0
        """Guesses made so far..."""
        self.guessed_right = 0
        """...that guests asked for."""
        self._context_limit = context_limit
        self._guessing = guesses
        """Whether any are made."""
        self._fresh: list[Guess] = []
        """Those that the next step should run, and some that it need not any more."""

    # ---- from the step loop ------------------------------------------------------------------------------------------
    def _foretell(self, operation: Prediction, count: int, result: RowResult) -> bool:
        """Go on where the row ends, if its guest is likely to; the operation's file is settled then, and who asked is
        still to be told."""
        if not foretells(operation, count, result, self._context_limit):
            return False
        token, file, handle = result.readings[0].top_ids[0], operation.file, operation.handle
        self.active.pop(operation, None)
        operation.session.operations.pop(operation.id, None)
        self._kvfs.go_on(file, token)
        file.touched = operation.since
        if isinstance(operation, Guess):
            operation.renew(token)
            guess = operation
        else:
            guess = Guess(operation, token)
        handle.operation = None
        handle.guess = guess
        self.guesses[guess] = None
        self._fresh.append(guess)
        self.guessed += 1
        return True

    def _take_fresh(self, room: int) -> list[Guess]:
        """Guesses for the next step: all, if there are at most so many, else none."""
        fresh = [g for g in self._fresh if g.handle.guess is g and not g.running and not g.answers]
        self._fresh.clear()
        if len(fresh) <= room:
            return fresh
        for guess in fresh:
            self.give_up(guess)
        return []

    def _heed(self, guess: Guess, result: RowResult) -> None:
        """The row of a guess is over that nobody has asked for, or for another token."""
        stale, guess.stale = guess.stale, False
        if guess.cancelled:
            self._end(guess)
        elif guess.doom is not None:
            self.fail(guess, guess.doom)
        elif stale:
            pass  # now it has its turn
        elif result.error is not None:
            self.give_up(guess)
        else:
            guess.answers = result.readings

    def spare(self) -> None:
        """Somebody lacks pages: guesses let go of their files, except those that a step runs."""
        for guess in list(self.guesses):
            if not guess.running:
                self.give_up(guess)

    # ---- from callers ------------------------------------------------------------------------------------------------
    def ask(self, guess: Guess, op: int, token: int, now: float) -> None:
        """The guest goes on with that token, guessed or not, and wants to know what it wanted of the one before."""
        handle, session = guess.handle, guess.session
        del self.guesses[guess]
        handle.guess = None
        guess.id, guess.since, guess.asked = op, now, True
        session.operations[op] = handle.operation = guess
        right = token == guess.token
        if not right or handle.score < TOP_SCORE:
            judge(handle, right)
        if not right:
            self._kvfs.amend(guess.file, token)
            guess.stale, guess.answers = guess.running > 0, ()
        else:
            self.guessed_right += 1
            if guess.answers:
                self._answer_known(guess, op, guess.answers, now)
                return
        if guess.running:
            self.active[guess] = None  # nobody waits for it, nor is it waited for
        else:
            self.submit(guess)

    def give_up(self, guess: Guess) -> None:
        """Nobody will ask. The file is as it was, at once or (`quiet`) when no step touches it any more."""
        handle = guess.handle
        handle.guess, handle.expected = None, guess.token
        self.cancel(guess)

    def disturb(self, handle: Handle) -> None:
        """Somebody comes for the file of the handle with something else than was guessed."""
        if handle.guess is not None:
            judge(handle, False)
            self.give_up(handle.guess)

    # ---- the inside --------------------------------------------------------------------------------------------------
    def _answer_known(self, guess: Guess, op: int, readings: Sequence[Reading], now: float) -> None:
        guess.answers = ()
        if self._foretell(guess, 1, RowResult(readings)):
            self._wake()
        else:
            self._kvfs.complete(guess.file)
            self._leave(guess, now)
        self._tell(guess, op, 1, readings, now)

    def _forget(self, operation: Operation) -> None:
        if isinstance(operation, Guess) and not operation.asked:
            operation.handle.guess = None
            del self.guesses[operation]
        super()._forget(operation)

    def _outlives(self, guess: Guess) -> bool:
        """Its step is lost, and its K/V suspended. False: it fails like any other operation."""
        if guess.cancelled or guess.doom is not None or (guess.asked and not guess.stale):
            return False
        guess.stale = False
        if not guess.asked:
            self.give_up(guess)
        return True

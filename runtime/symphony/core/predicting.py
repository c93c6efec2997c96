"""What the core answers about predictions: checks what callers say, and gives the step loop an operation.

What a prediction wants of the model, and what it makes of the answer, is in operation.py; files are in files.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from symphony.core.checks import check_context, check_ids, check_readings, wanted_entries
from symphony.core.files import Files
from symphony.core.guess import judge
from symphony.core.kept import KeptRows
from symphony.core.loop import StepLoop
from symphony.core.messages import Part, Readings
from symphony.core.operation import KeepingPrediction, Operation, Prediction
from symphony.core.session import Handle, Session
from symphony.core.shape import Placement, Shape, place
from symphony.engine.messages import ModelInfo
from symphony.errors import Busy, InternalError, Invalid, LimitExceeded, SymphonyError
from symphony.kvfs.file import File
from symphony.kvfs.modes import READ, WRITE, require

_OWN = READ | WRITE
"""What a mode gives its owner."""
_LAST = (0,)


class Predicting(Files):
    """The part of `Core` that starts predictions, and whatever else starts."""

    kept: KeptRows
    """What callers say about distributions that were kept goes there."""

    # ---- operations ----------------------------------------------------------------------------------------------
    async def pred(
        self,
        session: int,
        file: int,
        op: int,
        tokens: Sequence[int],
        outputs: Sequence[int],
        readings: Readings,
        shape: Shape | None = None,
    ) -> None:
        """Append `tokens` and run the model over them; `outputs`, ascending, index into them. Without tokens ask again
        about the last entry, `outputs` being `(0,)`. `op`: a new id; the answer comes through `connect`.

        Raises Invalid, PermissionDenied, Busy, LimitExceeded.
        """
        owner = self._session(session)
        handle = self._handle(owner, file)
        if shape is None and self._continue(owner, handle, op, tokens, outputs, readings):
            return
        await self._quiet(session, file)
        owner = self._session(session)
        self._predict(owner, self._handle(owner, file), op, tokens, outputs, readings, shape)

    def predict(
        self,
        session: int,
        file: int,
        op: int,
        tokens: Sequence[int],
        outputs: Sequence[int],
        readings: Readings,
        shape: Shape | None = None,
    ) -> None:
        """As `pred`, for who waits for the answer anyway: never suspends; what is wrong is raised, or delivered."""
        owner = self._sessions.get(session)
        handle = None if owner is None else owner.files.get(file)
        if owner is None or handle is None:
            self._handle(self._session(session), file)  # says which
        elif shape is None and self._continue(owner, handle, op, tokens, outputs, readings):
            pass
        else:
            handle.loop.disturb(handle)
            if handle.file in handle.loop.dying:
                started = asyncio.ensure_future(self.pred(session, file, op, tokens, outputs, readings, shape))
                started.add_done_callback(lambda _: _tell(started, handle.loop, op))
            else:
                self._predict(owner, handle, op, tokens, outputs, readings, shape)

    def _continue(
        self, owner: Session, handle: Handle, op: int, tokens: Sequence[int], outputs: Sequence[int], readings: Readings
    ) -> bool:
        """What `_predict` does of most tokens that a guest chooses, sooner: one more token for an idle file of its own,
        asked about as the token before it was. False: it is not that, and nothing has happened."""
        if readings is not handle.asked or len(tokens) != 1 or outputs != _LAST:
            return False
        file, operations, loop = handle.file, owner.operations, handle.loop
        guess, token = handle.guess, tokens[0]
        if len(operations) >= self._config.max_operations or op in operations or file.mode & _OWN != _OWN:
            return False
        if guess is not None and token == guess.token:  # the rest was looked at when it was made
            loop.ask(guess, op, token, self._config.clock())
            return True
        who, length, info = owner.who, file.length, loop.info
        if (
            (file.busy and guess is None)
            or file.owner != who.owner
            or file.tenant != who.tenant
            or file.derived is not None
            or not 0 <= token < info.vocab_size
            or length >= info.context_limit
        ):
            return False
        if guess is not None:
            loop.ask(guess, op, token, self._config.clock())
            return True
        judge(handle, token == handle.expected)
        self._kvfs.begin(file, tokens)
        operation = Prediction(op, owner, handle, self._config.clock(), (length,), readings)
        operations[op] = handle.operation = operation
        loop.submit(operation)
        return True

    def _predict(
        self,
        owner: Session,
        handle: Handle,
        op: int,
        tokens: Sequence[int],
        outputs: Sequence[int],
        readings: Readings,
        shape: Shape | None,
    ) -> None:
        wanted, placement = self._check_pred(owner, handle, op, tokens, outputs, readings, shape)
        self._begin_pred(owner, handle, op, tokens, wanted, readings, placement)

    async def pred_all(self, session: int, parts: Sequence[Part], readings: Readings) -> list[list[int]]:
        """As `pred` for each part: all start, or none. Raises as `pred`; Busy also for a file that is named twice.

        Returns, for each part, the numbers of the rows that it keeps (`KeptRows`).
        """
        for part in parts:
            await self._quiet(session, part.file)
        owner = self._session(session)
        handles = [self._handle(owner, part.file) for part in parts]
        if len({handle.file for handle in handles}) < len(parts):
            raise Busy("a file is named twice", "make one prediction of its parts, or fork it")
        checked: list[tuple[Sequence[int], Placement | None]] = []
        for part, handle in zip(parts, handles, strict=True):
            self._kvfs.check_idle(handle.file)
            checked.append(self._check_pred(owner, handle, part.op, part.tokens, part.outputs, readings, part.shape))
        if parts:
            self._check_operations(owner, len(parts))
            check_readings(readings, sum([len(part.outputs) for part in parts]), handles[0].loop.info)
            keeping = [wanted for part, (wanted, _) in zip(parts, checked, strict=True) if part.keep]
            self.kept.check(owner, sum(map(len, keeping)))
        kept: list[list[int]] = []
        for part, handle, (wanted, placement) in zip(parts, handles, checked, strict=True):
            kept.append(self.kept.add(owner, handle.loop.engine, wanted) if part.keep else [])
            self._begin_pred(owner, handle, part.op, part.tokens, wanted, readings, placement, kept[-1])
        return kept

    def _check_pred(
        self,
        owner: Session,
        handle: Handle,
        op: int,
        tokens: Sequence[int],
        outputs: Sequence[int],
        readings: Readings,
        shape: Shape | None,
    ) -> tuple[Sequence[int], Placement | None]:
        """The wanted entries, and how the tokens are placed."""
        kv, info = handle.file, handle.loop.info
        self._check_start(owner, op, kv, tokens, info, shape is not None and shape.positions is not None)
        check_readings(readings, len(outputs), info)
        if len(outputs) == 1:
            handle.asked = readings
        wanted = wanted_entries(outputs, len(tokens), kv.length)
        return wanted, None if shape is None else place(shape, kv, len(tokens), info)

    def _begin_pred(
        self,
        owner: Session,
        handle: Handle,
        op: int,
        tokens: Sequence[int],
        wanted: Sequence[int],
        readings: Readings,
        placement: Placement | None,
        keep: Sequence[int] = (),
    ) -> None:
        kv = handle.file
        self._kvfs.begin(kv, tokens)
        if placement is not None and tokens:
            self._kvfs.derive(kv, placement.first, placement.positions)
        now = self._config.clock()
        if keep:
            forget = partial(self.kept.lose, owner, handle.loop.engine)
            prediction = KeepingPrediction(op, owner, handle, now, wanted, readings, placement, keep, forget)
            self._start(prediction)
        else:
            self._start(Prediction(op, owner, handle, now, wanted, readings, placement))

    def forget(self, session: int, rows: Sequence[int]) -> None:
        """Nobody will ask about these rows any more. Idempotent."""
        owner = self._sessions.get(session)
        if owner is not None:
            self.kept.forget(owner, rows)

    # ---- the inside ----------------------------------------------------------------------------------------------
    def _start(self, operation: Operation) -> None:
        operation.session.operations[operation.id] = operation
        operation.handle.operation = operation
        operation.handle.loop.submit(operation)

    def _check_start(
        self, session: Session, op: int, file: File, tokens: Sequence[int], info: ModelInfo, placed: bool = False
    ) -> None:
        """`placed`: the tokens come at positions of their own."""
        require(file, session.who, READ | WRITE)
        total = file.length + len(tokens)
        if not total:
            raise Invalid("the file is empty and no tokens were given", "give at least one token")
        if file.positions is not None and not placed:
            total += file.ahead
        if total > info.context_limit:
            check_context(total, info)
        if tokens:
            check_ids(tokens, info)
        if len(session.operations) >= self._config.max_operations:
            self._check_operations(session)
        if op in session.operations:
            raise Invalid(f"operation {op} is in flight already", "choose a new id")

    def _check_operations(self, session: Session, more: int = 1) -> None:
        if len(session.operations) + more > self._config.max_operations:
            raise LimitExceeded(
                f"the process has {len(session.operations)} operations in flight, the limit", "wait for some of them"
            )


def _tell(started: asyncio.Future[None], loop: StepLoop, op: int) -> None:
    """A prediction that had to wait for its file could, or could not, be started."""
    error = None if started.cancelled() else started.exception()
    if error is not None:
        loop.deliver(op, error if isinstance(error, SymphonyError) else InternalError(f"the host failed: {error!r}"))

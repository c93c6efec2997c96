"""Operations in flight: what each wants next of the model, and what it makes of the answer. Predictions and transfers
are here, generations and drafts in modules of their own.

                    pages reserved                  last wanted entry answered / stop
    WAITING ───────────────────────▶ ADMITTED ───────────────────────────────────────▶ ENDED
       ▲                               │  ▲ │                                             ▲
       │            preempted          │  │ └─ run_ahead reached, or finished ▶ PARKED ───┤ last chunk taken
       └───────────────────────────────┘  └──────── next() took a chunk ────────┘         │
                                                                                          │
    any state ── cancel, error ───────────────────────────────────────────────────────────┘
    `running` (steps in flight touch its pages): its end is put off until they have retired

WAITING and ADMITTED operations are in `StepLoop.active` (`reserved` tells them apart), PARKED ones in
`StepLoop.parked`: generations that wait for their guest or their drafts, and drafts that nobody asks for. While an
operation lives its file is busy, and `file.tokens` has the operation's tokens behind the file's own: work is always
`file.tokens[file.computed:]`, and drafts. This module touches no page and knows no engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from symphony.core.messages import Reading
from symphony.core.session import Handle, Session
from symphony.core.shape import Placement
from symphony.engine.messages import Readings, Row, Sampling
from symphony.errors import SymphonyError
from symphony.kvfs.file import File
from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.transfer import Run

_LAST = (0,)
NOTHING = Readings()
"""Of rows that ask for nothing."""


class Operation:
    """What all kinds have. Also a `sched.batch.Job`."""

    __slots__ = (
        "cancelled",
        "doom",
        "drawn",
        "file",
        "group",
        "handle",
        "horizon",
        "id",
        "penalised",
        "place",
        "prompt_end",
        "reserved",
        "running",
        "session",
        "since",
        "tenant",
        "waiters",
        "work",
    )

    free_running = False
    """Whether it goes on without its guest."""

    @property
    def nice(self) -> int:
        return self.session.nice

    @property
    def deadline(self) -> float:
        return self.session.deadline

    def __init__(self, op: int, session: Session, handle: Handle, now: float, sampling: Sampling | None) -> None:
        self.id = op
        self.session = session
        self.tenant = session.tenant
        self.handle = handle
        self.file = handle.file
        self.since = now
        self.group = 0
        """The leading page of the next row, 0 for none: rows of the same prefix have it in common."""
        self.work = 0
        """Tokens to run next, at least 1; set by `refresh`."""
        self.penalised = sampling is not None and sampling.needs_history
        self.prompt_end = len(self.file.tokens)
        """Entries before this one were given, not drawn."""
        self.reserved = 0
        """Entries that the file's pages have room for; 0: waiting for pages."""
        self.running = 0
        """Steps in flight that touch its pages."""
        self.place = -1
        """Of the row in the step launched last, if that draws."""
        self.drawn = 0
        """Tokens, by a generation."""
        self.horizon = 0
        """While `drawn` is less, a token drawn, unless it is a stop token, changes nothing but counts."""
        self.cancelled = False
        self.doom: SymphonyError | None = None
        """Why it ends when it is not running any more."""
        self.waiters: tuple[asyncio.Future[None], ...] = ()
        """Who waits until this cancelled operation has let go of its file."""

    @property
    def files(self) -> Sequence[File]:
        """The files that it is in flight on."""
        return (self.file,)

    @property
    def foreseeable(self) -> bool:
        """Its next row can be launched while the one in flight draws the token that it needs: nothing but that token
        is open, unless the operation ends with it."""
        return False

    def following(self) -> Row:
        """That row."""
        raise NotImplementedError

    def complete(self) -> bool:
        """Nothing is left for the model to do."""
        raise NotImplementedError

    def release(self, kvfs: Kvfs) -> None:
        """It is over: its files settle."""
        kvfs.settle(self.file, self.kept)

    @property
    def kept(self) -> int:
        """The length that the file has if the operation ends now."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Something changed `computed` or the tokens: find the work again."""
        file = self.file
        self.work = len(file.tokens) - file.computed or 1

    def reuse_limit(self) -> int:
        """Entries that may come from the prefix cache instead of the model."""
        raise NotImplementedError

    def reach(self) -> int:
        """Entries that pages are reserved for at the next reservation."""
        raise NotImplementedError

    def row(self, count: int) -> Row:
        """Its row in the next step: the next `count` tokens of its work."""
        raise NotImplementedError

    def absorb(self, readings: Sequence[Reading]) -> int:
        """The row came back: `file.computed` is up to date, `readings` belong to the outputs that `row` asked for.
        Returns how many entries more have K/V now, of tokens that the file has got by them."""
        raise NotImplementedError

    def _row(
        self, count: int, outputs: Sequence[int], readings: Readings, generated: int, drafts: Sequence[int] = ()
    ) -> Row:
        """`drafts` are the last of the `count` tokens; the file does not have them."""
        file = self.file
        tokens, start, pages = file.tokens, file.computed, file.pages
        write = start < len(tokens)
        if not write:
            start -= 1
        end = start + count
        given = (tokens[start],) if count == 1 else tokens[start:end].tolist()
        pages = pages[: -(-end // file.arena.page_size)]  # a copy: the file's own may grow before the step has begun
        if drafts:
            given = [*tokens[start:].tolist(), *drafts]
        if not self.penalised or not outputs:
            row = Row(given, start, pages, outputs, readings, write)
        else:
            row = Row(given, start, pages, outputs, readings, write, [*tokens[:end].tolist(), *drafts], generated)
        return self._positioned(row)

    def _positioned(self, row: Row) -> Row:
        """The row, which says where it stands if its file's positions are not the usual ones."""
        file = self.file
        if file.derived is not None:
            row.position = file.position(row.start)
            row.earlier = file.positions or ()
        return row


class Prediction(Operation):
    """`wanted`: entries after which a distribution is wanted, ascending."""

    __slots__ = ("answers", "placement", "readings", "wanted")

    def __init__(
        self,
        op: int,
        session: Session,
        handle: Handle,
        now: float,
        wanted: Sequence[int],
        readings: Readings,
        placement: Placement | None = None,
    ) -> None:
        super().__init__(op, session, handle, now, readings.sample)
        self.wanted = wanted
        self.readings = readings
        self.placement = placement
        self.answers: Sequence[Reading] = ()
        self.work = len(self.file.tokens) - self.file.computed or 1

    def complete(self) -> bool:
        return self.file.computed == len(self.file.tokens) and len(self.answers) == len(self.wanted)

    @property
    def kept(self) -> int:
        return self.file.length

    def reuse_limit(self) -> int:
        # The last entry can be asked again when its K/V is there; any other wanted entry has to be run.
        left = self.wanted[len(self.answers) :]
        length = len(self.file.tokens)
        return length if not left or left[0] == length - 1 else left[0]

    def reach(self) -> int:
        return len(self.file.tokens)

    def row(self, count: int) -> Row:
        if self.placement is not None:
            return self._placed(count, self.placement)
        file, wanted, done = self.file, self.wanted, len(self.answers)
        tokens, start = file.tokens, file.computed
        length = len(tokens)
        plain = file.derived is None and not self.penalised
        if plain and count == 1 and start + 1 == length and wanted and wanted[-1] == start:
            pages = file.pages[: start // file.arena.page_size + 1]
            return Row((tokens[start],), start, pages, _LAST, self.readings)  # most tokens of a guest, sooner
        if start == length:
            return self._row(1, (0,), self.readings, 0)
        end = start + count
        if end == length and done + 1 == len(wanted):
            outputs: Sequence[int] = (wanted[done] - start,)
        else:
            outputs = [entry - start for entry in wanted[done:] if entry < end]
        return self._row(count, outputs, self.readings, 0)

    def _placed(self, count: int, placement: Placement) -> Row:
        """A row out of the ordinary. An entry that is asked again under a mask is computed without it first."""
        file = self.file
        again = placement.first < file.length
        start = file.computed - (file.computed == len(file.tokens))
        end = start + count
        outputs = [entry - start for entry in self.wanted[len(self.answers) :] if entry < end]
        if again and file.computed < len(file.tokens):
            return self._row(count, (), NOTHING, 0)
        row = self._row(count, outputs, self.readings, 0)
        row.position = file.position(start)
        row.masks = placement.masks_of(start, end)
        if placement.positions is not None and end > placement.first:
            row.positions = [file.position(entry) for entry in range(start, end)]
        return row

    def absorb(self, readings: Sequence[Reading]) -> int:
        self.answers = [*self.answers, *readings] if self.answers else readings
        if self.readings.sample is not None:
            self.session.usage.generated_tokens += len(readings)
            self.handle.loop.meter.generated += len(readings)
        self.refresh()
        return 0


class KeepingPrediction(Prediction):
    """Its distributions are kept: there is a number for each of `wanted`."""

    __slots__ = ("_forget", "_keep")

    def __init__(
        self,
        op: int,
        session: Session,
        handle: Handle,
        now: float,
        wanted: Sequence[int],
        readings: Readings,
        placement: Placement | None,
        keep: Sequence[int],
        forget: Callable[[Sequence[int]], None],
    ) -> None:
        """`forget`: what is to be done with the numbers if it fails."""
        super().__init__(op, session, handle, now, wanted, readings, placement)
        self._keep = keep
        self._forget = forget

    def row(self, count: int) -> Row:
        row, done = super().row(count), len(self.answers)
        row.keep = self._keep[done : done + len(row.outputs)]
        return row

    def release(self, kvfs: Kvfs) -> None:
        super().release(kvfs)
        self._forget(self._keep)


class Transfer(Operation):
    """Entries of `source` go behind those of `target`, with the K/V that they have (extract, append-from).

    First the model completes what either file lacks, the target before the source; `file` is the one that it works on.
    Then both have their K/V on the device (`present`) and the entries are copied beside a step.
    """

    __slots__ = ("copying", "done", "present", "runs", "source", "target")

    free_running = True

    def __init__(
        self, op: int, session: Session, handle: Handle, now: float, source: File, target: File, runs: Sequence[Run]
    ) -> None:
        super().__init__(op, session, handle, now, None)
        self.source = source
        self.target = target
        self.runs = runs
        self.prompt_end = max(len(source.tokens), len(target.tokens))
        self.present = False
        self.copying = False
        self.done: asyncio.Future[SymphonyError | None] = asyncio.get_running_loop().create_future()
        """Its end, and why it failed."""
        self.refresh()

    @property
    def files(self) -> Sequence[File]:
        return (self.target,) if self.target is self.source else (self.target, self.source)

    def complete(self) -> bool:
        return False

    def release(self, kvfs: Kvfs) -> None:
        target, source = self.target, self.source
        kvfs.settle(target, len(target.tokens) if self.copying and not self.cancelled else target.length)
        if source is not target:
            kvfs.settle(source, source.length)

    def refresh(self) -> None:
        for file in (self.target, self.source):
            goal = self._goal(file)
            if file.slots or file.move is not None or file.computed < goal:
                if file is not self.file or self.reserved < 0:
                    self.file, self.reserved = file, 0
                self.work = max(goal - file.computed, 1)
                self.present = False
                return
        self.present = True
        self.reserved = -1  # less than even an empty file has: it is looked at again

    def reuse_limit(self) -> int:
        return self._goal(self.file)

    def reach(self) -> int:
        return self._goal(self.file)

    def row(self, count: int) -> Row:
        return self._row(count, (), NOTHING, 0)

    def absorb(self, readings: Sequence[Reading]) -> int:
        self.refresh()
        return 0

    def _goal(self, file: File) -> int:
        if file is self.target:
            return file.length
        return max([run.end for run in self.runs])

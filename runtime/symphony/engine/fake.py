"""An engine without a model: deterministic, no torch; for tests, simulations and measuring the host alone.

Its pages hold, in place of keys and values, what `contents` describes. So a row over plain entries can prove that it
sees exactly its own history: a stale, foreign, unwritten or concurrently written page is an error of the row. A row
over derived entries (it gives its `position`) sees whatever its pages hold and its masks show, as long as it was
written. In both cases the next token is a function of all that is seen, which a plain list of tokens or entries
reproduces (`FakeEngine.greedy`, `greedy_after`).

The distribution after an entry is geometric: the most probable token is derived from that context's hash, token
`(best + d) mod vocabulary` has probability 2^-(d+1). Drawing with a temperature takes d from (seed, entry index,
context); `logit_bias` and the penalties are ignored.

Steps that were launched run strictly one after the other; their pages are watched from the launch on.

`FakeEngine(check=False)` skips all that and answers every question with fixed readings, as fast as Python can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace

from symphony.engine.chat import ChatTemplate
from symphony.engine.contents import Content, Entry, content_in, content_of, context, hash_of, seen
from symphony.engine.fake_memory import DEVICE, MOVE, STEP, FakeMemory, image_bytes
from symphony.engine.fake_readings import masks_of, read
from symphony.engine.fake_tokenizer import CHATML, SPECIAL, ByteTokenizer
from symphony.engine.messages import Batch, ImageShape, Mask, ModelInfo, Question, Reading, Readings, Row, RowResult
from symphony.engine.tokenizer import Tokenizer
from symphony.errors import InternalError

FIXED_TOKEN = ord("a")
"""What the engine that does not check draws."""
FOLLOWS_A_FAILURE = "the row that it follows failed"
Moves = Sequence[tuple[int, int]]


class FakeEngine:
    """`step_seconds` says how long a step takes (0: it does not suspend), `move_seconds` a move; what it raises is the
    failure of the move. `sleep` is how they let that time pass.

    `script` may fix the most probable token by the index of the entry to come, None where it has no opinion.
    `pipelined` is what the engine says of itself.
    """

    def __init__(
        self,
        name: str = "fake",
        *,
        pages: int = 1024,
        page_size: int = 16,
        context_limit: int = 8192,
        vocab_size: int = 256 + len(SPECIAL),
        check: bool = True,
        host_pages: int = 0,
        step_seconds: Callable[[Batch], float] | float = 0.0,
        move_seconds: Callable[[Moves, Moves], float] | float = 0.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        script: Callable[[int], int | None] | None = None,
        pipelined: bool = False,
    ) -> None:
        self._info = ModelInfo(
            name=name,
            vocab_size=vocab_size,
            context_limit=context_limit,
            page_size=page_size,
            pages=pages,
            stop_tokens=(256, 258),
            bos_token=None,
            digest=f"fake:{name}",
            device="none",
            host_pages=host_pages,
            image_bytes=image_bytes(page_size),
            image_shape=ImageShape("U8", (), (image_bytes(1),)),
        )
        self._tokenizer = ByteTokenizer(vocab_size)
        self._chat = ChatTemplate(CHATML)
        self._check = check
        self._step_seconds = step_seconds
        self._move_seconds = move_seconds
        self._sleep = sleep
        self._script = script
        self._pipelined = pipelined
        self._launched: asyncio.Task[list[RowResult]] | None = None
        """The last one."""
        self._flying = 0
        """Steps that were launched and are not over."""
        sizes = (pages, host_pages) if check else (0, 0)
        self._memory = FakeMemory(*sizes, page_size, context_limit)
        self._fixed: dict[Readings, Reading] = {}
        self.kept: dict[int, tuple[Content, int]] = {}
        """Of distributions that are kept: the context, and the index of the entry to come."""
        self.steps = 0
        self.rows = 0
        self.tokens = 0
        """Tokens run so far, re-queries included."""
        self.moved = 0
        """Pages moved so far, either way."""

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    @property
    def chat(self) -> ChatTemplate | None:
        return self._chat

    @property
    def pipelined(self) -> bool:
        return self._pipelined

    def describe(self) -> dict[str, str]:
        pages, host_pages = str(self._info.pages), str(self._info.host_pages)
        parts = {"pages": pages, "host pages": host_pages, "checked": str(self._check)}
        return {"device": "none", "attention": "none"} | parts

    def close(self) -> None:
        self._memory = FakeMemory(0, 0, 1, 0)

    async def step(self, batch: Batch) -> list[RowResult]:
        self.steps += 1
        self.rows += len(batch.rows)
        self.tokens += sum([len(row.tokens) for row in batch.rows])
        seconds = self._step_seconds if isinstance(self._step_seconds, float | int) else self._step_seconds(batch)
        with self._in_flight(batch, seconds > 0):
            if self._check:
                results = self._checked(batch)
            else:
                results = [RowResult([self._fixed_reading(row.readings)] * len(row.outputs)) for row in batch.rows]
            if seconds:
                await self._sleep(seconds)
        return results

    def launch(self, batch: Batch) -> Awaitable[list[RowResult]]:
        if self._flying == 2:
            raise InternalError("two steps are in flight already")
        flight = ExitStack()
        flight.enter_context(self._in_flight(batch, True))
        self._flying += 1
        self._launched = asyncio.ensure_future(self._run_after(self._launched, batch, flight))
        return self._launched

    async def _run_after(
        self, before: asyncio.Task[list[RowResult]] | None, batch: Batch, flight: ExitStack
    ) -> list[RowResult]:
        with flight:
            try:
                if before is None:
                    return await self.step(batch)
                await asyncio.wait([before])
                follows = any(row.follows >= 0 for row in batch.rows)
                return await (self._follow(before, batch) if follows and self._check else self.step(batch))
            finally:
                self._flying -= 1

    async def _follow(self, before: asyncio.Task[list[RowResult]], batch: Batch) -> list[RowResult]:
        """Put what was drawn in its place; rows whose predecessor failed are not run."""
        if before.exception() is not None:
            raise InternalError("a step that this one follows was lost")
        rows, failed = list(batch.rows), set[int]()
        for index, row in enumerate(rows):
            if row.follows >= 0:
                result = before.result()[row.follows]
                if result.error is None:
                    token = result.readings[-1].sampled
                    assert token is not None, "a row follows one that draws nothing"
                    rows[index] = replace(row, tokens=(token,))
                else:
                    failed.add(index)
        kept = [row for index, row in enumerate(rows) if index not in failed]
        results = iter(await self.step(replace(batch, rows=kept)))
        return [RowResult(error=FOLLOWS_A_FAILURE) if index in failed else next(results) for index in range(len(rows))]

    async def ask(self, questions: Sequence[Question]) -> list[RowResult]:
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> RowResult:
        kept, readings = self.kept.get(question.kept), question.readings
        if kept is None:
            return RowResult(error=f"number {question.kept} is not kept")
        masks = masks_of(readings.allowed, 1, self._info.vocab_size)
        if isinstance(masks, str):
            return RowResult(error=masks)
        return RowResult([self._read(kept[0], question.entry, readings, masks[0])])

    def forget(self, kept: Iterable[int]) -> None:
        for number in kept:
            self.kept.pop(number, None)

    async def move(self, out: Moves, back: Moves) -> None:
        self.moved += len(out) + len(back)
        with self._memory.move(out, back) if self._check else nullcontext():
            seconds = (
                self._move_seconds if isinstance(self._move_seconds, float | int) else self._move_seconds(out, back)
            )
            if seconds:
                await self._sleep(seconds)

    async def read(self, pages: Sequence[int], slots: Sequence[int]) -> list[bytes]:
        return self._memory.read(pages, slots)

    async def write(self, pages: Sequence[int], contents: Sequence[bytes]) -> None:
        with self._memory.flight(MOVE, (), [(DEVICE, page) for page in pages]):
            self._memory.write(pages, contents)

    # ---- what a model would say ----------------------------------------------------------------------------------
    def greedy(self, tokens: Sequence[int]) -> int:
        """The most probable token after a plain file that holds `tokens`: the oracle of tests."""
        return self._best(content_of(tokens), len(tokens))

    def greedy_after(self, entries: Sequence[Entry]) -> int:
        """The most probable token after any file; see `contents` for how to come by its entries."""
        return self._best(context(entries), len(entries))

    def _best(self, content: Content, index: int) -> int:
        scripted = self._script(index) if self._script is not None else None
        return content % self._info.vocab_size if scripted is None else scripted

    def _read(self, content: Content, index: int, readings: Readings, allowed: bytes | None) -> Reading:
        """The readings of the distribution of entry `index`, which follows `content`."""
        sample = readings.sample
        noise = hash_of(sample.seed, index, content) if sample is not None and sample.temperature > 0 else 0
        return read(self._best(content, index), noise, self._info.vocab_size, readings, allowed)

    def _fixed_reading(self, readings: Readings) -> Reading:
        if readings.allowed is not None:  # a mask is seldom the same twice
            return read(FIXED_TOKEN, 1, self._info.vocab_size, readings, readings.allowed)
        reading = self._fixed.get(readings)
        if reading is None:
            reading = self._fixed[readings] = read(FIXED_TOKEN, 1, self._info.vocab_size, readings)
        return reading

    # ---- pages ---------------------------------------------------------------------------------------------------
    def _checked(self, batch: Batch) -> list[RowResult]:
        self._memory.poison(batch.poison)
        self._memory.copy_pages(batch.copies)
        copied = self._memory.copy_entries(batch.entries)
        seen = [self._context(row) for row in batch.rows]
        clashes = _clashes(batch.rows, self._info.page_size, copied)
        return [
            RowResult(error=problem)
            if (problem := clashes.get(index) or (before if isinstance(before, str) else None))
            else self._run(row, before)
            for index, (row, before) in enumerate(zip(batch.rows, seen, strict=True))
        ]

    def _in_flight(self, batch: Batch, suspends: bool) -> AbstractContextManager[None]:
        """Has the step meet whatever moves at the same time; pages of bad rows are not looked at."""
        if not self._check or not (suspends or self._memory.moving):
            return nullcontext()
        reads = {page for row in batch.rows for page in row.block_table}
        reads |= {source for source, _ in batch.copies} | {copy.source for copy in batch.entries}
        writes = {target for _, target in batch.copies} | {copy.target for copy in batch.entries} | set(batch.poison)
        for row in batch.rows:
            writes |= set(row.block_table[max(row.start, 0) // self._info.page_size :] if row.write else ())
        return self._memory.flight(STEP, [(DEVICE, page) for page in reads], [(DEVICE, page) for page in writes])

    def _problem(self, row: Row) -> str | None:
        """What is wrong with a row, whatever the pages hold."""
        table, end = row.block_table, row.start + len(row.tokens)
        position = row.start if row.position == -1 else row.position
        last = position + len(row.tokens) - 1 if row.positions is None else max(row.positions, default=-1)
        if not row.tokens or row.start < 0 or position < 0 or last >= self._info.context_limit:
            return f"{len(row.tokens)} tokens at {row.start}, position {position}"
        if (row.positions is not None or row.masks is not None) and row.position == -1:
            return "a row with positions or masks gives its position"
        placed = row.positions
        if placed is not None and (len(placed) != len(row.tokens) or placed[0] != position or min(placed) < 0):
            return f"positions {list(placed)} of {len(row.tokens)} tokens from {position} on"
        if row.masks is not None and not _masks_fit(row.masks, len(row.tokens), end):
            return f"masks {list(row.masks)} of {len(row.tokens)} tokens, {end} entries"
        if any(not 0 <= token < self._info.vocab_size for token in row.tokens):
            return "a token outside the vocabulary"
        if len(table) != -(-end // self._info.page_size) or any(not 0 < page < self._info.pages for page in table):
            return f"block table {list(table)} for {end} entries"
        return None

    def _context(self, row: Row) -> Content | str:
        """The context that the row's tokens are computed in, or what is wrong with the row."""
        if problem := self._problem(row):
            return problem
        before = 0
        for index in range(row.start):
            entry = self._entry(row, index)
            if isinstance(entry, str):
                return entry
            after = seen(before, entry)
            if row.position == -1 and (entry.position != index or after != entry.content):
                return f"entry {index} holds K/V of another context (a row over derived entries gives its position)"
            before = after
        if not row.write:
            return self._requeried(row, before)
        return before

    def _requeried(self, row: Row, before: Content) -> Content | str:
        """The same, if the row's own entries are what a row that writes nothing says they are."""
        first = row.start if row.position == -1 else row.position
        after = before
        for index, token in enumerate(row.tokens):
            entry = self._entry(row, row.start + index)
            if isinstance(entry, str):
                return entry
            if entry.token != token:
                return f"entry {row.start + index} holds K/V of another token"
            after = seen(after, entry)
            if entry.position != (first + index if row.positions is None else row.positions[index]) or (
                row.position == -1 and after != entry.content
            ):
                return f"entry {row.start + index} holds K/V of another context"
        return before

    def _entry(self, row: Row, index: int) -> Entry | str:
        size = self._info.page_size
        return self._memory.pages[row.block_table[index // size]][index % size] or f"entry {index} was never written"

    def _run(self, row: Row, before: Content | str) -> RowResult:
        assert isinstance(before, int)
        size, position = self._info.page_size, row.start if row.position == -1 else row.position
        readings: list[Reading] = []
        masks = masks_of(row.readings.allowed, len(row.outputs), self._info.vocab_size)
        if isinstance(masks, str):
            return RowResult(error=masks)
        wanted = dict(zip(row.outputs, masks, strict=True))
        for i, token in enumerate(row.tokens):
            index = row.start + i
            at = position + i if row.positions is None else row.positions[i]
            if row.masks is not None:
                before = self._visible(row, row.masks[i if len(row.masks) > 1 else 0], index)
            place = self._memory.pages[row.block_table[index // size]]
            if row.write:
                place[index % size] = Entry(token, at, content_in(before, token, at))
            entry = place[index % size]
            assert entry is not None
            before = seen(before, entry)
            if i in wanted:
                if row.keep:
                    self.kept[row.keep[len(readings)]] = before, index + 1
                readings.append(self._read(before, index + 1, row.readings, wanted[i]))
        return RowResult(readings)

    def _visible(self, row: Row, mask: Mask, own: int) -> Content:
        """The context of entry `own` under a mask."""
        size, before = self._info.page_size, 0
        for start, end in mask:
            for index in range(start, min(end, own)):
                entry = self._memory.pages[row.block_table[index // size]][index % size]
                assert entry is not None  # it was looked at before, or written by this row
                before = seen(before, entry)
        return before


def _masks_fit(masks: Sequence[Mask], count: int, end: int) -> bool:
    """One for all or one a token; every one non-empty ranges that ascend."""
    bounds = [[0, *(bound for part in mask for bound in part), end] for mask in masks]
    ascending = all(sorted(found) == found for found in bounds)
    return len(masks) in (1, count) and ascending and all(start < stop for mask in masks for start, stop in mask)


def _clashes(rows: Sequence[Row], size: int, copied: set[tuple[int, int]]) -> dict[int, str]:
    """Rows that write what another row of the step writes or sees (on a device that is a race), or what was copied in
    it for somebody."""
    writers: dict[tuple[int, int], int] = {}
    wrong: dict[int, str] = {}
    for index, row in enumerate(rows):
        if row.write:
            for position in range(row.start, row.start + len(row.tokens)):
                page = position // size
                if page < len(row.block_table):
                    place = (row.block_table[page], position % size)
                    if place in copied:
                        wrong[index] = f"row {index} writes entry {position}, which an entry copy wrote in this step"
                    other = writers.setdefault(place, index)
                    if other != index:
                        wrong[index] = wrong[other] = f"rows {other} and {index} write the same slot"
    for index, row in enumerate(rows):
        for position in range(row.start):
            page = position // size
            other = writers.get((row.block_table[page], position % size)) if page < len(row.block_table) else None
            if other is not None and other != index:
                wrong[index] = f"row {other} writes entry {position} of row {index}"
    return wrong

"""An engine without a model: deterministic, no torch; for tests, simulations and measuring the host alone.

Its pages hold, in place of keys and values, `(token, position, content)` where content is a hash of the token, its
position and the contents of all entries before it. So every row can prove that it sees exactly its own history: a
stale, foreign, unwritten or concurrently written page is an error of the row, and the next token is a function of the
content hash, which a plain list of tokens reproduces (`content_of`, `FakeEngine.greedy`).

The distribution after an entry is geometric: the most probable token is derived from the content hash, token
`(best + d) mod vocabulary` has probability 2^-(d+1). Drawing with a temperature takes d from (seed, entry index,
content); `logit_bias` and the penalties are ignored.

`FakeEngine(check=False)` skips all that and answers every question with fixed readings, as fast as Python can.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence

from symphony.engine.chat import ChatTemplate
from symphony.engine.messages import Batch, ModelInfo, Reading, Readings, Row, RowResult
from symphony.engine.tokenizer import Tokenizer
from symphony.errors import Invalid

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FIXED_TOKEN = ord("a")
"""What the engine that does not check draws."""

Content = int
Slot = tuple[int, int, Content]
"""Token, position, content."""


def content_of(tokens: Sequence[int]) -> Content:
    """The content of the last entry of a file that holds `tokens`."""
    content = 0
    for position, token in enumerate(tokens):
        content = _extend(content, token, position)
    return content


def _extend(before: Content, token: int, position: int) -> Content:
    return _hash(before, token, position)


def _hash(*numbers: int) -> int:
    return hash(numbers) & 0xFFFF_FFFF_FFFF_FFFF  # of integers: the same in every process


class ByteTokenizer(Tokenizer):
    """Ids 0 to 255 are bytes, then come the special tokens, then ids that stand for nothing."""

    def __init__(self, vocab_size: int = 256 + len(SPECIAL)) -> None:
        self._size = vocab_size
        self._strip = False
        self._ids = {text: 256 + i for i, text in enumerate(SPECIAL)}
        self._special = frozenset(self._ids.values())
        self._pieces = dict.fromkeys(range(vocab_size), b"")
        self._pieces |= {byte: bytes([byte]) for byte in range(256)}
        self._pieces |= {token: text.encode() for text, token in self._ids.items()}
        self._added = {}

    def encode(self, text: str, special: bool) -> list[int]:
        if not special:
            return list(text.encode())
        tokens: list[int] = []
        rest = text
        while rest:
            hits = [(at, name) for name in SPECIAL if (at := rest.find(name)) >= 0]
            at, name = min(hits, default=(len(rest), ""))
            tokens += rest[:at].encode()
            if name:
                tokens.append(self._ids[name])
            rest = rest[at + len(name) :]
        return tokens

    def _look_up(self, token: int) -> bytes:
        raise Invalid(f"token id {token} is outside the vocabulary", f"this model's ids are 0 to {self._size - 1}")


class FakeEngine:
    """`step_seconds` says how long a step takes (0: it does not suspend); `sleep` is how it lets that time pass.

    `script` may fix the most probable token by the index of the entry to come, None where it has no opinion.
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
        step_seconds: Callable[[Batch], float] | float = 0.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        script: Callable[[int], int | None] | None = None,
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
        )
        self._tokenizer = ByteTokenizer(vocab_size)
        self._chat = ChatTemplate(CHATML)
        self._check = check
        self._step_seconds = step_seconds
        self._sleep = sleep
        self._script = script
        self._pages: list[list[Slot | None]] = [[None] * page_size for _ in range(pages if check else 0)]
        self._fixed: dict[Readings, Reading] = {}
        self.steps = 0
        self.rows = 0
        self.tokens = 0
        """Tokens run so far, re-queries included."""

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    @property
    def chat(self) -> ChatTemplate | None:
        return self._chat

    def describe(self) -> dict[str, str]:
        return {"device": "none", "attention": "none", "pages": str(self._info.pages), "checked": str(self._check)}

    def close(self) -> None:
        self._pages = []

    async def step(self, batch: Batch) -> list[RowResult]:
        self.steps += 1
        self.rows += len(batch.rows)
        self.tokens += sum([len(row.tokens) for row in batch.rows])
        if not self._check:
            results = [RowResult([self._fixed_reading(row.readings)] * len(row.outputs)) for row in batch.rows]
        else:
            self._copy(batch.copies)
            seen = [self._history(row) for row in batch.rows]
            clashes = _clashes(batch.rows, self._info.page_size)
            results = [
                RowResult(error=problem)
                if (problem := clashes.get(index) or (history if isinstance(history, str) else None))
                else self._run(row, history)
                for index, (row, history) in enumerate(zip(batch.rows, seen, strict=True))
            ]
        seconds = self._step_seconds if isinstance(self._step_seconds, float | int) else self._step_seconds(batch)
        if seconds:
            await self._sleep(seconds)
        return results

    # ---- what a model would say ----------------------------------------------------------------------------------
    def greedy(self, tokens: Sequence[int]) -> int:
        """The most probable token after `tokens`: the oracle of tests."""
        return self._best(content_of(tokens), len(tokens))

    def _best(self, content: Content, index: int) -> int:
        scripted = self._script(index) if self._script is not None else None
        return content % self._info.vocab_size if scripted is None else scripted

    def _read(self, content: Content, index: int, readings: Readings) -> Reading:
        """The readings of the distribution of entry `index`, which follows `content`."""
        vocab, best = self._info.vocab_size, self._best(content, index)
        reading = Reading()
        sample = readings.sample
        if sample is not None:
            distance = 0
            if sample.temperature > 0:
                noise = _hash(sample.seed, index, content)
                distance = (noise & -noise).bit_length() - 1 if noise else 0
                distance = min(distance, (sample.top_k or vocab) - 1)
            reading.sampled = (best + distance) % vocab
            if readings.sampled_logprob:
                reading.sampled_logprob = _logprob(distance)
        if readings.top_k:
            count = min(readings.top_k, vocab)
            reading.top_ids = [(best + distance) % vocab for distance in range(count)]
            reading.top_logprobs = [_logprob(distance) for distance in range(count)]
        reading.logprobs = [_logprob((token - best) % vocab) for token in readings.logprobs]
        if readings.entropy:
            reading.entropy = 2 * math.log(2)
        return reading

    def _fixed_reading(self, readings: Readings) -> Reading:
        reading = self._fixed.get(readings)
        if reading is None:
            count = readings.top_k
            reading = self._fixed[readings] = Reading(
                FIXED_TOKEN if readings.sample is not None else None,
                _logprob(0) if readings.sampled_logprob else None,
                list(range(FIXED_TOKEN, FIXED_TOKEN + count)),
                [_logprob(distance) for distance in range(count)],
                [_logprob((token - FIXED_TOKEN) % self._info.vocab_size) for token in readings.logprobs],
                2 * math.log(2) if readings.entropy else None,
            )
        return reading

    # ---- pages ---------------------------------------------------------------------------------------------------
    def _copy(self, copies: Sequence[tuple[int, int]]) -> None:
        """Whole pages, as if all at once; raises where a device would race."""
        targets = [target for _, target in copies]
        if len(set(targets)) != len(targets) or {source for source, _ in copies} & set(targets) or 0 in targets:
            raise ValueError(f"page copies race: {copies}")
        for source, target in copies:
            self._pages[target] = list(self._pages[source])

    def _history(self, row: Row) -> Content | str:
        """The content of the entry before the row's tokens, or what is wrong with the row."""
        size, table = self._info.page_size, row.block_table
        end = row.start + len(row.tokens)
        if not row.tokens or row.start < 0 or end > self._info.context_limit:
            return f"{len(row.tokens)} tokens at {row.start}"
        if any(not 0 <= token < self._info.vocab_size for token in row.tokens):
            return "a token outside the vocabulary"
        if len(table) != -(-end // size) or any(not 0 < page < self._info.pages for page in table):
            return f"block table {list(table)} for {end} entries"
        content = 0
        for position in range(row.start if row.write else end):
            slot = self._pages[table[position // size]][position % size]
            if slot is None:
                return f"entry {position} was never written"
            content_here = _extend(content, slot[0], position)
            if slot[1] != position or slot[2] != content_here:
                return f"entry {position} holds K/V of another context"
            if position >= row.start:
                if slot[0] != row.tokens[position - row.start]:
                    return f"entry {position} holds K/V of another token"
                continue
            content = content_here
        return content

    def _run(self, row: Row, content: Content | str) -> RowResult:
        assert isinstance(content, int)
        size = self._info.page_size
        readings: list[Reading] = []
        wanted = set(row.outputs)
        for index, token in enumerate(row.tokens):
            position = row.start + index
            content = _extend(content, token, position)
            if row.write:
                self._pages[row.block_table[position // size]][position % size] = (token, position, content)
            if index in wanted:
                readings.append(self._read(content, position + 1, row.readings))
        return RowResult(readings)


def _logprob(distance: int) -> float:
    return -(distance + 1) * math.log(2)


def _clashes(rows: Sequence[Row], size: int) -> dict[int, str]:
    """Rows that write what another row of the step writes or sees: on a device that is a race."""
    writers: dict[tuple[int, int], int] = {}
    wrong: dict[int, str] = {}
    for index, row in enumerate(rows):
        if row.write:
            for position in range(row.start, row.start + len(row.tokens)):
                page = position // size
                if page < len(row.block_table):
                    other = writers.setdefault((row.block_table[page], position % size), index)
                    if other != index:
                        wrong[index] = wrong[other] = f"rows {other} and {index} write the same slot"
    for index, row in enumerate(rows):
        for position in range(row.start):
            page = position // size
            other = writers.get((row.block_table[page], position % size)) if page < len(row.block_table) else None
            if other is not None and other != index:
                wrong[index] = f"row {other} writes entry {position} of row {index}"
    return wrong

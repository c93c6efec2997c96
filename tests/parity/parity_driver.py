"""What the parity tests share: a driver that keeps block tables by itself, and the same weights under transformers."""

from __future__ import annotations

import functools
import itertools
import random
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.model_shapes import SHAPES, TINY, write
from symphony.engine.local import LocalEngine
from symphony.engine.messages import GREEDY, Batch, Reading, Readings, Row

__all__ = [
    "GREEDY",
    "PROBE",
    "SHAPES",
    "TINY",
    "TOLERANCE",
    "Driver",
    "Readings",
    "Sequence_",
    "assert_close",
    "load_reference",
    "make_model",
    "tokens",
    "write",
]


PROBE = tuple(range(0, 4096, 7))
"""Tokens whose log-probabilities are compared: each depends on all logits through the normaliser."""
TOLERANCE = 1e-4


def tokens(seed: int, count: int) -> list[int]:
    source = random.Random(seed)
    return [source.randrange(11, 4096) for _ in range(count)]


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """`expected`: over the whole vocabulary."""
    torch.testing.assert_close(actual, expected[:, list(PROBE)], atol=TOLERANCE, rtol=0)


class Sequence_:  # noqa: N801 - `Sequence` is taken
    """One sequence and its pages."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.tokens: list[int] = []
        self.pages: list[int] = []
        self.shared: set[int] = set()

    def fork(self) -> Sequence_:
        other = Sequence_(self.driver)
        other.tokens, other.pages = list(self.tokens), list(self.pages)
        self.shared |= set(self.pages)
        other.shared |= set(self.pages)
        return other

    def row(self, new: Sequence[int], readings: Readings, outputs: Sequence[int] | None = None) -> Row:
        """The row that appends `new`; copies the last page if it is shared and partly full."""
        start = len(self.tokens)
        self.tokens += new
        size = self.driver.size
        if start % size and self.pages[-1] in self.shared:
            copy = next(self.driver.free)
            self.driver.copies.append((self.pages[-1], copy))
            self.pages[-1] = copy
        while len(self.pages) * size < len(self.tokens):
            self.pages.append(next(self.driver.free))
        wanted = [len(new) - 1] if outputs is None else outputs
        return Row(list(new), start, list(self.pages), wanted, readings)


class Driver:
    """Runs batches on an engine. `scatter`: hand out pages in an order without neighbours."""

    def __init__(self, engine: LocalEngine, scatter: bool = True) -> None:
        self.engine = engine
        self.size = engine.info.page_size
        ids = range(1, engine.info.pages)
        self.free: Iterator[int] = iter([*ids[::2], *ids[1::2]] if scatter else ids)
        self.copies: list[tuple[int, int]] = []

    def reuse(self, ended: Sequence[Sequence_]) -> None:
        """Their pages may be handed out again, unless forks ever shared them."""
        pages = [page for sequence in ended for page in sequence.pages if page not in sequence.shared]
        self.free = itertools.chain(self.free, pages)

    def step(self, rows: list[Row]) -> list[list[Reading]]:
        copies, self.copies = self.copies, []
        results = self.engine.run(Batch(rows, copies))
        assert [r.error for r in results] == [None] * len(rows)
        return [list(r.readings) for r in results]

    def logprobs(self, rows_of: Sequence[tuple[Sequence_, Sequence[int]]]) -> list[torch.Tensor]:
        """Append to each sequence; the log-probabilities [new, len(PROBE)] after each new token."""
        rows = [s.row(new, Readings(logprobs=PROBE), range(len(new))) for s, new in rows_of]
        return [torch.tensor([r.logprobs for r in readings]) for readings in self.step(rows)]

    def greedy(self, prompts: Sequence[Sequence[int]], count: int) -> list[list[int]]:
        """Greedy continuations of all prompts, batched together."""
        sequences = [Sequence_(self) for _ in prompts]
        new: list[Sequence[int]] = list(prompts)
        ask = Readings(sample=GREEDY)
        for _ in range(count):
            results = self.step([s.row(n, ask) for s, n in zip(sequences, new, strict=True)])
            new = [[r[0].sampled] for r in results]  # type: ignore[list-item]
            for s, n in zip(sequences, new, strict=True):
                s.out = [*getattr(s, "out", []), n[0]]  # type: ignore[attr-defined]
        return [s.out for s in sequences]  # type: ignore[attr-defined]


def load_reference(directory: Path) -> Any:
    """The same weights under transformers, fp32: tokens [n] -> log-probabilities [n, vocab]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(str(directory), dtype=torch.float32).eval()

    @functools.lru_cache(maxsize=256)
    def run(tokens: tuple[int, ...]) -> torch.Tensor:
        with torch.inference_mode():
            return model(torch.tensor([tokens])).logits[0].log_softmax(-1)

    return lambda tokens: run(tuple(tokens))


def make_model(name: str, root: Path) -> Path:
    """A directory: `tiny`, or a random checkpoint of a shape."""
    return TINY if name == "tiny" else write(SHAPES[name], root / name, seed=sum(itertools.accumulate(map(ord, name))))

"""What the parity tests share: a driver that keeps block tables by itself, and the same weights under transformers.

Exactness as semantics 9 has it is in `Comparison`.
"""

from __future__ import annotations

import functools
import itertools
import random
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.model_shapes import SHAPES, TINY, write
from symphony.engine.batch import pack
from symphony.engine.local import LocalEngine
from symphony.engine.messages import Batch, Reading, Readings, Row

torch.set_num_threads(1)  # the shapes are tiny: a second thread only waits

PROBE = tuple(range(0, 4096, 7))
"""Tokens whose log-probabilities are compared where logits cannot be reached: each depends on all logits."""
TOLERANCE = 1e-4
"""Of fp32 logits; where the reference's two best are closer, it is undecided itself."""


def tokens(seed: int, count: int, vocabulary: int = 4096) -> list[int]:
    source = random.Random(seed)
    return [source.randrange(11, vocabulary) for _ in range(count)]


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
        other.shared |= self.shared
        return other

    def truncate(self, length: int) -> None:
        del self.tokens[length:]
        del self.pages[-(-length // self.driver.size) :]

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


Work = Sequence[tuple[Sequence_, Sequence[int]]]
"""Sequences, and what is appended to each."""


class Driver:
    """Runs batches on an engine. `scatter`: hand out pages in an order without neighbours."""

    def __init__(self, engine: LocalEngine, scatter: bool = True) -> None:
        self.engine = engine
        self.size = engine.info.page_size
        ids = range(1, engine.info.pages)
        self.free = iter([*ids[::2], *ids[1::2]] if scatter else ids)
        self.copies: list[tuple[int, int]] = []

    def step(self, rows: list[Row]) -> list[list[Reading]]:
        copies, self.copies = self.copies, []
        results = self.engine.run(Batch(rows, copies))
        assert [r.error for r in results] == [None] * len(rows)
        return [list(r.readings) for r in results]

    def logprobs(self, work: Work) -> list[torch.Tensor]:
        """Append to each sequence; the log-probabilities [new, len(PROBE)] after each new token."""
        rows = [s.row(new, Readings(logprobs=PROBE), range(len(new))) for s, new in work]
        return [torch.tensor([r.logprobs for r in readings]) for readings in self.step(rows)]

    def logits(self, work: Work) -> list[torch.Tensor]:
        """Append to each sequence; the logits [new, vocabulary] after each new token, as the model hands them on."""
        rows = [s.row(new, Readings(), range(len(new))) for s, new in work]
        model, seen = self.engine._model, []
        original = model.logits

        def listen(states: torch.Tensor) -> torch.Tensor:
            seen.append(original(states))
            return seen[-1]

        model.logits = listen  # type: ignore[method-assign]
        try:
            self.step(rows)
        finally:
            del model.logits
        [logits] = seen
        owners = torch.tensor(pack(rows, self.engine._limits).owners)
        return [logits[owners == i] for i in range(len(rows))]


class Reference:
    """The same weights under transformers, in fp32."""

    def __init__(self, directory: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from transformers import AutoModelForCausalLM

            self.model = AutoModelForCausalLM.from_pretrained(str(directory), dtype=torch.float32).eval()

    @torch.inference_mode()
    def logits(self, texts: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """[tokens, vocabulary] of each text; what a causal model is padded with behind a text does not matter."""
        width = max(map(len, texts))
        ids = torch.tensor([[*text, *[0] * (width - len(text))] for text in texts])
        return [logits[: len(text)] for text, logits in zip(texts, self.model(ids).logits, strict=True)]


def load_reference(directory: Path) -> Any:
    """The same weights under transformers, fp32: tokens [n] -> log-probabilities [n, vocab]."""
    reference = Reference(directory)

    @functools.lru_cache(maxsize=256)
    def run(tokens: tuple[int, ...]) -> torch.Tensor:
        return reference.logits([tokens])[0].log_softmax(-1)

    return lambda tokens: run(tuple(tokens))


@dataclass
class Comparison:
    """Greedy tokens against the reference, which is fed with them: they are the reference's own choice wherever its two
    best are further apart than the tolerance. The other steps are counted, and must be rare."""

    steps: int = 0
    undecided: list[str] = field(default_factory=list)

    def check(self, logits: torch.Tensor, before: int, out: Sequence[int]) -> None:
        """`logits`: the reference's, of all of a text whose tokens from `before` on are `out`."""
        values, ids = logits[before - 1 : before - 1 + len(out)].topk(2)
        gaps = (values[:, 0] - values[:, 1]).tolist()
        self.steps += len(out)
        for step, (token, gap, best) in enumerate(zip(out, gaps, ids.tolist(), strict=True)):
            if gap < TOLERANCE:
                self.undecided.append(f"after {before + step} tokens: {token} of {best}, which are {gap:g} apart")
            assert token == best[0] or (gap < TOLERANCE and token == best[1]), (before + step, token, best, gap)

    def report(self) -> None:
        """Semantics 9: what nobody can decide is reported, and rare."""
        if self.undecided:
            print(f"{len(self.undecided)} of {self.steps} steps undecided:", *self.undecided, sep="\n")
        assert len(self.undecided) <= max(1, self.steps // 1000)


def make_model(name: str, root: Path) -> Path:
    """A directory: `tiny`, or a random checkpoint of a shape."""
    return TINY if name == "tiny" else write(SHAPES[name], root / name, seed=sum(itertools.accumulate(map(ord, name))))

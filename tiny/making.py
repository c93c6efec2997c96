"""Batches from many processes, in order and a few ahead of whoever takes them.

A process knows the tokenizer and nothing else: which batch to make is told with each order.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from tiny import tokens
from tiny.tokens import Packed

AHEAD = 4
"""Batches that wait or are made, for each process."""


class Order(NamedTuple):
    """What makes a batch."""

    seed: int
    number: int
    size: int
    short: bool


Make = Callable[[Iterable[Order]], Iterator[Packed]]


@contextmanager
def making(tokenizer: Path, workers: int) -> Generator[Make, None, None]:
    """So many processes; 0: in this one, when a batch is taken."""
    if workers == 0:
        known = tokens.load(tokenizer)
        yield lambda orders: (tokens.batch(known, *order) for order in orders)
        return
    with multiprocessing.get_context("spawn").Pool(workers, _prepare, (tokenizer,)) as pool:

        def make(orders: Iterable[Order]) -> Iterator[Packed]:
            coming = iter(orders)
            pending = deque(pool.apply_async(_make, order) for order in islice(coming, AHEAD * workers))
            while pending:
                made = pending.popleft().get()
                pending.extend(pool.apply_async(_make, order) for order in islice(coming, 1))
                yield made

        yield make


_tokenizer: Any = None


def _prepare(tokenizer: Path) -> None:
    global _tokenizer  # of a process of the pool, which has nothing else
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _tokenizer = tokens.load(tokenizer)


def _make(seed: int, number: int, size: int, short: bool) -> Packed:
    return tokens.batch(_tokenizer, seed, number, size, short)

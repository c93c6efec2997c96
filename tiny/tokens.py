"""From dialogues to batches: the tokenizer, and documents packed end to end into one flat batch.

Batch `n` of a seed is always the same, whoever makes it: that is what makes a training resumable, and its data
parallel. It knows nothing of models.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tiny.corpus import SPECIAL, dialogue, rendered
from tiny.tasks import Turns

PROMPT_WEIGHT = 0.1
"""Of a token that the model reads, next to one that it writes."""
LONGEST = 2048
"""Longer documents are left out."""


@dataclass(slots=True, frozen=True)
class Packed:
    """A batch of `n` tokens; document `i` is `bounds[i]:bounds[i + 1]`, and all of them together are the batch."""

    tokens: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    """Of each token as a target; 0 for the first of a document."""
    positions: npt.NDArray[np.int64]
    bounds: list[int]


def train_tokenizer(vocab: int, documents: int) -> Any:
    """Byte-level BPE with single digits, from the first documents of a corpus of its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((rendered(dialogue(f"tokenizer/{i}")) for i in range(documents)), trainer)
    return tokenizer


def encode(tokenizer: Any, turns: Turns) -> tuple[list[int], list[float]]:
    """A document's tokens and their weights; what ends the assistant's turn is the assistant's."""
    tokens: list[int] = []
    weights: list[float] = []
    for role, content in turns:
        head = tokenizer.encode(f"<|im_start|>{role}\n").ids
        body = tokenizer.encode(f"{content}<|im_end|>").ids
        tail = tokenizer.encode("\n").ids
        mine = 1.0 if role == "assistant" else PROMPT_WEIGHT
        tokens += [*head, *body, *tail]
        weights += [*[PROMPT_WEIGHT] * len(head), *[mine] * len(body), *[PROMPT_WEIGHT] * len(tail)]
    weights[0] = 0.0
    return tokens, weights


def batch(tokenizer: Any, seed: int, number: int, size: int) -> Packed:
    """Batch `number`: documents until it is full; the last one is cut."""
    tokens: list[int] = []
    weights: list[float] = []
    positions: list[int] = []
    bounds = [0]
    document = 0
    while len(tokens) < size:
        some, theirs = encode(tokenizer, dialogue(f"{seed}/{number}/{document}"))
        document += 1
        if len(some) > LONGEST:
            continue
        some = some[: size - len(tokens)]
        tokens += some
        weights += theirs[: len(some)]
        positions += range(len(some))
        bounds.append(len(tokens))
    return Packed(np.array(tokens), np.array(weights, np.float32), np.array(positions), bounds)


def load(path: Path) -> Any:
    return Tokenizer.from_file(str(path))

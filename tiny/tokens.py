"""From dialogues to batches: the tokenizer, and documents packed end to end into one flat batch.

Batch `n` of a seed is always the same, whoever makes it: that is what makes a training resumable, and its data
parallel. Batches of one size have one shape, so that what computes on them is compiled once. It knows nothing of
models.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tiny.corpus import SPECIAL, dialogue, rendered

TENTHS = 10
"""The weight of a token that the model writes; one that it reads has 1. Of a target, in tenths."""
LONGEST = 2048
"""Tokens; longer documents are left out."""
SHORT = 1200
"""Characters of a document in a batch of short ones at most."""
AT_ONCE = 32
"""Documents that are encoded together."""
LEAST = 96
"""Tokens of a document on average at least, or else the end of a batch is left empty: `bounds` has a fixed length."""
END = SPECIAL.index("<|im_end|>")
Int16 = npt.NDArray[np.int16]


@dataclass(slots=True, frozen=True)
class Packed:
    """A batch of `n` tokens; document `i` is `bounds[i]:bounds[i + 1]`, none has more than `LONGEST`, the last ones are
    empty."""

    rows: Int16
    """Three of `n`: tokens; the weight of each as a target, in tenths, 0 for the first of a document; positions."""
    bounds: npt.NDArray[np.int32]


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
    made = json.loads(tokenizer.to_str())
    for token in made["added_tokens"]:
        token["special"] = token["content"] in SPECIAL[: END + 1]  # the others are part of what an answer says
    return Tokenizer.from_str(json.dumps(made))


def load(path: Path) -> Any:
    return Tokenizer.from_file(str(path))


def batch(tokenizer: Any, seed: int, number: int, size: int, short: bool = False) -> Packed:
    """Batch `number`: documents until it is full; the last one is cut."""
    rows = np.zeros((3, size), np.int16)
    head = np.array(tokenizer.encode("<|im_start|>assistant\n").ids)
    bounds, most = [0], size // LEAST
    for found in _documents(tokenizer, f"{seed}/{number}", short):
        at = bounds[-1]
        if at == size or len(bounds) > most:
            break
        kept = found[: size - at]
        end = at + len(kept)
        rows[0, at:end], rows[1, at:end], rows[2, at:end] = kept, weights(kept, head), np.arange(len(kept))
        bounds.append(end)
    rows[2, bounds[-1] :] = np.arange(size - bounds[-1]) % LONGEST
    while bounds[-1] < size:
        bounds.append(min(bounds[-1] + LONGEST, size))
    length = most + size // LONGEST + 2
    return Packed(rows, np.array(bounds + [size] * (length - len(bounds)), np.int32))


def weights(tokens: Int16, head: npt.NDArray[Any]) -> Int16:
    """In tenths, of a document; what ends the assistant's turn is the assistant's, its head is not."""
    found = np.ones(len(tokens), np.int16)
    ends = np.flatnonzero(tokens == END)
    for start in np.flatnonzero(tokens == head[0]):
        body = start + len(head)
        if np.array_equal(tokens[start:body], head):
            after = ends[ends > start]
            found[body : after[0] + 1 if len(after) else len(tokens)] = TENTHS
    found[0] = 0
    return found


def _documents(tokenizer: Any, seed: str, short: bool) -> Iterator[Int16]:
    """The tokens of each document of a seed that is not too long."""
    texts = (rendered(dialogue(f"{seed}/{i}")) for i in itertools.count())
    fitting = (text for text in texts if not short or len(text) <= SHORT)
    while True:
        for encoding in tokenizer.encode_batch(list(itertools.islice(fitting, AT_ONCE))):
            if len(encoding.ids) <= LONGEST:
                yield np.array(encoding.ids, np.int16)

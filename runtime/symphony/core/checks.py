"""What callers say about an operation, held against its model. All raise Invalid, what is too much LimitExceeded; none
knows files or sessions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from symphony.core.messages import Draft, GenerateOptions, Readings, Sampling
from symphony.engine.messages import ModelInfo, mask_bytes
from symphony.errors import Invalid, LimitExceeded
from symphony.param import (
    MAX_DRAFT_TOKENS,
    MAX_LOOKUP_NGRAM,
    MAX_READ_VALUES,
    MAX_TOP_K,
    MAX_UNDELIVERED_TOKENS,
    READ_VALUES_PER_OUTPUT,
)


def check_ids(tokens: Sequence[int], info: ModelInfo) -> None:
    low, high = (min(tokens), max(tokens)) if len(tokens) > 1 else (tokens[0], tokens[0])
    if low < 0 or high >= info.vocab_size:
        wrong = low if low < 0 else high
        raise Invalid(f"token id {wrong} is outside the vocabulary", f"this model's ids are 0 to {info.vocab_size - 1}")


def check_context(positions: int, info: ModelInfo) -> None:
    """A file has at most as many positions, and as many entries."""
    if positions > info.context_limit:
        raise Invalid(
            f"{positions} tokens do not fit into the context of {info.context_limit}",
            "truncate the file, or take fewer",
        )


def check_sampling(sampling: Sampling, info: ModelInfo) -> None:
    if sampling.logit_bias:
        check_ids([token for token, _ in sampling.logit_bias], info)


def check_readings(readings: Readings, outputs: int, info: ModelInfo) -> None:
    each = READ_VALUES_PER_OUTPUT + readings.top_k + len(readings.logprobs)
    if outputs * each > MAX_READ_VALUES:
        raise _too_much(readings, outputs, MAX_READ_VALUES // each)
    if readings.top_k > MAX_TOP_K:
        raise Invalid(f"readings: top-k is {readings.top_k}", f"ask for at most {MAX_TOP_K}")
    if readings.logprobs:
        check_ids(readings.logprobs, info)
    if readings.allowed is not None:
        _check_allowed(readings.allowed, info)
    if readings.sample is not None:
        check_sampling(readings.sample, info)


def _check_allowed(mask: bytes, info: ModelInfo) -> None:
    if len(mask) != mask_bytes(info.vocab_size):
        raise Invalid(
            f"allowed: a mask of {len(mask) // 4} words", f"this model's have {mask_bytes(info.vocab_size) // 4}"
        )
    if not int.from_bytes(mask, "little") & ((1 << info.vocab_size) - 1):
        raise Invalid("allowed: no token's bit is set", "allow at least one")


def _too_much(readings: Readings, outputs: int, fits: int) -> LimitExceeded:
    asked = f"top-k {readings.top_k} and {len(readings.logprobs)} log-probabilities"
    if fits:
        fix = f"at most {fits} outputs fit: predict over so many tokens at a time, or ask for less of each"
    else:
        fits = MAX_READ_VALUES - READ_VALUES_PER_OUTPUT
        fix = f"at most {fits} tokens fit: ask again, without tokens, for the others"
    return LimitExceeded(f"{asked} of {outputs} outputs are too much for one prediction", fix)


def check_options(options: GenerateOptions, info: ModelInfo) -> None:
    check_sampling(options.sampling, info)
    if options.stop_tokens:
        check_ids(options.stop_tokens, info)
    if "" in options.stop_strings:
        raise Invalid("an empty stop string would stop before the first token", "leave it out")
    if options.logprobs is not None and options.logprobs > MAX_TOP_K:
        raise Invalid(f"logprobs: {options.logprobs} alternatives", f"ask for at most {MAX_TOP_K}")
    if options.draft is not None:
        _check_draft(options.draft)
    if not 1 <= options.chunk_tokens <= MAX_UNDELIVERED_TOKENS:
        raise Invalid(f"chunk-tokens is {options.chunk_tokens}", f"use 1 to {MAX_UNDELIVERED_TOKENS}")


def _check_draft(draft: Draft) -> None:
    if not 1 <= draft.tokens <= MAX_DRAFT_TOKENS:
        raise Invalid(f"draft: {draft.tokens} tokens a step", f"use 1 to {MAX_DRAFT_TOKENS}")
    if not 1 <= draft.ngram <= MAX_LOOKUP_NGRAM:
        raise Invalid(f"draft: an n-gram of {draft.ngram} tokens", f"use 1 to {MAX_LOOKUP_NGRAM}")


def wanted_entries(outputs: Sequence[int], count: int, length: int) -> Sequence[int]:
    """Indexes into the `count` given tokens as indexes into the file."""
    if not count:  # a re-query
        count, length = 1, length - 1
    if len(outputs) == 1:
        index = outputs[0]
        if not 0 <= index < count:
            raise Invalid(f"outputs: index {index} is outside the {count} given tokens")
        return (length + index,)
    if any(a >= b for a, b in itertools.pairwise(outputs)) or (outputs and not 0 <= outputs[0] <= outputs[-1] < count):
        raise Invalid(f"outputs: the indexes must ascend and lie within the {count} given tokens")
    return [length + index for index in outputs]

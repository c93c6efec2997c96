"""Everything that is wrong with a model directory, at once, with the fix. Reads headers and a sample of the weights.

Loading checks the same, by the same code, but stops at what it cannot run. Nothing in the directory is executed or
unpickled; no torch is needed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from symphony.engine import headers
from symphony.engine.chat import ChatTemplate
from symphony.engine.config import ModelConfig
from symphony.engine.directory import read_config, read_json
from symphony.engine.headers import Tensor
from symphony.engine.problems import Problem, some
from symphony.engine.tokenizer import Tokenizer
from symphony.errors import Invalid, LimitExceeded, NotFound

SAMPLES = 16
"""Places of a tensor that are looked at..."""
SAMPLE_ELEMENTS = 256
"""...and elements at each."""
_BITS: dict[str, tuple[type[np.unsignedinteger[Any]], int]] = {
    "F32": (np.uint32, 0x7F800000),
    "BF16": (np.uint16, 0x7F80),
    "F16": (np.uint16, 0x7C00),
}
"""An unsigned type of the same size, and the exponent's bits: a number with all of them set is not finite."""


@dataclass(slots=True)
class Verdict:
    """What `verify` found."""

    problems: list[Problem]
    tensors: int
    files: int

    @property
    def loads(self) -> bool:
        """Whether the engine would load this directory."""
        return all(problem.error is None for problem in self.problems)


def verify(directory: Path) -> Verdict:
    """Look at everything. Never raises for what is in the directory; reads at most some MiB of weights."""
    problems: list[Problem] = []
    config = _config(directory, problems)
    files, tensors = headers.survey(directory, problems)
    if config is not None and tensors:
        headers.compare(tensors, config, problems)
    problems += _values(tensors)
    tokenizer = _tokenizer(directory, problems)
    if config is not None and tokenizer is not None:
        problems += _vocabulary(directory, config, tokenizer)
    problems += _chat(directory)
    return Verdict(problems, len(tensors), len(files))


def _config(directory: Path, problems: list[Problem]) -> ModelConfig | None:
    """None: it is not known which tensors to expect."""
    try:
        raw, generation = read_config(directory)
    except (Invalid, NotFound) as e:
        problems.append(Problem(e.message, e.hint, type(e)))
        return None
    found: list[Problem] = []
    config = ModelConfig.examine(raw, generation, str(directory / "config.json"), found)
    problems += found
    return None if found else config


def _values(tensors: Mapping[str, Tensor]) -> Iterator[Problem]:
    """Numbers that no trained model has."""
    broken: list[str] = []
    empty: list[str] = []
    for name, tensor in tensors.items():
        if tensor.dtype not in _BITS or tensor.start == tensor.end:
            continue
        bits, exponent = _sample(tensor), _BITS[tensor.dtype][1]
        if bool(((bits & exponent) == exponent).any()):
            broken.append(name)
        elif len(tensor.shape) > 1 and not bits.any():
            empty.append(name)
    if broken:
        yield Problem(
            f"the weights have numbers that are not finite: {some(broken)}",
            "download the model again; every answer would fail",
            None,
        )
    if empty:
        yield Problem(
            f"the weights have tensors of zeros only: {some(empty)}", "download the model again: it was cut short", None
        )


def _sample(tensor: Tensor) -> np.ndarray[Any, Any]:
    """Some elements from all over the tensor, the first and the last included, as unsigned numbers."""
    kind = _BITS[tensor.dtype][0]
    all_of_it = np.memmap(
        tensor.file, kind, "r", tensor.start, ((tensor.end - tensor.start) // np.dtype(kind).itemsize,)
    )
    count = len(all_of_it)
    if count <= SAMPLES * SAMPLE_ELEMENTS:
        return np.array(all_of_it)
    source = random.Random(count)
    starts = [0, count - SAMPLE_ELEMENTS, *(source.randrange(count - SAMPLE_ELEMENTS) for _ in range(SAMPLES - 2))]
    return np.concatenate([all_of_it[start : start + SAMPLE_ELEMENTS] for start in starts])


def _tokenizer(directory: Path, problems: list[Problem]) -> Tokenizer | None:
    try:
        return Tokenizer.load(directory / "tokenizer.json")
    except (Invalid, NotFound) as e:
        old = [name for name in ("tokenizer.model", "vocab.json") if (directory / name).is_file()]
        fix = "let transformers' AutoTokenizer read it, and save_pretrained write tokenizer.json" if old else e.hint
        problems.append(Problem(e.message, fix, type(e)))
        return None


def _vocabulary(directory: Path, config: ModelConfig, tokenizer: Tokenizer) -> Iterator[Problem]:
    most = tokenizer.largest_id
    if most >= config.vocab_size:
        yield Problem(
            f"the tokenizer has ids up to {most}, the model's vocabulary ends at {config.vocab_size - 1}",
            "texts with the ids beyond will be refused; resize the model's embedding, or use its own tokenizer",
            None,
        )
    if outside := [str(token) for token in config.stop_tokens if not 0 <= token < config.vocab_size]:
        yield Problem(f"stop tokens are outside the vocabulary: {some(outside)}", "correct eos_token_id", None)
    if not config.stop_tokens:
        yield Problem(
            "there is no stop token (eos_token_id in generation_config.json or config.json)",
            "add it, or let programs pass their own stop tokens",
            None,
        )
        return
    ends = _token_text(_tokenizer_config(directory).get("eos_token"))
    known = tokenizer.encode(ends, special=True) if ends else []
    if len(known) == 1 and known[0] not in config.stop_tokens:
        yield Problem(
            f"the tokenizer's eos_token {ends!r} ({known[0]}) is not among the stop tokens {list(config.stop_tokens)}",
            "add it to eos_token_id in generation_config.json if turns do not end",
            None,
        )


def _chat(directory: Path) -> Iterator[Problem]:
    try:
        template = ChatTemplate.load(directory)
    except Invalid as e:
        yield Problem(e.message, e.hint)
        return
    if template is None:
        return
    try:
        template.render({"messages": [{"role": "user", "content": "Hello"}], "add_generation_prompt": True})
    except (Invalid, LimitExceeded) as e:
        yield Problem(f"a greeting cannot be rendered: {e.message}", "download chat_template.jinja again", None)


def _tokenizer_config(directory: Path) -> dict[str, Any]:
    """tokenizer_config.json, or {} if it is missing or broken (the chat template's check says so)."""
    try:
        return read_json(directory / "tokenizer_config.json", required=False)
    except Invalid:
        return {}


def _token_text(token: Any) -> str:
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else ""

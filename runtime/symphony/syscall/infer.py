"""`symphony:lip/infer`: running the model. Source: `wit/infer.wit`; meanings in semantics 1-4, 10, 11.

The core computes; this module turns WIT records into the engine's requests and the core's answers into handles.
"""

from __future__ import annotations

import functools
import math
import secrets
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from symphony.core.messages import Chunk, Draft, GenerateOptions
from symphony.core.shape import Shape
from symphony.engine.messages import GREEDY, Reading, Readings, Sampling
from symphony.errors import Invalid, LimitExceeded, SymphonyError
from symphony.param import MAX_LISTED_TOKENS, MAX_STOP_CHARS, MAX_STOP_STRINGS, MAX_TOP_K
from symphony.syscall.caller import Caller
from symphony.syscall.inbox import Answer
from symphony.syscall.kvfs import KvFile
from symphony.syscall.pollable import Pollable, Suspension, Waiter
from symphony.syscall.predictions import KeptRow, Predictions, Request
from symphony.syscall.values import Err, Handler, Ok


class Ranked(NamedTuple):
    ids: Sequence[int]
    values: Sequence[float]


class Distribution(NamedTuple):
    sampled: int | None
    top: Ranked | None
    logprobs: Sequence[float] | None
    entropy: float | None


class ChunkRecord(NamedTuple):
    tokens: Sequence[int]
    text: str
    logprobs: Sequence[float]
    alternatives: Sequence[Ranked]
    finish: tuple[str, int | None] | None


_LAST = ("last", None)
_FIRST = (0,)
_new = tuple.__new__  # what the constructors of named tuples come to


class Prediction:
    """A guest's handle on a forward pass: in flight until `answer` is set."""

    __slots__ = ("answer", "caller", "closed", "file", "op", "pollable", "wanted")

    def __init__(self, caller: Caller, file: KvFile, wanted: Readings) -> None:
        self.caller = caller
        self.file = file
        self.wanted = wanted
        self.answer: Answer = None
        self.closed = False
        self.pollable: Pollable | None = None
        """Made when the guest asks for it: one that waits for the file needs none."""
        self.op = caller.inbox.register(self)

    def deliver(self, answer: Answer) -> None:
        self.answer = answer
        self.close()

    def close(self) -> None:
        self.closed = True
        self.caller.inbox.forget(self.op)
        self.file.end()
        if self.pollable is not None:
            self.pollable.fire()

    def drop(self) -> Coroutine[Any, Any, None] | None:
        if self.closed:
            return None
        self.close()
        return self.caller.core.cancel(self.caller.session, self.op)


class Predicting(Suspension):
    """A forward pass that holds up its guest."""

    __slots__ = ("caller", "op", "result", "resume", "wanted")

    def __init__(self, caller: Caller, wanted: Readings) -> None:
        self.caller = caller
        self.wanted = wanted
        self.result: Answer = None
        self.resume: Callable[[], None] | None = None
        self.op = caller.inbox.register(self)

    def deliver(self, answer: Answer) -> None:
        self.result = answer
        if self.resume is not None:
            self.resume()

    def attach(self, resume: Callable[[], None]) -> None:
        self.resume = resume
        if self.result is not None:
            resume()

    def answer(self) -> list[Distribution] | None:
        result = self.result
        if isinstance(result, SymphonyError):
            raise result
        return None if result is None else _distributions(result, self.wanted)

    def detach(self) -> None:
        self.caller.inbox.forget(self.op)  # the end of the session cancels it in the core

    def __await__(self) -> Generator[Predicting, None, list[Distribution]]:
        while (answer := self.answer()) is None:
            yield self
        return answer


class Generation:
    """A guest's handle on a generation; `done` once the guest has seen its end."""

    __slots__ = ("caller", "done", "file", "op", "pollable")

    def __init__(self, caller: Caller, file: KvFile) -> None:
        self.caller = caller
        self.file = file
        self.done = False
        self.pollable = Pollable()
        self.op = caller.inbox.register(self)

    def deliver(self, answer: Answer) -> None:
        self.pollable.fire()

    def finish(self) -> None:
        self.done = True
        self.caller.inbox.forget(self.op)
        self.file.end()
        self.pollable.fire()

    async def drop(self) -> None:
        if not self.done:
            self.finish()
            await self.caller.core.cancel(self.caller.session, self.op)


def sampling_of(record: Any) -> Sampling:
    """The engine's sampling for a WIT record; Invalid names the field that is out of range."""
    temperature, top_k, top_p, min_p, repetition, presence, frequency, bias, seed = record
    if temperature is None and bias is None and repetition is None and presence is None and frequency is None:
        return GREEDY
    for name, value, low, high in (
        ("temperature", temperature, 0.0, 1e4),
        ("top-p", top_p, 0.0, 1.0),
        ("min-p", min_p, 0.0, 1.0),
        ("repetition-penalty", repetition, 1e-3, 1e3),
        ("presence-penalty", presence, -1e3, 1e3),
        ("frequency-penalty", frequency, -1e3, 1e3),
    ):
        if value is not None and not low <= value <= high:
            raise Invalid(f"sampling: {name} is {value:g}", f"use a value from {low:g} to {high:g}")
    if bias is not None and (len(bias.ids) != len(bias.values) or not all(map(math.isfinite, bias.values))):
        raise Invalid("sampling: logit-bias needs one finite value for each id")
    return Sampling(
        temperature=temperature or 0.0,
        top_k=top_k or 0,
        top_p=1.0 if top_p is None else top_p,
        min_p=min_p or 0.0,
        repetition_penalty=1.0 if repetition is None else repetition,
        presence_penalty=presence or 0.0,
        frequency_penalty=frequency or 0.0,
        logit_bias=() if bias is None else tuple(zip(_ids("logit-bias", bias.ids), bias.values, strict=True)),
        seed=secrets.randbits(64) if seed is None else seed,
    )


def _ids(name: str, ids: Any) -> list[int]:
    """The ids of one option. A list longer than any vocabulary only repeats itself, at the host's cost."""
    if len(ids) > MAX_LISTED_TOKENS:
        raise LimitExceeded(f"{name}: {len(ids)} tokens in one list, at most {MAX_LISTED_TOKENS}", "name each one once")
    return ids


def _check_stop_strings(strings: Sequence[str]) -> None:
    longest = max(map(len, strings), default=0)
    if len(strings) > MAX_STOP_STRINGS or longest > MAX_STOP_CHARS:
        raise LimitExceeded(
            f"stop-strings: {len(strings)} of up to {longest} characters, "
            f"at most {MAX_STOP_STRINGS} of {MAX_STOP_CHARS}",
            "stop at tokens instead, or look for the strings in the program",
        )


def _readings_of(record: Any) -> Readings:
    """Without what is allowed."""
    sample, top_k, logprobs, entropy, _ = record
    plain = _plain_readings(top_k, entropy)
    if sample is None and logprobs is None:
        return plain
    return Readings(
        sample=None if sample is None else sampling_of(sample),
        top_k=plain.top_k,
        logprobs=() if logprobs is None else tuple(_ids("logprobs", logprobs)),
        entropy=entropy,
    )


@functools.lru_cache(2 * MAX_TOP_K)
def _plain_readings(top_k: int | None, entropy: bool) -> Readings:
    """Those of most tokens that a guest chooses: made once."""
    if top_k is not None and not 1 <= top_k <= MAX_TOP_K:
        raise Invalid(f"readings: top-k is {top_k}", f"ask for 1 to {MAX_TOP_K}")
    return Readings(top_k=top_k or 0, entropy=entropy)


def _indexes(outputs: tuple[str, Any], n: int) -> Sequence[int]:
    case, payload = outputs
    if case == "last":
        return (max(n - 1, 0),)
    if case == "every":
        return range(max(n, 1))
    if case == "none":
        return ()
    indexes = sorted(set(payload))
    if indexes and indexes[-1] >= max(n, 1):
        raise Invalid(f"outputs: index {indexes[-1]} is outside the {n} given tokens")
    return indexes


async def _within(caller: Caller, file: KvFile | None, wanted: Readings, allowed: tuple[str, Any]) -> Readings:
    """The readings, restricted to the tokens that are allowed."""
    case, given = allowed
    if case == "mask":
        mask = np.asarray(given, "<u4").tobytes()
    else:
        mask = await caller.core.constraints.mask(caller.session, given.id, None if file is None else file.id)
    return replace(wanted, allowed=mask)


async def pred(caller: Caller, file: KvFile, tokens: Any, outputs: tuple[str, Any], readings: Any) -> Prediction:
    wanted = _readings_of(readings)
    if readings.allowed is not None:
        wanted = await _within(caller, file, wanted, readings.allowed)
    indexes = _indexes(outputs, len(tokens))
    prediction = Prediction(caller, file, wanted)
    file.begin()
    try:
        await caller.core.pred(caller.session, file.id, prediction.op, tokens, indexes, wanted)
    except BaseException:
        prediction.close()
        raise
    return prediction


def predict(
    caller: Caller, file: KvFile, tokens: Any, outputs: tuple[str, Any], readings: Any
) -> Predicting | list[Distribution] | Coroutine[Any, Any, list[Distribution]]:
    sample, top_k, logprobs, entropy, allowed = readings
    plain = sample is None and logprobs is None  # most tokens of a guest: few calls from here on
    wanted = _plain_readings(top_k, entropy) if plain else _readings_of(readings)
    if allowed is not None:
        return _predict_within(caller, file, tokens, outputs, wanted, allowed)
    return _predict(caller, file, tokens, outputs, wanted)


async def _predict_within(
    caller: Caller, file: KvFile, tokens: Any, outputs: tuple[str, Any], wanted: Readings, allowed: tuple[str, Any]
) -> list[Distribution]:
    predicting = _predict(caller, file, tokens, outputs, await _within(caller, file, wanted, allowed))
    return await predicting if isinstance(predicting, Predicting) else predicting


def _predict(
    caller: Caller, file: KvFile, tokens: Any, outputs: tuple[str, Any], wanted: Readings
) -> Predicting | list[Distribution]:
    """What waits for the answer; or that, where it is known."""
    indexes = _FIRST if outputs == _LAST and len(tokens) == 1 else _indexes(outputs, len(tokens))
    predicting = Predicting(caller, wanted)
    try:
        caller.core.predict(caller.session, file.id, predicting.op, tokens, indexes, wanted)
    except BaseException:
        predicting.detach()
        raise
    if predicting.result is None:
        return predicting
    answer = predicting.answer()
    return predicting if answer is None else answer


def prediction_subscribe(caller: Caller, prediction: Prediction) -> Pollable:
    if prediction.pollable is None:
        prediction.pollable = Pollable(prediction.closed)
    return prediction.pollable


def _distributions(readings: list[Reading], wanted: Readings) -> list[Distribution]:
    made: list[Distribution] = []
    for reading in readings:  # no function of its own, no comprehension: as a rule it is one, and once a token
        top = _new(Ranked, (reading.top_ids, reading.top_logprobs)) if wanted.top_k else None
        logprobs = reading.logprobs if wanted.logprobs else None
        made.append(_new(Distribution, (reading.sampled, top, logprobs, reading.entropy)))
    return made


def prediction_get(caller: Caller, prediction: Prediction) -> Ok[list[Distribution]] | Err[SymphonyError] | None:
    answer = prediction.answer
    if answer is None:
        return None
    if isinstance(answer, SymphonyError):
        return Err(answer)
    return Ok(_distributions(answer, prediction.wanted))


async def pred_all(caller: Caller, parts: Sequence[Any], readings: Any) -> Predictions:
    wanted = _readings_of(readings)
    if readings.allowed is not None and parts:
        wanted = await _within(caller, parts[0].file, wanted, readings.allowed)
    requests = [
        Request(part.file, part.tokens, _indexes(part.outputs, len(part.tokens)), _shape(part), part.keep)
        for part in parts
    ]
    predictions = Predictions(caller, requests, wanted)
    await predictions.start(requests)
    return predictions


def _shape(part: Any) -> Shape | None:
    return None if part.positions is None and not part.masks else Shape(part.positions, part.masks)


async def predict_all(caller: Caller, parts: Sequence[Any], readings: Any) -> list[Ok[Any] | Err[SymphonyError]]:
    if any(part.keep for part in parts):
        raise Invalid("predict-all keeps nothing", "use pred-all, which has a handle to take rows from")
    predictions = await pred_all(caller, parts, readings)
    while (answers := predictions_get(caller, predictions)) is None:
        await Waiter([predictions.pollable])
    return answers


def predictions_subscribe(caller: Caller, predictions: Predictions) -> Pollable:
    return predictions.pollable


def predictions_get(caller: Caller, predictions: Predictions) -> list[Ok[Any] | Err[SymphonyError]] | None:
    answers = predictions.answers()
    if answers is None:
        return None
    wanted = predictions.wanted
    return [
        Err(answer) if isinstance(answer, SymphonyError) else Ok(_distributions(answer, wanted)) for answer in answers
    ]


def predictions_kept(caller: Caller, predictions: Predictions) -> list[KeptRow]:
    return predictions.kept()


async def ask(caller: Caller, rows: Sequence[KeptRow], readings: Any) -> list[Distribution]:
    wanted = _readings_of(readings)
    if readings.allowed is not None:
        wanted = await _within(caller, None, wanted, readings.allowed)
    return _distributions(await caller.core.kept.ask(caller.session, [row.id for row in rows], wanted), wanted)


def _draft(draft: Any) -> tuple[Draft | None, KvFile | None]:
    """How drafts are made, and the file of the model that makes them, if one does."""
    if draft is None:
        return None, None
    case, source = draft.source
    if case == "model":
        return Draft(draft.tokens), source
    return Draft(draft.tokens, source), None


async def generate(caller: Caller, file: KvFile, tokens: Any, options: Any) -> Generation:
    _check_stop_strings(options.stop_strings)
    draft, draft_file = _draft(options.draft)
    wanted = GenerateOptions(
        sampling=sampling_of(options.sampling),
        max_tokens=options.max_tokens,
        stop_tokens=tuple(_ids("stop-tokens", options.stop_tokens)),
        stop_strings=tuple(options.stop_strings),
        logprobs=options.logprobs,
        chunk_tokens=options.chunk_tokens,
        chunk_ms=options.chunk_ms,
        constraint=None if options.constraint is None else options.constraint.id,
        draft=draft,
    )
    generation = Generation(caller, file)
    file.begin()
    drafts = None if draft_file is None else draft_file.id
    try:
        await caller.core.generate(caller.session, file.id, generation.op, tokens, wanted, drafts)
    except BaseException:
        generation.finish()
        raise
    return generation


def generation_subscribe(caller: Caller, generation: Generation) -> Pollable:
    return generation.pollable


def _chunk(chunk: Chunk) -> ChunkRecord:
    alternatives = [Ranked(ids, values) for ids, values in chunk.alternatives]
    return ChunkRecord(chunk.tokens, chunk.text, chunk.logprobs, alternatives, chunk.finish)


async def generation_next(caller: Caller, generation: Generation) -> Ok[ChunkRecord] | Err[SymphonyError] | None:
    if generation.done:
        return Err(Invalid("this generation has ended", "start another one with generate"))
    if not generation.pollable.ready():
        return None
    generation.pollable.clear()
    try:
        chunk = await caller.core.next(caller.session, generation.op)
    except SymphonyError as e:
        generation.finish()
        return Err(e)
    if chunk is None:
        return None
    if chunk.finish is not None:
        generation.finish()
    return Ok(_chunk(chunk))


HANDLERS: Mapping[str, Handler] = {
    "symphony:lip/infer#pred": pred,
    "symphony:lip/infer#predict": predict,
    "symphony:lip/infer#[method]prediction.subscribe": prediction_subscribe,
    "symphony:lip/infer#[method]prediction.get": prediction_get,
    "symphony:lip/infer#pred-all": pred_all,
    "symphony:lip/infer#predict-all": predict_all,
    "symphony:lip/infer#[method]predictions.subscribe": predictions_subscribe,
    "symphony:lip/infer#[method]predictions.get": predictions_get,
    "symphony:lip/infer#[method]predictions.kept": predictions_kept,
    "symphony:lip/infer#ask": ask,
    "symphony:lip/infer#generate": generate,
    "symphony:lip/infer#[method]generation.subscribe": generation_subscribe,
    "symphony:lip/infer#[method]generation.next": generation_next,
}

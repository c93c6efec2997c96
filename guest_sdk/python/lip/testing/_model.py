"""Predictions and generations of the scripted model, and what they have used."""

from __future__ import annotations

import json
from typing import Any, Self

from . import _records as abi
from ._basics import Clock, Err, Ok, Operation, Resource, refusal
from ._files import Body, KvFile, Names
from ._script import Script, Text
from ._text import STOP, VOCABULARY, decode, encode, render

NAME = "scripted"
CONTEXT = 1 << 17


class Model(Resource):
    """The one model."""

    @classmethod
    def open(cls, name: str | None) -> Self:
        if name not in (None, NAME):
            raise refusal("not-found", f"there is no model {name!r}", f"the test kit has one: {NAME}")
        return cls()

    def info(self) -> Any:
        return abi.model.Info(NAME, VOCABULARY, CONTEXT, 16, [STOP], None)

    def tokenize(self, text: str, special: bool) -> list[int]:
        return encode(text, special)

    def detokenize(self, ids: list[int]) -> str:
        return decode(ids)

    def render_chat(self, conversation: str) -> str:
        return render(json.loads(conversation))


class Running(Operation):
    """An operation on a file. Dropped before it is over, it leaves the file as it was at `before`."""

    def __init__(self, clock: Clock, body: Body, tokens: list[int]) -> None:
        if body.busy is not None and not body.busy.done:
            raise refusal("busy", "an operation is in flight on the file", "await it first, or work on a fork")
        super().__init__(clock)
        self.body = body
        self.before = len(body.text.ids)
        self.answer: Any = None
        body.busy = self
        body.text.ids += tokens

    def drop(self) -> None:
        super().drop()
        if not self.done:
            del self.body.text.ids[self.before :]
        if self.body.busy is self:
            self.body.busy = None

    def get(self) -> Any:
        return self.answer if self.done else None


class Generation(Running):
    """A reply, chunk by chunk."""

    def __init__(self, clock: Clock, body: Body, tokens: list[int]) -> None:
        super().__init__(clock, body, tokens)
        self.chunks: list[Any] = []

    def next(self) -> Any:
        if not self.done:
            return None
        answer = self.chunks.pop(0)
        if isinstance(answer, Ok):
            self.body.text.ids += answer.value.tokens
        self.before = len(self.body.text.ids)
        if self.chunks:
            self.done = False
            self.clock.flight.append(self)
        return answer


class Together(Resource):
    """Predictions of several files."""

    def __init__(self, running: list[Running], kept: list[Any]) -> None:
        self._running = running
        self._kept = kept

    def subscribe(self) -> Any:
        last = self._running[-1]
        return last.subscribe()

    def get(self) -> Any:
        return [one.answer for one in self._running] if all(one.done for one in self._running) else None

    def kept(self) -> list[Any]:
        kept, self._kept = self._kept, []
        return kept

    def drop(self) -> None:
        for one in self._running:
            one.drop()


class KeptRow(Resource):
    """A place in a text, as it was when it was kept."""

    def __init__(self, text: Text, at: int) -> None:
        self.text = text
        self.at = at


class Sight:
    """What the tokens of a prediction see. Masks are runs of entries, visible and hidden in turn; where a token is put
    (`positions`) makes no difference to a script."""

    def __init__(self, tokens: list[int], masks: list[list[int]], positions: list[int] | None) -> None:
        rows = max(1, len(tokens))
        if len(masks) not in (0, 1, rows):
            raise refusal("invalid", f"{len(masks)} masks for {rows} tokens", "give one for all, or one for each")
        if positions is not None and len(positions) != len(tokens):
            raise refusal("invalid", f"{len(positions)} positions for {len(tokens)} tokens", "give one for each")
        self._rows = rows
        self._masks = masks

    def seen(self, text: Text, at: int) -> tuple[Text, int]:
        """The text that the model has before it at a place: of the entries those that the last one sees."""
        if not self._masks:
            return text, at
        mask = self._masks[(at - 1 - (len(text.ids) - self._rows)) % len(self._masks)]
        visible = [n % 2 == 0 for n, length in enumerate(mask) for _ in range(length)]
        shown = [i for i in range(at) if i == at - 1 or visible[i]]
        plan = text.plan if text.plan is not None and shown[: text.plan.start] == [*range(text.plan.start)] else None
        return Text([text.ids[i] for i in shown], plan), len(shown)


class Engine:
    """Runs the script on files."""

    def __init__(self, script: Script, names: Names, clock: Clock) -> None:
        self._script = script
        self._names = names
        self._clock = clock
        self.forwards = self.prompt_tokens = self.generated_tokens = 0

    def create(self, _model: Model) -> KvFile:
        return KvFile(self._names, Body(Text()))

    def pred(self, file: KvFile, tokens: list[int], outputs: Any, readings: Any) -> Running:
        return self._start(file.body, tokens, outputs, readings, None)

    def predict(self, file: KvFile, tokens: list[int], outputs: Any, readings: Any) -> list[Any]:
        running = self.pred(file, tokens, outputs, readings)
        self._finish([running])
        if isinstance(running.answer, Err):
            raise running.answer
        return running.answer.value

    def pred_all(self, parts: list[Any], readings: Any) -> Together:
        kept: list[KeptRow] = []
        running: list[Running] = []
        for part in parts:
            sight = Sight(part.tokens, part.masks, part.positions)
            running.append(
                self._start(part.file.body, part.tokens, part.outputs, readings, kept if part.keep else None, sight)
            )
        return Together(running, kept)

    def predict_all(self, parts: list[Any], readings: Any) -> list[Any]:
        together = self.pred_all(parts, readings)
        self._finish(together._running)
        return together.get()

    def ask(self, rows: list[KeptRow], readings: Any) -> list[Any]:
        return [self._script.distribution(row.text, row.at, 0, readings) for row in rows]

    def generate(self, file: KvFile, tokens: list[int], options: Any) -> Generation:
        generation = Generation(self._clock, file.body, tokens)
        generation.before = len(file.body.text.ids)
        self.prompt_tokens += len(tokens)
        try:
            rest = self._script.rest(file.body.text)
        except Err as error:
            generation.chunks = [error]
            return generation
        if options.constraint is not None:
            options.constraint.check(decode(rest[:-1]))
        written, shown, finish = _ending(rest, options)
        self.forwards += len(written)
        self.generated_tokens += len(written)
        generation.chunks = [Ok(chunk) for chunk in _chunks(written, shown, finish, options)]
        return generation

    def _start(
        self,
        body: Body,
        tokens: list[int],
        outputs: Any,
        readings: Any,
        kept: list[Any] | None,
        sight: Sight | None = None,
    ) -> Running:
        running = Running(self._clock, body, tokens)
        self.forwards += 1
        self.prompt_tokens += len(tokens)
        length = len(body.text.ids)
        if not length:
            running.drop()
            raise refusal("invalid", "a prediction over nothing", "give the context a text first")
        first = length - len(tokens)
        if isinstance(outputs, abi.infer.Outputs_Every):
            places = list(range(first + 1, length + 1))
        elif isinstance(outputs, abi.infer.Outputs_At):
            places = [first + 1 + index for index in outputs.value]
        else:
            places = [] if isinstance(outputs, abi.infer.Outputs_None_) else [length]
        new = len(tokens) if isinstance(outputs, abi.infer.Outputs_Last) else 1
        seen = [(body.text, at) if sight is None else sight.seen(body.text, at) for at in places]
        try:
            running.answer = Ok([self._script.distribution(text, at, new, readings) for text, at in seen])
        except Err as error:
            running.answer = error
        if kept is not None:
            kept += [KeptRow(text.copy(), at) for text, at in seen]
        return running

    def _finish(self, running: list[Running]) -> None:
        """The whole program is held up meanwhile."""
        for one in running:
            while not one.done:
                self._clock.flight.popleft().complete()
            one.drop()


def _ending(rest: list[int], options: Any) -> tuple[list[int], str, Any]:
    """The tokens that are written, their text without stop token and stop string, and why no more."""
    text = ""
    for n in range(min(len(rest), options.max_tokens)):
        if rest[n] in options.stop_tokens:
            return rest[: n + 1], text, abi.infer.FinishReason_StopToken(rest[n])
        text = decode(rest[: n + 1])
        for index, string in enumerate(options.stop_strings):
            if string in text:
                return rest[: n + 1], text[: text.index(string)], abi.infer.FinishReason_StopString(index)
    return rest[: options.max_tokens], text, abi.infer.FinishReason_Length()


def _chunks(written: list[int], shown: str, finish: Any, options: Any) -> list[Any]:
    """What `next` gives."""
    size = max(1, options.chunk_tokens)
    chunks: list[Any] = []
    for at in range(0, max(len(written), 1), size):
        tokens = written[at : at + size]
        logprobs, others = [], []
        if options.logprobs is not None:
            logprobs = [-0.1] * len(tokens)
            others = [abi.types.Ranked([token][: options.logprobs], [-0.1][: options.logprobs]) for token in tokens]
        text = shown[len(decode(written[:at])) : len(decode(written[: at + size]))]
        chunks.append(abi.infer.Chunk(tokens, text, logprobs, others, None))
    chunks[-1].finish = finish
    return chunks

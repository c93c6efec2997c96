"""A KV file with the conveniences of a conversation: what most programs work with.

Text and turns only collect in a buffer of tokens; the next awaited call computes them together with its own, in one
step. An operation that fails leaves the buffer as it was. This module knows the host's `kvfs` and `infer`, and leaves
the bookkeeping of turns to `_chat`.
"""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Self

from . import _host, _parts
from ._chat import Conversation
from ._loop import Loop
from ._model import Model, ModelInfo, open_model
from ._parts import Visible, runs
from ._sampling import count, ids, sampling, stops
from .batch import Draft, draft_of
from .constraint import Constraint, handle_of, split
from .distribution import Dist
from .errors import Closed, Invalid, call, from_wit
from .fs import Stat, mode_of, stat_of, synced
from .fs import sync as sync_path
from .lock import Lock
from .stream import Completion, Stream

_CLOSED: Any = Closed("context", "use it inside its `async with` block, or go on with a fork made before")


class Context:
    """An open KV file and what waits to be computed into it.

    `async with Context() as ctx:` closes it at the end; without `async with`, `close()` or the end of the process does.
    One operation runs on a context at a time (`Busy` otherwise); forks run at the same time.
    """

    def __init__(self, *, model: str | None = None, **template: Any) -> None:
        """A new, empty, unnamed file for a model (the default one where none is named).

        `template` are further variables of the model's chat template, such as `tools=[...]`.
        """
        opened = open_model(model)
        self._begin(opened, call(_host.kvfs.KvFile.create, opened.handle), Conversation(template))

    def _begin(self, model: Model, file: Any, chat: Conversation) -> None:
        self._model = model
        self._file = file
        self._idle = file.idle()
        self._buffer: list[int] = []
        self._chat = chat

    @classmethod
    def open(
        cls, path: str, *, write: bool = False, create: bool = False, model: str | None = None, **template: Any
    ) -> Self:
        """A named file: a private copy-on-write fork of it, or with `write` the file itself, to be edited in place.

        A fork needs the right to read only. At once, whatever its length; pages come in when they are used.
        Raises `NotFound`, `PermissionDenied`.
        """
        opened = open_model(model)
        flags = _host.kvfs.OpenFlags
        how = flags(0)
        if write:
            how |= flags.WRITE
        if create:
            how |= flags.WRITE | flags.CREATE
        context = cls.__new__(cls)
        file = call(_host.kvfs.KvFile.open, opened.handle, _host.text(path), how)
        context._begin(opened, file, Conversation(template))
        return context

    @classmethod
    def inherit(cls, name: str, *, model: str | None = None, **template: Any) -> Self:
        """Take over a context that the program which started this one passed under that name; once.

        Raises `NotFound` (the message lists the names), `Invalid` (it is of another model).
        """
        opened = open_model(model)
        context = cls.__new__(cls)
        file = call(_host.process.inherit, opened.handle, _host.text(name))
        context._begin(opened, file, Conversation(template))
        return context

    def fork(self) -> Self:
        """A copy-on-write clone: shares everything computed so far, carries the buffer along, then goes its own way."""
        context = type(self).__new__(type(self))
        context._begin(self._model, call(self._file.fork), self._chat.copy())
        context._buffer = self._buffer.copy()
        return context

    def close(self) -> None:
        """Close the file; what was not saved is gone. Closing twice is fine."""
        if self._file is not _CLOSED:
            self._idle.__exit__(None, None, None)
            self._file.__exit__(None, None, None)
            self._file = self._idle = _CLOSED

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    # --- text ------------------------------------------------------------------------------------------------------

    @property
    def model(self) -> ModelInfo:
        return self._model.info

    def system(self, text: str) -> Self:
        """Add a system turn, in the words of the model's chat template."""
        return self.message("system", text)

    def user(self, text: str) -> Self:
        """Add a user turn."""
        return self.message("user", text)

    def assistant(self, text: str) -> Self:
        """Add an assistant turn that the program made up."""
        return self.message("assistant", text)

    def feed(self, text: str | int | Sequence[int], *, special: bool = False) -> Self:
        """Add raw text or token ids. After turns: the beginning of the assistant's reply.

        With `special`, special tokens written out in the text become their ids.
        """
        self._settle(reply=True)
        self._buffer += self._tokens(text, special)
        return self

    def assistant_start(self) -> Self:
        """Open the assistant's reply now, so that `len` and `fork` see it; predicting does it by itself."""
        self._settle(reply=True)
        return self

    def message(self, role: str, content: str, **fields: Any) -> Self:
        """Add a turn of any role that the template knows, such as `tool`; `fields` go with it (`tool_calls=[...]`)."""
        if not isinstance(content, str):
            raise Invalid(f"a {role} turn is text, not {type(content).__name__}", "use feed() for token ids")
        chat = self._chat
        if chat.reply is not None:
            self._close_reply(chat.reply)
        if not chat.marks:
            length = len(self)
            chat.begin(length, self._opening() if length and role != "system" else None)
        chat.say({"role": role, "content": content, **fields})
        return self

    def _close_reply(self, start: int) -> None:
        tokens = self.tokens(start)
        stopped = tokens[-1:] and tokens[-1] in self._model.info.stop_tokens
        content = self._model.decode(tokens[:-1] if stopped else tokens)
        self._chat.close_reply(self._model.decode(tokens), content)

    def _opening(self) -> str | None:
        """What the template puts before the first turn, to be skipped when the file holds something already."""
        try:
            return self._model.render(self._chat.opening())
        except Invalid:
            return None

    def _settle(self, reply: bool) -> None:
        """Turn what was said into buffered tokens; with `reply`, open the assistant's reply if turns came last."""
        chat = self._chat
        if chat.unfed:
            self._step(reply=False)
        if reply and chat.marks and chat.reply is None:
            self._step(reply=True)

    def _step(self, reply: bool) -> None:
        length = self._length()
        step = self._chat.step(self._model.render, length, reply)
        tokens = self._model.encode(step.text, special=True) if step.text else []
        if step.length < length:
            self._cut(step.length)
        self._buffer += tokens
        self._chat.fed(step.length + len(tokens), reply)

    def _tokens(self, given: str | int | Sequence[int], special: bool = False) -> list[int]:
        if given.__class__ is int and 0 <= given < 1 << 32:  # the token that a program chose
            return [given]
        if isinstance(given, str):
            return self._model.encode(given, special)
        return ids("a token id", [given] if isinstance(given, int) else given)

    # --- the file --------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Tokens, buffered ones included."""
        if self._chat.unfed:
            self._settle(reply=False)
        return self._length()

    def __bool__(self) -> bool:
        return True

    def _length(self) -> int:
        return self._file.length() + len(self._buffer)

    def tokens(self, start: int = 0, end: int | None = None) -> list[int]:
        """The token ids of `[start, end)`, buffered ones included."""
        length = len(self)
        end = length if end is None else end
        if not 0 <= start <= end <= length:
            raise Invalid(f"tokens({start}, {end}) is outside the context, which has {length} tokens")
        held = length - len(self._buffer)
        ids: list[int] = []
        if start < held:
            ids += call(self._file.tokens, _host.types.Span(start, min(end, held)))
        return ids + self._buffer[max(0, start - held) : max(0, end - held)]

    def truncate(self, length: int) -> None:
        """Keep the first `length` tokens, buffered ones included; any depth."""
        if not 0 <= length <= len(self):
            raise Invalid(f"truncate({length}): the context has {len(self)} tokens")
        self._cut(length)
        self._chat.cut(length)

    def _cut(self, length: int) -> None:
        held = self._file.length()
        if length < held:
            call(self._file.truncate, length)
        del self._buffer[max(0, length - held) :]

    def extract(self, ranges: Iterable[tuple[int, int]], *, rebase: bool = False) -> Self:
        """A new context of these ranges of tokens, with the keys and values that they have.

        They were computed after everything before them, and still know of it: this is cheaper than computing the joined
        tokens, and not the same. Positions are kept, and must ascend; with `rebase` they count up from 0. Holds up the
        whole program until it is done; what is buffered is computed first.
        """
        self._compute()
        spans = [_span("extract", start, end) for start, end in ranges]
        context = type(self).__new__(type(self))
        context._begin(self._model, call(self._file.extract, spans, rebase), Conversation(self._chat.template))
        return context

    def append(self, other: Context, start: int = 0, end: int | None = None) -> None:
        """Append a range of another context, all of it by default, with the keys and values that it has there.

        Positions count on from this context's end. Otherwise as `extract`; both are computed first.
        """
        self._settle(reply=True)
        self._compute()
        other._compute()
        span = _span("append", start, other._length() if end is None else end)
        call(self._file.append_from, other.handle, span)

    def _compute(self) -> None:
        """`flush`, which holds up the whole program."""
        self._settle(reply=False)
        if self._buffer:
            none, readings = _host.infer.Outputs_None_(), readings_of(None, None, None, False)
            call(_host.infer.predict, self.handle, self._buffer.copy(), none, readings)
            self._buffer.clear()

    def pin(self) -> None:
        """Keep the keys and values on the device until `unpin()` or `close()`."""
        call(self._file.pin)

    def unpin(self) -> None:
        """Let the host move them again."""
        self._file.unpin()

    def advise(self, what: str) -> None:
        """Say that the file is used soon, 'will-need', or not for a while, 'dont-need': a hint."""
        advice = _host.kvfs.Advice
        known = {"will-need": advice.WILL_NEED, "dont-need": advice.DONT_NEED}
        if what not in known:
            raise Invalid(f"advise({what!r}) is not understood", "use 'will-need' or 'dont-need'")
        self._file.advise(known[what])

    async def save(self, path: str, *, overwrite: bool = False, sync: bool = False) -> None:
        """Give a snapshot of the context a name. It outlives the process; this context stays private.

        With `sync` it outlives the host too: returns once the snapshot is on disk.
        """
        await self.flush()
        call(self._file.save, _host.text(path), overwrite)
        if sync:
            await sync_path(path)

    async def sync(self) -> None:
        """Make the context's own file, which has a name (by `link`, or opened with `write`), outlive the host as it is
        now: tokens, keys and values. Raises `NoSpace`, `Invalid` (no name), `Unavailable` (the host keeps nothing)."""
        await self.flush()
        await synced(call(self._file.sync))

    async def link(self, path: str) -> None:
        """Give the context's own file a name, or one more: whoever opens that with `write` edits this very file."""
        await self.flush()
        call(self._file.link, _host.text(path))

    def chmod(self, *, owner: str | None = None, tenant: str | None = None, other: str | None = None) -> None:
        """Say what the owner, others of the tenant, and all others may do: 'rw', 'r', 'w' or ''; None: as before."""
        changes = {"owner": owner, "tenant": tenant, "other": other}
        call(self._file.set_mode, mode_of(self._file.stat().mode, changes))

    def ttl(self, seconds: int | None) -> None:
        """Let the file's names go so many seconds after its last use; None: never."""
        call(self._file.set_ttl, None if seconds is None else count("ttl", seconds))

    def lock(self, *, shared: bool = False) -> Lock:
        """Stand in line for an advisory lock on the file: `async with ctx.lock():`, or `await` it and `release()` it.

        Raises `Busy` at once where the wait could never end: its holder waits for a lock of this program.
        """
        kind = _host.kvfs.LockKind
        return Lock(call(self._file.lock, kind.SHARED if shared else kind.EXCLUSIVE))

    def try_lock(self, *, shared: bool = False) -> Lock:
        """The lock now, or `Busy`."""
        kind = _host.kvfs.LockKind
        return Lock(call(self._file.try_lock, kind.SHARED if shared else kind.EXCLUSIVE))

    def stat(self) -> Stat:
        """Length, pages, owner, mode, times of the file, without what is buffered."""
        return stat_of(self._file.stat())

    # --- the model -------------------------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Compute what is buffered."""
        self._settle(reply=False)
        if self._buffer:
            loop: Any = get_running_loop()
            none, readings = _host.infer.Outputs_None_(), readings_of(None, None, None, False)
            await self._predict(loop, self._buffer.copy(), none, readings)
            self._buffer.clear()

    async def pred(
        self,
        tokens: str | int | Sequence[int] | None = None,
        *,
        top_k: int | None = None,
        sample: bool | Mapping[str, Any] | None = None,
        logprobs: Sequence[int] | None = None,
        entropy: bool = False,
        every: bool = False,
        constraint: Constraint | None = None,
        allowed: Sequence[int] | None = None,
        mask: Visible | None = None,
        masks: Sequence[Visible] | None = None,
        positions: Sequence[int] | None = None,
        keep: bool = False,
    ) -> Any:
        """Append `tokens` and run the model over them: the distribution of the token that follows, a `Dist`.

        Without tokens: over what is buffered, or once more about the last token. With `every`: a list, one `Dist` after
        each of `tokens`. What is drawn is not appended. Name what will be asked: `top_k=` (at most 1,024),
        `sample=True` or a dict of sampling arguments, `logprobs=[ids]`, `entropy=True`. Nothing named: the most
        probable token.

        With `constraint` there are only the tokens that it allows where it is (it stays there: `consume` what you
        pick), with `allowed` those of a bit mask, in words as `Constraint.mask` has them; all readings are of these.

        `mask=` shows `tokens` parts of the context only: a list of ranges `(start, end)` of entries, of `tokens` too
        (None for an end: the last). `masks=` has such a list for each of `tokens`. A token always sees itself, and
        never what comes after it. `positions=` puts each somewhere else than behind the one before it. What is computed
        so, and what follows, is not what the same text would give: `stat().plain` says how much still is.

        With `keep` more can be asked later (`dist.ask`), however the context changes, until `dist.forget()`.
        """
        if mask is not None or masks is not None or positions is not None or keep:
            readings = readings_of(top_k, sample, logprobs, entropy, _allowed(constraint, allowed))
            await self.flush()
            new = self.take(tokens)
            given = [mask] if mask is not None else masks
            kept: list[Any] | None = [] if keep else None
            answer = await self._placed(new, every, readings, given, positions, kept)
            dists = [Dist(raw, logprobs, row) for raw, row in zip(answer, kept or [None] * len(answer), strict=True)]
            return dists if every else dists[0]
        chat = self._chat
        if chat.marks and (chat.unfed or chat.reply is None):
            self._settle(reply=True)
        new = [] if tokens is None else self._tokens(tokens)
        readings = readings_of(top_k, sample, logprobs, entropy, _allowed(constraint, allowed))
        outputs: Any = _last()
        buffer = self._buffer
        if every:
            if not new:
                raise Invalid("pred(every=True) needs tokens", "name the tokens after which a distribution is wanted")
            outputs = _host.infer.Outputs_At(list(range(len(buffer), len(buffer) + len(new))))
        if buffer:
            new = buffer + new
        loop: Any = get_running_loop()
        if loop.alone():
            answer = self._suspend(new, outputs, readings)
        else:
            answer = await self._predict(loop, new, outputs, readings)
        if buffer:
            del buffer[:]
        return [Dist(raw, logprobs) for raw in answer] if every else Dist(answer[0], logprobs)

    async def _placed(
        self,
        tokens: list[int],
        every: bool,
        readings: Any,
        masks: Sequence[Visible] | None,
        positions: Sequence[int] | None,
        kept: list[Any] | None = None,
    ) -> list[Any]:
        total = self._file.length() + len(tokens)
        outputs = _host.infer.Outputs_Every() if every else _last()
        lengths = [runs(visible, total) for visible in masks or ()]
        loop: Any = get_running_loop()
        part = _parts.part(self.handle, tokens, outputs, positions, lengths, kept is not None)
        [answer] = await _parts.predict(loop, [part], readings, kept)
        if isinstance(answer, Exception):
            raise answer
        self._buffer.clear()
        return answer

    async def pred_tree(
        self,
        tokens: Sequence[int],
        parents: Sequence[int],
        *,
        top_k: int | None = None,
        sample: bool | Mapping[str, Any] | None = None,
        logprobs: Sequence[int] | None = None,
        entropy: bool = False,
    ) -> list[Dist]:
        """Append a tree of tokens and predict after each, in one step: what separate forks would say of every branch.

        `parents[i]` is the index of the token that token i follows, or -1 for the end of the context; parents come
        first. Each sees the context and its ancestors. Go on with one branch by
        `ctx.extract([(0, n), (n + i, n + i + 1), ...])`, n being the length before; or `truncate(n)`.
        """
        await self.flush()
        length, paths = self._file.length(), list[list[int]]()
        for index, parent in enumerate(parents):
            if not -1 <= parent < index:
                raise Invalid(f"parents[{index}] is {parent}", "give the index of an earlier token, or -1")
            paths.append([*(paths[parent] if parent >= 0 else ()), index])
        first = self._file.stat().next_position
        masks = [[(0, length), *((length + i, length + i + 1) for i in path)] for path in paths]
        positions = [first + len(path) - 1 for path in paths]
        readings = readings_of(top_k, sample, logprobs, entropy)
        answer = await self._placed(ids("a token id", tokens), True, readings, masks, positions)
        return [Dist(raw, logprobs) for raw in answer]

    async def verify(self, tokens: Sequence[int], *, sample: bool | Mapping[str, Any] | None = None) -> list[int]:
        """Append `tokens[0]`, and as many of the others as the model would write behind it; all in one step.

        Returns what it writes: the accepted ones, and one more of its own, which is not appended. So a loop is

            new = [(await ctx.pred()).argmax()]
            while ...:
                new = await ctx.verify([new[-1], *guesses])

        `sample` as in `pred`; greedy without. With a seed the tokens are those of a loop without guesses.
        """
        dists = await self.pred(tokens, every=True, sample=sample)
        drawn = [dist.sampled if sample else dist.argmax() for dist in dists]
        right = 0
        while right + 1 < len(drawn) and drawn[right] == tokens[right + 1]:
            right += 1
        self._cut(self._length() - (len(drawn) - 1 - right))
        return drawn[: right + 1]

    @property
    def handle(self) -> Any:
        """The host's file, to hand it to the host: raises `Invalid` once it is closed, where that would trap."""
        return self._file.closed if self._file is _CLOSED else self._file

    def take(self, tokens: str | int | Sequence[int] | None) -> list[int]:
        """What a prediction over `tokens` computes: what is buffered too. `taken` once it has been."""
        self._settle(reply=True)
        return self._buffer + ([] if tokens is None else self._tokens(tokens))

    def taken(self) -> None:
        self._buffer.clear()

    def lend(self) -> None:
        """Its file writes drafts for another: that has the host overwrite it."""
        self._buffer.clear()
        self._chat = Conversation(self._chat.template)

    def _suspend(self, tokens: list[int], outputs: Any, readings: Any) -> list[Any]:
        """A prediction that holds up the whole program."""
        try:
            return _host.infer.predict(self.handle, tokens, outputs, readings)
        except _host.Err as error:
            raise from_wit(error.value) from None

    async def _predict(self, loop: Loop, tokens: list[int], outputs: Any, readings: Any) -> list[Any]:
        try:
            prediction = _host.infer.pred(self.handle, tokens, outputs, readings)
        except _host.Err as error:
            raise from_wit(error.value) from None
        try:
            idle = self._idle
            while True:
                if not loop.ready(idle):
                    await loop.suspend(idle)
                answer = prediction.get()
                if answer is not None:
                    break
        finally:
            prediction.__exit__(None, None, None)
        if answer.__class__ is _host.Err:
            raise from_wit(answer.value)
        return answer.value

    async def generate(
        self,
        *,
        max_tokens: int = 256,
        stop: str | int | Sequence[str | int] = (),
        stop_tokens: Sequence[int] | None = None,
        logprobs: int | None = None,
        draft: Draft | Context | int | None = None,
        **options: Any,
    ) -> Completion:
        """Let the model write until something stops it.

        max_tokens    tokens to write at most
        stop          strings (and token ids) that end it; `text` ends before the string
        stop_tokens   ids that end it; the model's own unless given
        logprobs      log-probabilities of each token and of this many alternatives
        draft         guesses, verified several at a step, for the same text in fewer steps: True, a number of them or a
                      `Draft` looks them up in the text itself; a context of a smaller model writes them
        Constraint    constraint=, of which a copy goes along, or one made for this call: schema= (a JSON schema;
                      `out.json()` is then the value), regex=, grammar= (Lark), choice= (a list of texts)
        Sampling      temperature (0 or absent: greedy), top_k, top_p, min_p, repetition_penalty, presence_penalty,
                      frequency_penalty, logit_bias, seed
        """
        stream = self._stream(max_tokens, stop, stop_tokens, logprobs, 256, 0, draft, options)
        try:
            async for _ in stream:
                pass
        finally:
            stream.close()
        return stream.completion()

    def stream(
        self,
        *,
        max_tokens: int = 256,
        stop: str | int | Sequence[str | int] = (),
        stop_tokens: Sequence[int] | None = None,
        logprobs: int | None = None,
        chunk_tokens: int = 16,
        chunk_ms: int = 50,
        draft: Draft | Context | int | None = None,
        **options: Any,
    ) -> Stream:
        """`generate`, piece by piece: `async for chunk in ctx.stream(...): emit(chunk.text)`.

        A chunk comes when `chunk_tokens` tokens are there, or the oldest is `chunk_ms` milliseconds old. Leaving the
        loop early stops the model; the context then holds what was delivered.
        """
        return self._stream(max_tokens, stop, stop_tokens, logprobs, chunk_tokens, chunk_ms, draft, options)

    def _stream(
        self,
        max_tokens: int,
        stop: str | int | Sequence[str | int],
        stop_tokens: Sequence[int] | None,
        logprobs: int | None,
        chunk_tokens: int,
        chunk_ms: int,
        draft: Draft | Context | int | None,
        options: Mapping[str, Any],
    ) -> Stream:
        self._settle(reply=True)
        handle, own, rest = split(options, self._model.info.name)
        guesses, writer = draft_of(draft)
        strings, ending = stops(stop)
        ending += self._model.info.stop_tokens if stop_tokens is None else stop_tokens
        record = _host.infer.GenerateOptions(
            sampling(rest),
            count("max_tokens", max_tokens),
            ids("a stop token", ending),
            strings,
            None if logprobs is None else count("logprobs", logprobs),
            count("chunk_tokens", chunk_tokens),
            count("chunk_ms", chunk_ms),
            handle,
            guesses,
        )
        held = self._file.length() if self._buffer else 0
        generation = call(_host.infer.generate, self.handle, self._buffer, record)
        if writer is not None:
            writer.lend()
        if own is not None:
            own.close()
        return Stream(generation, strings, logprobs is not None, self._fed(held))

    def _fed(self, held: int) -> Any:
        """What to do when a generation failed: keep what it did not compute of the buffer."""
        buffer, self._buffer = self._buffer, []

        def restore() -> None:
            if buffer and self._file is not _CLOSED:
                missing = held + len(buffer) - self._file.length()
                if missing > 0:
                    self._buffer = buffer[len(buffer) - missing :] + self._buffer

        return restore


@cache
def _last() -> Any:
    return _host.infer.Outputs_Last()


@cache
def _plain(top_k: int | None, entropy: bool) -> Any:
    wanted = 1 if top_k is None and not entropy else top_k
    return _host.infer.Readings(None, None if wanted is None else count("top_k", wanted), None, entropy, None)


def _span(name: str, start: Any, end: Any) -> Any:
    return _host.types.Span(count(f"{name}: a start", start), count(f"{name}: an end", end))


def _allowed(constraint: Constraint | None, allowed: Sequence[int] | None) -> Any:
    """The `allowed-tokens` of a prediction."""
    if constraint is None and allowed is None:
        return None
    if constraint is not None and allowed is not None:
        raise Invalid("pred() takes a constraint or a mask, not both", "join masks: [a & b for a, b in zip(x, y)]")
    if constraint is not None:
        return _host.infer.AllowedTokens_Constraint(handle_of(constraint))
    return _host.infer.AllowedTokens_Mask(ids("a word of the mask", allowed or ()))


def readings_of(
    top_k: int | None,
    sample: bool | Mapping[str, Any] | None,
    logprobs: Sequence[int] | None,
    entropy: bool,
    allowed: Any = None,
) -> Any:
    """The `readings` record; the plain ones are made once."""
    if sample is None and logprobs is None:
        plain = _plain(top_k, entropy)
        if allowed is None:
            return plain
        return _host.infer.Readings(None, plain.top_k, None, entropy, allowed)
    options = {"temperature": 1.0} if sample is True else sample or None
    drawn = None if options is None else sampling(options)
    wanted = None if top_k is None else count("top_k", top_k)
    asked = None if logprobs is None else ids("a token id", logprobs)
    return _host.infer.Readings(drawn, wanted, asked, entropy, allowed)

"""A host for the SDK outside Wasm: the generated bindings, with a scripted model behind them.

One token is one character, special tokens are `<|...|>` (ids from 1000), the template is ChatML. Time is virtual:
`poll` first completes the oldest operation in flight, then jumps to the earliest timer. Every call is counted.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections import Counter
from fnmatch import fnmatch
from types import ModuleType
from typing import Any

SPECIAL = ["<|im_start|>", "<|im_end|>", "<|bos|>"]
STOP = 1001


class Deadlocked(AssertionError):
    """Nothing in a poll can ever become ready."""


class FakePollable:
    def __init__(self, host: FakeHost, ready: Any, at: int | None = None) -> None:
        self.host, self.is_ready, self.at = host, ready, at
        host.open_pollables += 1

    def __enter__(self) -> FakePollable:
        return self

    def __exit__(self, *_: object) -> None:
        self.host.open_pollables -= 1


class FakeOperation:
    """A pred or a generate in flight; `answers` are given out one by one."""

    def __init__(self, host: FakeHost, file: FakeFile, answers: list[Any]) -> None:
        self.host, self.file, self.answers, self.done = host, file, answers, False
        self.before = list(file.ids)
        self.dropped = False
        file.busy = self
        host.flight.append(self)

    def complete(self) -> None:
        self.done = True

    def subscribe(self) -> FakePollable:
        self.host.calls["subscribe"] += 1
        return FakePollable(self.host, lambda: self.done)

    def __exit__(self, *_: object) -> None:
        self.host.dropped.append(self)
        self.dropped = True
        if self in self.host.flight:
            self.host.flight.remove(self)
        if not self.done:
            self.file.ids = self.before
        if self.file.busy is self:
            self.file.busy = None


class FakePrediction(FakeOperation):
    def get(self) -> Any:
        self.host.calls["get"] += 1
        return self.answers[0] if self.done else None


class FakeGeneration(FakeOperation):
    def next(self) -> Any:
        self.host.calls["next"] += 1
        if not self.done:
            return None
        chunk = self.answers.pop(0)
        if hasattr(chunk.value, "tokens"):
            self.file.ids = self.before = self.before + chunk.value.tokens
        self.done = False
        if self.answers:
            self.host.flight.append(self)
        return chunk


class FakeFile:
    def __init__(self, host: FakeHost, ids: list[int]) -> None:
        self.host, self.ids, self.closed = host, ids, False
        self.busy: FakeOperation | None = None
        self.mode = host.kvfs.Mode.OWNER_READ | host.kvfs.Mode.OWNER_WRITE | host.kvfs.Mode.TENANT_READ
        self.seconds: int | None = None
        self.pinned = False
        host.files.append(self)

    def idle(self) -> FakePollable:
        return FakePollable(self.host, lambda: self.busy is None or self.busy.done)

    def fork(self) -> FakeFile:
        return FakeFile(self.host, list(self.ids))

    def length(self) -> int:
        return len(self.ids)

    def tokens(self, span: Any) -> list[int]:
        return self.ids[span.start : span.end]

    def truncate(self, length: int) -> None:
        if self.busy is not None:
            raise self.host.error("BUSY", "in flight")
        del self.ids[length:]

    def extract(self, ranges: list[Any], rebase: bool) -> FakeFile:
        self.host.extracted.append(rebase)
        return FakeFile(self.host, [token for span in ranges for token in self.ids[span.start : span.end]])

    def append_from(self, other: FakeFile, span: Any) -> None:
        self.ids = self.ids + other.ids[span.start : span.end]

    def pin(self) -> None:
        self.pinned = True

    def unpin(self) -> None:
        self.pinned = False

    def advise(self, what: Any) -> None:
        self.host.advice.append(what)

    def save(self, path: str, overwrite: bool) -> None:
        if path in self.host.names and not overwrite:
            raise self.host.error("EXISTS", f"{path} exists")
        self.host.names[path] = list(self.ids)

    def link(self, path: str) -> None:
        self.host.names[path] = self.ids

    def set_mode(self, mode: Any) -> None:
        self.mode = mode

    def set_ttl(self, seconds: int | None) -> None:
        self.seconds = seconds

    def lock(self, kind: Any) -> FakeLock:
        return FakeLock(self.host, kind, held=False)

    def try_lock(self, kind: Any) -> FakeLock:
        return FakeLock(self.host, kind, held=True)

    def stat(self) -> Any:
        return self.host.stat(self.ids, self.mode, self.seconds)

    def __enter__(self) -> FakeFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True


class FakeLock:
    """A lock whose turn comes with the next poll in which nothing else is ready."""

    def __init__(self, host: FakeHost, kind: Any, held: bool) -> None:
        self.host, self.kind, self.is_held, self.dropped = host, kind, held, False
        host.locks.append(self)
        if not held:
            host.flight.append(self)

    def complete(self) -> None:
        self.is_held = True

    def subscribe(self) -> FakePollable:
        return FakePollable(self.host, lambda: self.is_held)

    def held(self) -> bool:
        return self.is_held

    def __exit__(self, *_: object) -> None:
        self.dropped = True
        if self in self.host.flight:
            self.host.flight.remove(self)


class FakeHost:
    """Install it over freshly generated bindings; `replies` are what `generate` will write."""

    def __init__(self, imports: dict[str, ModuleType], err: type[Exception], ok: Any) -> None:
        self.__dict__.update(imports)
        self.err, self.ok = err, ok
        self.calls: Counter[str] = Counter()
        self.files: list[FakeFile] = []
        self.names: dict[str, list[int]] = {}
        self.locks: list[FakeLock] = []
        self.extracted: list[bool] = []
        self.advice: list[Any] = []
        self.flight: list[Any] = []
        self.dropped: list[FakeOperation] = []
        self.polled: list[int] = []
        self.open_pollables = 0
        self.now = 0
        self.replies: list[str] = []
        self.failures: list[Exception] = []
        self.emitted: list[str] = []
        self.options: list[Any] = []
        self.readings: list[Any] = []
        self.fed: list[str] = []
        self.render: Any = chatml
        self.install()

    def error(self, code: str, message: str) -> Exception:
        return self.err(self.types.Error(getattr(self.types.ErrorCode, code), message, "do this"))

    def install(self) -> None:
        host = self

        class Model:
            @classmethod
            def open(cls, name: str | None) -> Model:
                if name not in (None, "tiny"):
                    raise host.error("NOT_FOUND", f"no model {name}")
                return cls()

            def info(self) -> Any:
                return host.model.Info("tiny", 2000, 1024, 16, [STOP], None)

            def tokenize(self, text: str, special: bool) -> list[int]:
                return encode(text, special)

            def detokenize(self, ids: list[int]) -> str:
                return decode(ids)

            def render_chat(self, conversation: str) -> str:
                return host.render(json.loads(conversation))

        class KvFile:
            @classmethod
            def create(cls, model: Any) -> FakeFile:
                return FakeFile(host, [])

            @classmethod
            def open(cls, model: Any, path: str, how: Any) -> FakeFile:
                if path not in host.names:
                    raise host.error("NOT_FOUND", f"no {path}")
                return FakeFile(host, list(host.names[path]))

        self.model.Model, self.kvfs.KvFile = Model, KvFile
        self.kvfs.stat_path = self._stat_path
        self.kvfs.glob = lambda pattern: sorted(path for path in self.names if fnmatch(path, pattern))
        self.infer.pred, self.infer.predict, self.infer.generate = self._pred, self._predict, self._generate
        self.poll.poll = self._poll
        self.clock.now = lambda: self.now
        self.clock.subscribe_instant = lambda at: FakePollable(self, lambda: self.now >= at, at)
        self.clock.subscribe_duration = lambda d: self.clock.subscribe_instant(self.now + d)
        self.ipc.emit = self.emitted.append
        self.tool.list = lambda: [self.tool.Description("add", "Adds.", "{}")]
        self.tool.call = self._tool

    def _stat_path(self, path: str) -> Any:
        if path not in self.names:
            raise self.error("NOT_FOUND", f"no {path}")
        return self.stat(self.names[path], self.kvfs.Mode(0), 60)

    def stat(self, ids: list[int], mode: Any, ttl: int | None) -> Any:
        length, tier = len(ids), self.kvfs.Tier.DEVICE
        return self.kvfs.Stat(length, length, length, 1, 0, tier, False, "local", "me", mode, 1, 2, 3, ttl, 1)

    def _poll(self, pollables: list[FakePollable]) -> list[int]:
        self.calls["poll"] += 1
        self.polled.append(len(pollables))
        assert pollables, "poll traps on an empty list"
        while True:
            ready = [i for i, p in enumerate(pollables) if p.is_ready()]
            if ready:
                return ready
            if self.flight:
                self.flight.pop(0).complete()
                continue
            times = [p.at for p in pollables if p.at is not None]
            if not times:
                raise Deadlocked
            self.now = min(times)

    def _pred(self, file: FakeFile, tokens: list[int], outputs: Any, readings: Any) -> FakePrediction:
        self.calls["pred"] += 1
        if file.busy is not None and not file.busy.done:
            raise self.error("BUSY", "an operation is in flight on the file")
        self.readings.append(readings)
        self.fed.append(decode(tokens))
        if self.failures:
            return FakePrediction(self, file, [self.failures.pop(0)])
        operation = FakePrediction(self, file, [])
        file.ids = file.ids + tokens
        kind = type(outputs).__name__
        wanted = {"Outputs_Last": 1, "Outputs_None_": 0}.get(kind, len(getattr(outputs, "value", [])))
        operation.answers = [self.ok([self._distribution(readings) for _ in range(wanted)])]
        return operation

    def _predict(self, file: FakeFile, tokens: list[int], outputs: Any, readings: Any) -> Any:
        self.calls["predict"] += 1
        operation = self._pred(file, tokens, outputs, readings)
        self.calls["pred"] -= 1
        while not operation.done:
            self.flight.pop(0).complete()
        operation.__exit__()
        answer = operation.answers[0]
        if isinstance(answer, self.err):
            raise answer
        return answer.value

    def _distribution(self, readings: Any) -> Any:
        top = None
        if readings.top_k is not None:
            ids = list(range(65, 65 + readings.top_k))
            top = self.types.Ranked(ids, [math.log(0.5 ** (i + 1)) for i in range(len(ids))])
        logprobs = None if readings.logprobs is None else [-float(i) for i in readings.logprobs]
        sampled = None if readings.sample is None else 66
        return self.infer.Distribution(sampled, top, logprobs, 1.5 if readings.entropy else None)

    def _generate(self, file: FakeFile, tokens: list[int], options: Any) -> FakeGeneration:
        self.calls["generate"] += 1
        self.options.append(options)
        self.fed.append(decode(tokens))
        if self.failures:
            return FakeGeneration(self, file, [self.failures.pop(0)])
        operation = FakeGeneration(self, file, [])
        file.ids = file.ids + tokens
        operation.before = list(file.ids)
        for piece in re.findall("..?", self.replies.pop(0), re.DOTALL):
            chunk = self.infer.Chunk(encode(piece, False), piece, [], [], None)
            operation.answers.append(self.ok(chunk))
        end = self.infer.Chunk([STOP], "", [], [], self.infer.FinishReason_StopToken(STOP))
        operation.answers.append(self.ok(end))
        return operation

    def _tool(self, name: str, arguments: str) -> Any:
        if name != "add":
            raise self.error("NOT_FOUND", f"no tool {name}; there is: add")
        given = json.loads(arguments)
        return FakePrediction(self, FakeFile(self, []), [self.ok(json.dumps(given["a"] + given["b"]))])


def encode(text: str, special: bool) -> list[int]:
    parts = re.split("(<[|][a-z_]+[|]>)", text) if special else [text]
    ids: list[int] = []
    for part in parts:
        ids += [1000 + SPECIAL.index(part)] if part in SPECIAL and special else [ord(c) for c in part]
    return ids


def decode(ids: list[int]) -> str:
    return "".join(SPECIAL[i - 1000] if i >= 1000 else chr(i) for i in ids)


def chatml(conversation: dict[str, Any]) -> str:
    messages = conversation["messages"]
    text = ""
    if not messages or messages[0]["role"] != "system":
        text = "<|im_start|>system\nDefault.<|im_end|>\n"
    for message in messages:
        text += f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n"
    return text + ("<|im_start|>assistant\n" if conversation.get("add_generation_prompt") else "")


def forget(*packages: str) -> None:
    """Drop packages from the imported modules."""
    for name in list(sys.modules):
        if name.split(".")[0] in packages:
            del sys.modules[name]

"""`Host`: what a program sees of Symphony, played by a test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from lip import _host, _model, context
from lip._arguments import Parameters
from lip._entry import encode_result
from lip._loop import Loop

from . import _records as abi
from ._basics import Clock, Err, ScriptError, refusal
from ._constraints import Constraint
from ._files import KvFile, Names
from ._model import NAME, Engine, Model
from ._outside import Channel, Child, Mailbox, Process, Toolbox, ToolCall, current
from ._script import Odds, Replies, Script
from ._text import decode
from ._web import Fetched, Page, Web


class Host:
    """A host with a scripted model.

    replies   what the model writes, one text a reply, in the order in which replies are begun; a `lip.Error` fails one.
              Or a function: the text so far -> the reply; for programs whose branches begin in no fixed order
    tools     the tools on offer, by name: functions, plain or `async`
    odds      a function: the text so far -> weights of tokens (words, "<|im_end|>") that may come next; for programs
              that look at distributions. Without it the model is nine parts in ten sure of its reply
    pages     what `lip.fetch` finds, by URL: texts, bytes, or (status, text); or functions of the request (`Fetched`)
    messages  what the client sends, for `lip.receive()`
    programs  the programs that `lip.spawn` finds, by name: their main functions. They run beside the one tested
    """

    def __init__(
        self,
        replies: Replies = (),
        *,
        tools: Mapping[str, Callable[..., Any]] | None = None,
        odds: Odds | None = None,
        pages: Mapping[str, Page | Callable[[Fetched], Page]] | None = None,
        messages: Sequence[str] = (),
        programs: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        if isinstance(replies, str):
            raise TypeError(f"replies is a list of texts: Host([{replies!r}])")
        self._script = Script(replies, odds)
        self._clock = Clock()
        self._names = Names()
        self._toolbox = Toolbox(tools or {}, self._clock)
        self._web = Web(pages or {}, self._clock)
        self._engine = Engine(self._script, self._names, self._clock)
        self._messages = list(messages)
        self._programs = dict(programs or {})
        self._channels: dict[str, list[Channel]] = {}
        self._processes: list[Process] = []
        self.logs: list[tuple[str, str]] = []
        """What `lip.log` wrote: level and text."""

    def run(self, program: Callable[..., Any], /, args: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
        """Run a main function to its end; its result as JSON has it. Files and counts stay for the next run.

        Raises what the program raises, as it raised it; `ArgumentError` where arguments do not fit its parameters.
        """
        given = Parameters(program).check(json.loads(json.dumps({**(args or {}), **kwargs})))
        process = Process(len(self._processes) + 1, program, Mailbox(self._messages))
        self._processes.append(process)
        token = current.set(process)
        try:
            with self._installed():
                return json.loads(Loop().run_until_complete(_result(program, given)))
        except SystemExit as end:
            if end.code in (None, 0):
                return None
            raise
        finally:
            current.reset(token)

    @property
    def output(self) -> str:
        """What was emitted to the client in the latest run."""
        return "".join(self._processes[-1].output) if self._processes else ""

    @property
    def prompts(self) -> list[str]:
        """For each reply, all that the model had read before it, special tokens written out."""
        return self._script.prompts

    @property
    def calls(self) -> list[ToolCall]:
        """The calls of tools, in order."""
        return self._toolbox.calls

    @property
    def requests(self) -> list[Fetched]:
        """What was fetched, in order."""
        return self._web.requests

    @property
    def files(self) -> dict[str, str]:
        """The texts of the named files, by path."""
        return {path: decode(body.text.ids) for path, body in sorted(self._names.files.items())}

    @property
    def seconds(self) -> float:
        """How long the program would have waited for timers."""
        return self._clock.nanoseconds / 1e9

    # --- the ABI ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _installed(self) -> Iterator[None]:
        """The SDK's imports are this host's meanwhile."""
        made = self._interfaces()
        kept = {name: getattr(_host, name) for name in made}
        vars(_host).update(made)
        _forget()
        try:
            yield
        finally:
            vars(_host).update(kept)
            _forget()

    def _interfaces(self) -> dict[str, Any]:
        calls = ("pred", "predict", "pred_all", "predict_all", "ask", "generate")
        names, engine, toolbox, clock = self._names, self._engine, self._toolbox, self._clock
        files = SimpleNamespace(create=engine.create, open=lambda _, path, how: names.open(path, how))
        channels = SimpleNamespace(open=lambda name, kind: Channel(self._channels, name, kind))
        return {
            "Err": Err,
            "types": _with(abi.types),
            "constraint": _with(abi.constraint, Constraint=Constraint),
            "infer": _with(abi.infer, **_functions(engine, *calls)),
            "kvfs": _with(
                abi.kvfs,
                KvFile=files,
                **_functions(names, "list", "glob", "stat_path", "sync", "mkdir", "rename", "unlink"),
            ),
            "model": _with(abi.model, Model=Model, list_models=lambda: [NAME]),
            "tool": _with(abi.tool, **_functions(toolbox, "list", "call")),
            "fetch": _with(abi.fetch, send=self._web.send),
            "log": _with(abi.log, write=lambda level, text: self.logs.append((level.name.lower(), text))),
            "ipc": _with(
                abi.ipc,
                Channel=channels,
                emit=lambda text: current.get().output.append(text),
                receive=lambda: current.get().inbox.receive(),
            ),
            "process": _with(
                abi.process,
                pid=lambda: current.get().pid,
                tenant=lambda: "local",
                usage_so_far=self._usage,
                spawn=self._spawn,
                inherit=_inherit,
            ),
            "poll": SimpleNamespace(poll=clock.poll),
            "clock": SimpleNamespace(**_functions(clock, "now", "subscribe_instant", "subscribe_duration")),
        }

    def _usage(self) -> Any:
        engine = self._engine
        wall = self._clock.nanoseconds // 1000
        return abi.process.Usage(engine.forwards, engine.prompt_tokens, 0, engine.generated_tokens, 0, 0, 0, wall)

    def _spawn(self, name: str, arguments: str, _limits: Any, files: list[Any]) -> Child:
        if "\n" in name:
            raise ScriptError("the test kit starts no sources: spawn a name, and give Host(programs={name: its main})")
        function = self._programs.get(name) if name else current.get().function
        if function is None:
            known = ", ".join(sorted(self._programs)) or "none"
            raise refusal("not-found", f"there is no program {name!r}; there are: {known}", "Host(programs={...})")
        process = Process(len(self._processes) + 1, function, Mailbox())
        self._processes.insert(-1, process)
        process.passed = {passed.name: passed.file.fork() for passed in files}
        return Child(process, _result(function, Parameters(function).check(json.loads(arguments))))


async def _result(function: Callable[..., Any], arguments: dict[str, Any]) -> str:
    value = function(**arguments)
    return encode_result(await value if asyncio.iscoroutine(value) else value)


def _inherit(_model: Any, name: str) -> KvFile:
    passed = current.get().passed
    if name not in passed:
        raise refusal("not-found", f"no file {name!r} was passed; there are: {', '.join(passed) or 'none'}")
    return passed.pop(name)


def _with(interface: type, **functions: Any) -> SimpleNamespace:
    """An interface: its records, and its functions and resources."""
    return SimpleNamespace(**{name: value for name, value in vars(interface).items() if name[0] != "_"}, **functions)


def _functions(owner: object, *names: str) -> dict[str, Any]:
    return {name: getattr(owner, name) for name in names}


def _forget() -> None:
    """What the SDK keeps of a host."""
    for cached in (_model.open_model, context._last, context._plain):
        cached.cache_clear()

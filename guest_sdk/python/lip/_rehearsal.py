"""A program run many times before the snapshot, on a host that is made up.

Code that runs for the first time writes into old memory: CPython specialises instructions where they stand, and fills
caches of types. What every run would write into its own copy of the image is written once here, and runs start faster.
Nothing that a program can see stays behind, except that the names of unnamed tasks count on.
"""

from __future__ import annotations

import itertools
import json
import linecache
import sys
import types
from collections.abc import Callable
from typing import Any

from . import _host, _model

_FILENAME = "rehearsal.py"
_PROGRAM = '''
import asyncio

from lip import Context, emit, main, sleep


@main
async def rehearsal(prompt: str = "Hello", n: int = 3, *, share: float = 0.5, names: list[str] | None = None) -> dict:
    """Something of everything that programs do at their start."""
    async with Context() as ctx:
        ctx.feed(prompt)
        token = (await ctx.pred()).argmax()
        for i in range(n):
            token = (await ctx.pred(token)).argmax()
        other = ctx.fork()
        async with Context() as chat:
            chat.system("Be brief.").user(f"{prompt} {n}")
            out = await chat.generate(max_tokens=n)
        results = await asyncio.gather(work(ctx, [token]), work(other, [1, 2]))
        other.close()
        async with asyncio.TaskGroup() as group:
            group.create_task(sleep(0.001))
        emit(out.text)
        print("", end="")
        return {"text": out.text, "tokens": [token, *results], "share": share}


async def work(ctx: Context, tokens: list[int]) -> float:
    dist = await ctx.pred(tokens, top_k=2, sample=True)
    await asyncio.sleep(0)
    return max(p for _, p in dist.top_k())
'''

_MADE_UP = ("model", "kvfs", "infer", "ipc", "poll", "clock")


def rehearse(execute: Callable[[str, str, object], str], rounds: int = 32) -> None:
    """Run the program: `execute` takes source, file name and arguments, as for any program."""
    app = sys.modules.get("app")
    real = {name: getattr(_host, name) for name in _MADE_UP}
    vars(_host).update(_host_of(real))
    try:
        for _ in range(rounds):
            _model.open_model.cache_clear()
            execute(_PROGRAM, _FILENAME, json.loads('{"prompt": "Hi", "names": ["a"]}'))
    finally:
        vars(_host).update(real)
        _model.open_model.cache_clear()
        linecache.cache.pop(_FILENAME, None)
        sys.modules.pop("app", None)
        if app is not None:
            sys.modules["app"] = app


def _host_of(real: dict[str, Any]) -> dict[str, Any]:
    """The generated modules, but what the program calls is made up: everything is there at once."""
    from componentize_py_types import Ok

    made = {name: types.ModuleType(name) for name in real}
    for name, module in made.items():
        vars(module).update(vars(real[name]))
    infer, kvfs, model = made["infer"], made["kvfs"], made["model"]
    answer = [infer.Distribution(1, infer.types.Ranked([1, 2], [-0.5, -1.5]), None, None)]
    chunk = infer.Chunk([1], "a", [], [], infer.FinishReason_Length())

    class Thing:
        """Any resource."""

        def __exit__(self, *_: object) -> None:
            pass

        @classmethod
        def create(cls, *_: object) -> Thing:
            return cls()

        open = idle = subscribe = fork = create

        def info(self) -> Any:
            return model.Info("none", 16, 16, 16, [0], None)

        def tokenize(self, text: str, special: bool) -> list[int]:
            return [1, 2]

        def render_chat(self, conversation: str) -> str:
            return "<" * len(conversation)

        def length(self) -> int:
            return 0

        def get(self) -> Any:
            return Ok(answer)

        def next(self) -> Any:
            return Ok(chunk)

    model.Model = kvfs.KvFile = Thing
    infer.pred = infer.generate = Thing.create
    infer.predict = lambda *_: answer
    made["ipc"].emit = lambda text: None
    made["poll"].poll = lambda pollables: list(range(len(pollables)))
    made["clock"].now = itertools.count(0, 1_000_000).__next__
    made["clock"].subscribe_instant = made["clock"].subscribe_duration = Thing.create
    return made

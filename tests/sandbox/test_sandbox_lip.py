"""A component against the real interfaces of `wit/`: a guest that chooses every token itself."""

from __future__ import annotations

from collections import Counter, namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from sandbox_guests import CACHE, CONFIG, Loop, compiled

from symphony.errors import Busy, InvalidProgram, NoSpace
from symphony.sandbox import Returned, Sandbox, SandboxConfig, Trapped
from symphony.syscall.pollable import Pollable
from symphony.syscall.values import Err, Ok

SOURCE = (Path(__file__).parents[2] / "bench" / "guests" / "pred_loop.wat").read_text()
Distribution = namedtuple("Distribution", "sampled")


class File:
    def __init__(self) -> None:
        self.idle = Pollable(True)


class Prediction:
    def __init__(self, file: File, token: int) -> None:
        self.file = file
        self.token = token
        self.answer: Any = None


class Model:
    """Stands in for the core: the next token is the last one plus one."""

    def __init__(self) -> None:
        self.queue: list[Prediction] = []
        self.calls: Counter[str] = Counter()
        self.refuse: Exception | None = None

    def handlers(self) -> dict[str, Any]:
        lip = "symphony:lip/"
        return {
            lip + "model#[static]model.open": lambda caller, name: object(),
            lip + "kvfs#[static]kv-file.create": lambda caller, model: File(),
            lip + "kvfs#[method]kv-file.idle": lambda caller, file: file.idle,
            lip + "infer#pred": self.pred,
            lip + "infer#[method]prediction.get": self.get,
        }

    def pred(self, caller: Any, file: File, tokens: Any, outputs: Any, readings: Any) -> Prediction:
        self.calls["pred"] += 1
        if self.refuse is not None:
            raise self.refuse
        assert len(tokens) == 1
        assert outputs == ("last", None)
        assert readings.sample.temperature is None
        assert readings.top_k is None
        file.idle.clear()
        prediction = Prediction(file, int(tokens[-1]) + 1)
        self.queue.append(prediction)
        return prediction

    def get(self, caller: Any, prediction: Prediction) -> Any:
        self.calls["get"] += 1
        return prediction.answer

    def step(self) -> int:
        queue, self.queue = self.queue, []
        for prediction in queue:
            prediction.answer = prediction.answer or Ok([Distribution(prediction.token)])
            prediction.file.idle.fire()
        return len(queue)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def lip_loop(model: Model) -> Iterator[Loop]:
    sandbox = Sandbox(SandboxConfig(max_instances=64), model.handlers())
    loop = Loop(sandbox)
    yield loop
    loop.close()
    sandbox.close()


def program(loop: Loop) -> Any:
    CACHE.mkdir(parents=True, exist_ok=True)
    return loop.sandbox.load(compiled(SOURCE, CONFIG, CACHE))


def test_a_token_costs_three_host_calls(lip_loop: Loop, model: Model) -> None:
    instances = [lip_loop.spawn(program(lip_loop), str(n)) for n in (1, 5, 20)]
    lip_loop.run()
    while model.step():
        lip_loop.run()
    assert [i.outcome for i in instances] == [Returned(Ok(str(n + 1))) for n in (1, 5, 20)]
    assert model.calls == {"pred": 26, "get": 26}


def test_errors_at_once_and_later_reach_the_guest(lip_loop: Loop, model: Model) -> None:
    model.refuse = Busy("in flight")
    assert isinstance(lip_loop.outcome(program(lip_loop), "1"), Trapped)  # this guest traps on any error
    model.refuse = None
    instance = lip_loop.spawn(program(lip_loop), "3")
    lip_loop.run()
    model.queue[0].answer = Err(NoSpace("out of pages", "free some"))
    model.step()
    lip_loop.run()
    assert isinstance(instance.outcome, Trapped)
    assert model.calls["get"] == 1


def test_a_changed_record_is_refused(lip_loop: Loop) -> None:
    changed = SOURCE.replace('(field "top-k" (option u32))\n      (field "logprobs"', '(field "logprobs"')
    assert changed != SOURCE
    with pytest.raises(InvalidProgram, match=r"symphony:lip/infer#pred \(parameter `readings`\)"):
        lip_loop.sandbox.load(compiled(changed, CONFIG, CACHE))


def test_the_compiled_guest_is_that_of_its_source() -> None:
    path = Path(__file__).parents[2] / "bench" / "guests" / "pred_loop.wasm"
    assert path.read_bytes() == bytes(wasmtime.wat2wasm(SOURCE)), "compile it again with wasmtime.wat2wasm"

"""`python -m tiny.train OUT`: both models, from nothing. Run it again to go on where it was; the same steps come out.

`tiny` learns the corpus, then `tiny-draft` learns what `tiny` would say. A run stops by itself after `--seconds`, with
a checkpoint. At the end OUT/tiny and OUT/tiny-draft are model directories.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tiny import attention, checkpoint, tokens
from tiny.export import export
from tiny.making import Make, Order, making
from tiny.model import DRAFT, TINY, Model, Shape
from tiny.optimizer import Optimizer
from tiny.tokens import TENTHS, Packed

Tell = Callable[[str], None]
SHARES = {"tiny": 0.75, "tiny-draft": 0.17}
"""Of the minutes; the rest is for starts, compilers and checkpoints."""
MANY = 200
"""Batches that are ordered to measure the pace: more than are taken, so that their makers stay busy."""
TELL_EVERY = 10.0
"""Seconds."""


@dataclass(slots=True, frozen=True)
class Plan:
    """How long and on how much; the rates are in `optimizer`."""

    steps: int
    size: int = 65_536
    """Tokens a step."""
    warm_up: int = 150
    flat: float = 0.05
    """Of all steps; then the rate falls to a hundredth."""
    short: float = 0.1
    """Of all steps, at the start: short documents only."""
    seed: int = 1
    save_every: int = 2500

    def scale(self, step: int) -> float:
        done = step / self.steps
        fall = 1.0 if done < self.flat else max(0.01, (1 - done) / (1 - self.flat))
        return min(1.0, (step + 1) / self.warm_up) * fall

    def order(self, step: int) -> Order:
        return Order(self.seed, step, self.size, step < self.short * self.steps)


@dataclass(slots=True, frozen=True)
class How:
    """On which device and how a training computes."""

    device: str = "cpu"
    compiled: bool = False


class Training:
    """A model on its way: `done` steps of `planned` (0: nobody knows yet)."""

    def __init__(self, shape: Shape, how: How, teacher: Model | None = None, seed: int = 1) -> None:
        torch.manual_seed(seed)
        if how.compiled:
            torch.compiler.reset()  # what was compiled for another model is of no use for this one
        self._how, self._teacher = how, teacher
        attend = attention.varlen if how.device.startswith("cuda") else attention.loop
        self.model = Model(shape, attend).to(how.device)
        self._optimizer = Optimizer(self.model, how.compiled)
        self._loss = torch.compile(_loss, dynamic=False) if how.compiled else _loss
        self.done = self.planned = 0

    def step(self, packed: Packed, scale: float) -> Tensor:
        """One step; returns the loss, and that of the assistant's tokens alone."""
        loss, shown = self._loss(self.model, *self._moved(packed), self._teacher)
        loss.backward()
        self._optimizer.step(self.done, scale)
        self.done += 1
        return shown

    def pace(self, batches: Iterator[Packed]) -> float:
        """Seconds that a step takes, once compiled, while others are busy with the next batches. Before the first step
        only: all is as it was afterwards."""
        seconds, rounds = 0.0, 40 if self._how.compiled else 1
        for count in (3, rounds):
            started = time.monotonic()
            shown = [self.step(packed, 0.0) for packed in islice(batches, count)]
            shown[-1].tolist()  # waits for the device
            seconds = (time.monotonic() - started) / count
        for tensor in self._optimizer.state.values():
            tensor.zero_()
        self.done = 0
        return seconds

    def resume(self, directory: Path) -> None:
        """Go back to the last checkpoint, if there is one."""
        found = checkpoint.load(directory)
        if found is None:
            return
        kept, facts = found
        self.model.load_state_dict({name: kept[name] for name in self.model.state_dict()})
        for name, tensor in self._optimizer.state.items():
            tensor.copy_(kept[name])
        self.done, self.planned = int(facts["step"]), int(facts["steps"])

    def save(self, directory: Path) -> None:
        kept = {**self.model.state_dict(), **self._optimizer.state}
        checkpoint.save(directory, kept, {"step": self.done, "steps": self.planned})

    def _moved(self, packed: Packed) -> tuple[Tensor, Tensor]:
        rows, bounds = torch.from_numpy(packed.rows), torch.from_numpy(packed.bounds)
        if not self._how.device.startswith("cuda"):
            return rows, bounds
        device = self._how.device
        return rows.pin_memory().to(device, non_blocking=True), bounds.pin_memory().to(device, non_blocking=True)


def train(
    training: Training,
    plan: Plan,
    make: Make,
    directory: Path,
    until: float = float("inf"),
    tell: Tell = print,
) -> bool:
    """Go on to the end of the plan; False: time was up (`until`, of the monotonic clock). Either way the checkpoint
    is in `directory`."""
    training.planned = plan.steps
    shown: list[Tensor] = []
    since, waited = time.monotonic(), 0.0
    batches = make(plan.order(step) for step in range(training.done, plan.steps))
    while training.done < plan.steps:
        asked = time.monotonic()
        packed = next(batches)
        waited += time.monotonic() - asked
        shown.append(training.step(packed, plan.scale(training.done)))
        now, last = time.monotonic(), training.done == plan.steps
        late = now > until
        if last or late or now - since > TELL_EVERY:
            losses = torch.stack(shown).mean(0).tolist()
            tell(_line(training, plan, losses, len(shown), time.monotonic() - since, waited))
            shown.clear()
            since, waited = time.monotonic(), 0.0
        if last or late or training.done % plan.save_every == 0:
            training.save(directory)
        if late and not last:
            return False
    return True


def _line(training: Training, plan: Plan, losses: list[float], steps: int, seconds: float, waited: float) -> str:
    rate = steps / seconds
    left = (plan.steps - training.done) / rate
    return (
        f"step {training.done} of {plan.steps}, loss {losses[0]:.4f}, of answers {losses[1]:.4f}, "
        f"{rate * plan.size / 1e6:.2f}M tokens/s, {waited / seconds:.0%} of it waiting for text, {left:.0f} s left"
    )


def _loss(model: Model, rows: Tensor, bounds: Tensor, teacher: Model | None) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy of the next token, or to the teacher's distribution of it; and for `Training.step`."""
    given, due, positions = rows[0].long(), rows[1].roll(-1).float(), rows[2].long()
    logits = model(given, positions, bounds).float()
    if teacher is None:
        each = F.cross_entropy(logits, given.roll(-1), reduction="none")
    else:
        with torch.no_grad():
            wanted = teacher(given, positions, bounds).float().softmax(-1)
        each = -(wanted * logits.log_softmax(-1)).sum(-1)
    loss = (each * due).sum() / due.sum()
    own = (due == TENTHS).float()
    return loss, torch.stack([loss, (each * own).sum() / own.sum().clamp_min(1)]).detach()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tiny.train", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=20.0, help="for both models; steps come of the GPU's pace")
    parser.add_argument("--steps", type=int, default=0, help="of tiny, instead of minutes; a fifth for tiny-draft")
    parser.add_argument("--seconds", type=float, default=540.0, help="stop after so long; run again to go on")
    parser.add_argument("--size", type=int, default=65_536, help="tokens a step")
    parser.add_argument("--workers", type=int, default=14, help="processes that write text")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    until = time.monotonic() + given.seconds
    gpu = str(given.device).startswith("cuda")
    how = How(given.device, compiled=gpu)
    torch.set_float32_matmul_precision("high")
    given.out.mkdir(parents=True, exist_ok=True)
    vocabulary = given.out / "tokenizer.json"
    if not vocabulary.exists():
        tokens.train_tokenizer(TINY.vocab_size, 25_000).save(str(vocabulary))
    teacher: Model | None = None
    with making(vocabulary, given.workers) as make:
        for name, shape, steps in (("tiny", TINY, given.steps), ("tiny-draft", DRAFT, given.steps // 5)):
            training, state = Training(shape, how, teacher), given.out / f"{name}.state"
            training.resume(state)
            steps = training.planned or steps
            if not steps:
                some = make(Order(0, number, given.size, False) for number in range(MANY))
                steps = int(SHARES[name] * given.minutes * 60 / training.pace(some))
            if not train(training, Plan(steps, given.size), make, state, until, lambda line, n=name: _say(n, line)):
                print("time is up: run the same command again to go on", flush=True)
                return
            export(training.model, vocabulary, given.out / name)
            teacher = training.model.requires_grad_(False)


def _say(name: str, line: str) -> None:
    print(f"{name}: {line}", flush=True)


if __name__ == "__main__":
    main()

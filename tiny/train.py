"""`python -m tiny.train OUT`: both models, from nothing. Run it again to go on where it was; the same steps come out.

`tiny` learns the corpus, then `tiny-draft` learns what `tiny` would say. A run stops by itself after `--seconds`, with
a checkpoint. At the end OUT/tiny and OUT/tiny-draft are model directories.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tiny import checkpoint, tokens
from tiny.export import export
from tiny.model import DRAFT, TINY, Model, Shape
from tiny.optimizer import Optimizer
from tiny.tokens import Packed

Batches = Iterator[Packed]
Tell = Callable[[str], None]


@dataclass(slots=True, frozen=True)
class Plan:
    """How long and on how much; the rates are in `optimizer`."""

    steps: int
    size: int = 65_536
    """Tokens a step."""
    warm_up: int = 150
    flat: float = 0.05
    """Of all steps; then the rate falls to a hundredth."""
    seed: int = 1
    save_every: int = 1000

    def scale(self, step: int) -> float:
        done = step / self.steps
        fall = 1.0 if done < self.flat else max(0.01, (1 - done) / (1 - self.flat))
        return min(1.0, (step + 1) / self.warm_up) * fall


def train(
    name: str,
    shape: Shape,
    plan: Plan,
    batches: Callable[[int], Batches],
    out: Path,
    *,
    device: str = "cpu",
    teacher: Model | None = None,
    until: float = float("inf"),
    tell: Tell = print,
) -> Model | None:
    """Go on with a model to the end of its plan; `batches(n)` begins with batch `n`. None: time was up (`until`, of
    the monotonic clock), and the next call goes on."""
    torch.manual_seed(plan.seed)
    model = Model(shape).to(device)
    optimizer = Optimizer(model)
    first = _resume(out / f"{name}.state", model, optimizer)
    loss_of = torch.compile(_loss, dynamic=True) if device.startswith("cuda") else _loss
    losses: list[Tensor] = []
    for step, packed in zip(range(first, plan.steps), batches(first), strict=False):
        given = _on(packed, device)
        loss = loss_of(model, *given, teacher)
        loss.backward()
        optimizer.step(step, plan.scale(step))
        losses.append(loss.detach())
        last, late = step + 1 == plan.steps, time.monotonic() > until
        if len(losses) == 50 or last or late:
            tell(f"{name}: step {step + 1} of {plan.steps}, loss {torch.stack(losses).mean():.4f}")
            losses.clear()
        if last or late or (step + 1) % plan.save_every == 0:
            kept = {**model.state_dict(), **optimizer.state}
            checkpoint.save(out / f"{name}.state", kept, {"step": step + 1})
        if late and not last:
            return None
    return model


def _resume(directory: Path, model: Model, optimizer: Optimizer) -> int:
    """Put the last checkpoint's state in place; returns the steps that it has."""
    found = checkpoint.load(directory)
    if found is None:
        return 0
    kept, facts = found
    model.load_state_dict({name: kept[name] for name in model.state_dict()})
    for name, tensor in optimizer.state.items():
        tensor.copy_(kept[name])
    return int(facts["step"])


def _loss(
    model: Model, given: Tensor, weights: Tensor, positions: Tensor, bounds: Tensor, teacher: Model | None
) -> Tensor:
    """Weighted cross-entropy of the next token, or to the teacher's distribution of it."""
    logits = model(given, positions, bounds)[:-1].float()
    due = weights[1:]
    if teacher is None:
        each = F.cross_entropy(logits, given[1:], reduction="none")
    else:
        with torch.no_grad():
            wanted = teacher(given, positions, bounds)[:-1].float().softmax(-1)
        each = F.cross_entropy(logits, wanted, reduction="none")
    return (each * due).sum() / due.sum()


def _on(packed: Packed, device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    arrays = (packed.tokens, packed.weights, packed.positions)
    bounds = torch.tensor(packed.bounds, dtype=torch.int32)
    given, weights, positions, ends = (t.to(device) for t in (*map(torch.from_numpy, arrays), bounds))
    return given, weights, positions, ends


class _Maker:
    """Makes a batch by its number, in a worker process."""

    def __init__(self, tokenizer: Path, plan: Plan) -> None:
        self._path, self._plan = tokenizer, plan
        self._tokenizer: Any = None

    def __call__(self, number: int) -> Packed:
        if self._tokenizer is None:
            self._tokenizer = tokens.load(self._path)
        return tokens.batch(self._tokenizer, self._plan.seed, number, self._plan.size)


_maker: _Maker | None = None


def _prepare(tokenizer: Path, plan: Plan) -> None:
    global _maker  # one a worker process, which has nothing else
    _maker = _Maker(tokenizer, plan)


def _make(number: int) -> Packed:
    assert _maker is not None
    return _maker(number)


@contextmanager
def making(tokenizer: Path, plan: Plan, workers: int) -> Generator[Callable[[int], Batches], None, None]:
    """Batches from so many processes, a few ahead; 0: in this one."""
    if workers == 0:
        yield lambda first: map(_Maker(tokenizer, plan), itertools.count(first))
        return
    with multiprocessing.get_context("spawn").Pool(workers, _prepare, (tokenizer, plan)) as pool:

        def ahead(first: int) -> Batches:
            pending = [pool.apply_async(_make, (first + i,)) for i in range(3 * workers)]
            for number in itertools.count(first + len(pending)):
                yield pending.pop(0).get()
                pending.append(pool.apply_async(_make, (number,)))

        yield ahead


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tiny.train", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=540.0, help="stop after so long; run again to go on")
    parser.add_argument("--steps", type=int, default=20_000, help="of tiny; tiny-draft has an eighth of them")
    parser.add_argument("--size", type=int, default=65_536, help="tokens a step")
    parser.add_argument("--workers", type=int, default=14, help="processes that write text")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    until = time.monotonic() + given.seconds
    torch.set_float32_matmul_precision("high")
    given.out.mkdir(parents=True, exist_ok=True)
    vocabulary = given.out / "tokenizer.json"
    if not vocabulary.exists():
        tokens.train_tokenizer(TINY.vocab_size, 25_000).save(str(vocabulary))
    teacher: Model | None = None
    for name, shape, steps in (("tiny", TINY, given.steps), ("tiny-draft", DRAFT, max(given.steps // 8, 1))):
        plan = Plan(steps, given.size)
        with making(vocabulary, plan, given.workers) as batches:
            model = train(name, shape, plan, batches, given.out, device=given.device, teacher=teacher, until=until)
        if model is None:
            print("time is up: run the same command again to go on")
            return
        export(model, vocabulary, given.out / name)
        teacher = model.requires_grad_(False)


if __name__ == "__main__":
    main()

"""Several models for one host, such as a draft and its target: named, loaded one after the other, sharing the memory.

Each has an engine, a pool and a tokenizer of its own. The pools of a device are sized so that each holds about the same
number of tokens.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager

from symphony.engine import headers, registry
from symphony.engine.config import ModelConfig
from symphony.engine.local import LocalEngine
from symphony.engine.placement import ALONE, Budget, find_device, find_dtype, most_pool_bytes
from symphony.engine.problems import Problem, refuse
from symphony.errors import SymphonyError


def load_models(
    models: Sequence[str],
    *,
    device: str | None = None,
    attention: str | None = None,
    pages: int | None = None,
    host_pages: int | None = None,
) -> list[LocalEngine]:
    """Load all or none, in this order; blocks. `models`: each a model or NAME=MODEL; other parameters as in
    `LocalEngine.load`, for each of them. Raises what it raises, naming the model if there are several, and Invalid for
    a name that is given twice."""
    named = registry.name_models(models)
    budgets = _budgets(named, device)
    with ExitStack() as loaded:
        engines: list[LocalEngine] = []
        for (name, model), budget in zip(named, budgets, strict=True):
            with _blaming(name, named):
                engine = LocalEngine.load(
                    model,
                    name=name,
                    device=device,
                    attention=attention,
                    pages=pages,
                    host_pages=host_pages,
                    budget=budget,
                )
            loaded.callback(engine.close)
            engines.append(engine)
        loaded.pop_all()
    return engines


@contextmanager
def _blaming(name: str, named: Sequence[tuple[str, str]]) -> Generator[None]:
    """What fails within is this model's fault."""
    try:
        yield
    except SymphonyError as e:
        if len(named) == 1:
            raise
        raise type(e)(f"the model {name!r} cannot be loaded: {e.message}", e.hint) from e


def _budgets(named: Sequence[tuple[str, str]], device: str | None) -> list[Budget]:
    """What each may take, in proportion to what a token needs in it."""
    if len(named) == 1:
        return [ALONE]
    needs: list[tuple[int, int]] = []
    for name, model in named:
        with _blaming(name, named):
            needs.append(_needs(model, device))
    pools = most_pool_bytes(find_device(device), sum(weights for weights, _ in needs))
    shares = [entry / sum(entry for _, entry in needs) for _, entry in needs]
    return [Budget(int(pools * share), share) for share in shares]


def _needs(model: str, device: str | None) -> tuple[int, int]:
    """Bytes of the weights, and of a token's K/V, on the device."""
    directory = registry.find(model)
    config = ModelConfig.load(directory)
    size = find_dtype(None, config, find_device(device)).itemsize
    problems: list[Problem] = []
    _, tensors = headers.survey(directory, problems)
    refuse(problems)
    weights = sum(math.prod(tensor.shape) for tensor in tensors.values())
    return weights * size, 2 * config.layers * config.kv_heads * config.head_dim * size

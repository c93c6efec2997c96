"""How many Python functions the host calls for a token that a guest chooses: what a token costs, counted rather than
timed, so that it says the same on a busy machine.

The interpreter reports each call (`sys.setprofile`). A long run less a short one, per token: launch and end cancel out;
what a step costs is shared by its rows, of which there are fewer than without the counting, which slows guests down.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from types import FrameType
from typing import Any

from symphony.host import Runtime

FEW, MANY = 4, 12
"""Tokens of the two runs."""


async def calls_per_token(rt: Runtime, program: str | bytes, instances: int) -> Mapping[str, float]:
    """Qualified names of Python functions, and how often they are called for each token of so many live
    instances, the most often called first. The engine works on this thread; the program chooses `n` tokens."""
    await rt.run(program, {"n": 1})
    few, many = [await _calls(rt, program, instances, n) for n in (FEW, MANY)]
    tokens = instances * (MANY - FEW)
    many.subtract(few)
    return {name: count / tokens for name, count in many.most_common()}


async def _calls(rt: Runtime, program: str | bytes, instances: int, n: int) -> Counter[str]:
    calls = Counter[str]()

    def called(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            calls[frame.f_code.co_qualname] += 1

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        processes = [await rt.spawn(program, {"n": n}) for _ in range(instances)]
        for process in processes:
            await process.wait()
    finally:
        sys.setprofile(before)
    return calls

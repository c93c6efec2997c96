"""Predictions of several files at once, and with masks and positions: the host's `pred-all`.

Ranges of visible entries become the host's runs here. It knows files as handles, nothing of contexts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from . import _host
from ._loop import Loop
from ._sampling import count
from .errors import Invalid, from_wit

Visible = Iterable[tuple[int, int | None]]
"""Ranges `(start, end)` of entries, ascending; an end of None is the last one."""


def runs(visible: Visible, total: int) -> list[int]:
    """The lengths of the stretches of `total` entries that are in turn visible and hidden."""
    lengths, at = [0], 0
    for start, given in visible:
        end = total if given is None else given
        if not at <= start <= end <= total:
            raise Invalid(
                f"a mask shows entries {start} to {end}; there are {total}", "give ranges within, in ascending order"
            )
        if start == at:
            lengths[-1] += end - start
        else:
            lengths += [start - at, end - start]
        at = end
    return [*lengths, total - at] if at < total else lengths


def part(
    file: Any,
    tokens: list[int],
    outputs: Any,
    positions: Sequence[int] | None = None,
    masks: Sequence[Sequence[int]] = (),
    keep: bool = False,
) -> Any:
    """One file's part. `masks` are runs."""
    placed = None if positions is None else [count("a position", at) for at in positions]
    return _host.infer.Part(file, tokens, outputs, placed, [list(mask) for mask in masks], keep)


async def predict(loop: Loop, parts: list[Any], readings: Any, kept: list[Any] | None = None) -> list[Any]:
    """The host's answers, one a part: a list of its distributions, or an exception. Raises if none was started.

    `kept` gets the rows that the parts keep.
    """
    try:
        if kept is None and loop.alone():
            answers = _host.infer.predict_all(parts, readings)
        else:
            answers = await _wait(loop, _host.infer.pred_all(parts, readings), kept)
    except _host.Err as error:
        raise from_wit(error.value) from None
    return [from_wit(answer.value) if isinstance(answer, _host.Err) else answer.value for answer in answers]


async def _wait(loop: Loop, predictions: Any, kept: list[Any] | None) -> list[Any]:
    pollable = predictions.subscribe()
    try:
        answers = None
        while answers is None:
            await loop.wait(pollable)
            answers = predictions.get()
        if kept is not None:
            kept += predictions.kept()
    finally:
        pollable.__exit__(None, None, None)
        predictions.__exit__(None, None, None)
    return answers

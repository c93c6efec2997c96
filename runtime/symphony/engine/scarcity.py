"""When memory runs out in the middle of a step: once more, then in halves, until what does not even fit alone is known.

    all rows --fails--> all rows again --fails--> each half in the same way --> a row alone: it fails, the others do not

Most failures pass: what others held has been given back by then, and the step is what it would have been. Rows of one
step are independent, and a row that runs again writes the same K/V into the same slots. It knows nothing of weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from symphony.engine.messages import Row, RowResult

FAILED = "the device's memory does not suffice for this row; give it fewer tokens at a time"
_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "Cannot allocate memory")
"""Of torch's CPU allocator and oneDNN, which raise plain RuntimeErrors."""


def is_scarcity(error: BaseException) -> bool:
    """Whether memory ran out, on whatever device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)


def again(work: Callable[[], None]) -> None:
    """Do it; if memory runs out, once more. It must not matter that it was half done before."""
    try:
        return work()
    except Exception as e:
        if not is_scarcity(e):
            raise
    _give_back()
    work()


def run_rows(run: Callable[[Sequence[Row]], list[RowResult]], rows: Sequence[Row]) -> list[RowResult]:
    """The result of each row. A row that fails for want of memory has written what nobody may use."""
    for _ in range(2):
        try:
            return run(rows)
        except Exception as e:
            if not is_scarcity(e):
                raise
        _give_back()  # not in the handler, where the traceback holds what the step held
    if len(rows) == 1:
        return [RowResult(error=FAILED)]
    middle = len(rows) // 2
    return run_rows(run, rows[:middle]) + run_rows(run, rows[middle:])


def _give_back() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

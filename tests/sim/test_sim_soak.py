"""Random histories with locks and little memory: every LIP ends. More of them: `symphony bench sched --soak 10000`."""

from __future__ import annotations

import pytest

from symphony.sim.soak import Tally, history

BATCHES, EACH = 6, 50


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_lip_ends(batch: int) -> None:
    total = Tally()
    for seed in range(batch * EACH, (batch + 1) * EACH):
        total.add(history(seed))
    assert total.histories == EACH
    assert total.operations > 10 * EACH
    assert total.cycles > 0
    assert total.moved > 0


def test_histories_repeat() -> None:
    assert history(7) == history(7)

"""Steps launched before the ones before them are over: nobody can tell, but by the time it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from core_harness import Host, run, settle

from symphony.core.config import CoreConfig
from symphony.core.messages import Chunk
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import Batch, RowResult, Sampling
from symphony.errors import InternalError, Invalid

PROMPT = list(range(20))
PIPELINED = CoreConfig(debug=True, pipelined=True)


class Recording(FakeEngine):
    """Remembers which steps were launched behind another one, and fails rows on demand."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.ahead: list[int] = []
        """Rows that followed, of each step launched behind another one."""
        self.fail_at = -1
        """The entry whose row is told to have failed."""

    def launch(self, batch: Batch):
        if self._flying:
            self.ahead.append(sum(row.follows >= 0 for row in batch.rows))
        return super().launch(batch)

    async def step(self, batch: Batch) -> list[RowResult]:
        results = await super().step(batch)
        for row, result in zip(batch.rows, results, strict=True):
            if row.start == self.fail_at:
                result.readings, result.error = (), "NaN"
        return results


async def everything(pipelined: bool) -> tuple[list[Chunk], list[object], list[int]]:
    """Generations of all kinds beside each other, with what they used; and how many rows ran ahead."""
    engine = Recording(pages=200, page_size=4)
    async with Host(engine, CoreConfig(debug=True, pipelined=pipelined)) as h:
        s = h.core.open_session("t")
        chunks: list[Chunk] = []
        options = [
            {"max_tokens": 1},
            {"max_tokens": 30},
            {"max_tokens": 30, "sampling": Sampling(temperature=1.0, seed=5), "logprobs": 2},
            {"max_tokens": 30, "sampling": Sampling(repetition_penalty=1.3)},
            {"max_tokens": 500, "stop_tokens": [h.expect([*PROMPT, 4], 9)[-1]]},
            {"max_tokens": 500, "stop_strings": [h.engine.tokenizer.decode(h.expect([*PROMPT, 5], 12)[-2:])]},
            {"max_tokens": 12, "chunk_tokens": 1},
        ]
        files = [await h.core.create(s, None) for _ in options]
        ops = [
            await h.start(s, file, [*PROMPT, i], **given)
            for i, (file, given) in enumerate(zip(files, options, strict=True))
        ]
        for op in ops:
            chunks.append(await h.drain(s, op))
        contents = [await h.contents(s, file) for file in files]
        used = h.core.usage(s)
        return chunks, [contents, used.prompt_tokens, used.generated_tokens, used.pages], engine.ahead


@run
async def test_the_same_tokens_files_and_usage_with_and_without() -> None:
    plain, told, none = await everything(False)
    ahead, told_ahead, rows = await everything(True)
    assert ahead == plain
    assert told_ahead == told
    assert not none
    assert max(rows) >= 4, "those that need nothing of the host"


@run
async def test_a_stop_token_costs_a_row_that_nobody_sees() -> None:
    engine = Recording(script=lambda index: 97 + index - 20)
    async with Host(engine, PIPELINED) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        whole = await h.generate(s, f, PROMPT, max_tokens=40, stop_tokens=[101])
        assert (whole.tokens, whole.finish) == ([97, 98, 99, 100, 101], ("stop-token", 101))
        assert await h.contents(s, f) == [*PROMPT, 97, 98, 99, 100, 101]
        assert engine.tokens == 20 + 4 + 1, "the row after the stop token ran for nothing"
        assert h.core.usage(s).forwards == 5
        [reading] = await h.pred(s, f, [1])
        assert reading.sampled == 97 + 6


@run
async def test_what_ends_by_its_length_runs_nothing_for_nothing() -> None:
    engine = Recording()
    async with Host(engine, PIPELINED) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        await h.generate(s, f, PROMPT, max_tokens=10)
        assert engine.tokens == 20 + 9
        assert sum(engine.ahead) == 9


@pytest.mark.parametrize("turns", range(0, 24))
@pytest.mark.parametrize("how", ["cancel", "close", "end"])
@run
async def test_cancelled_at_any_moment(turns: int, how: str) -> None:
    """The file has what was delivered, and its pages go back; the harness looks at the books."""
    async with Host(Recording(pages=12, page_size=4), PIPELINED) as h:
        s, other = h.core.open_session("t"), h.core.open_session("t")
        f, g = await h.core.create(s, None), await h.core.create(other, None)
        beside = await h.start(other, g, PROMPT[:3], max_tokens=20)
        op = await h.start(s, f, PROMPT[:5], max_tokens=20, chunk_tokens=2)
        for _ in range(turns):
            await asyncio.sleep(0)
        taken = await h.core.next(s, op) if h.answers.get(op) else None
        if how == "cancel":
            await h.core.cancel(s, op)
            expected = [*PROMPT[:5], *(taken.tokens if taken is not None else [])]
            assert await h.contents(s, f) == expected
            with pytest.raises(Invalid):
                await h.core.next(s, op)
        elif how == "close":
            await h.core.close_file(s, f)
        else:
            await h.core.close_session(s)
        h.core.check_integrity()
        assert (await h.drain(other, beside)).tokens == h.expect(PROMPT[:3], 20)


@run
async def test_a_row_that_fails_takes_its_follower_along_and_nobody_else() -> None:
    engine = Recording()
    async with Host(engine, PIPELINED) as h:
        s = h.core.open_session("t")
        f, g = await h.core.create(s, None), await h.core.create(s, None)
        engine.fail_at = 25
        bad = await h.start(s, f, PROMPT, max_tokens=40)
        good = await h.start(s, g, PROMPT[:7], max_tokens=15)
        with pytest.raises(InternalError, match="NaN"):
            await h.drain(s, bad)
        engine.fail_at = -1
        assert (await h.drain(s, good)).tokens == h.expect(PROMPT[:7], 15)
        assert await h.contents(s, f) == PROMPT
        assert await h.pred(s, f, [3]), "the file goes on"


@run
async def test_a_lost_step_loses_the_one_behind_it(caplog: pytest.LogCaptureFixture) -> None:
    class Losing(Recording):
        lost = 0

        async def step(self, batch: Batch) -> list[RowResult]:
            if self.lost == 0 and self.steps == 4:
                self.lost = 1
                raise OSError("gone")
            return await super().step(batch)

    async with Host(Losing(), PIPELINED) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        with pytest.raises(InternalError, match="gone"):
            await h.generate(s, f, PROMPT, max_tokens=40)
        assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 1
        assert (await h.generate(s, f, [], max_tokens=5)).tokens == h.expect(PROMPT, 5)


@run
async def test_without_a_page_it_does_not_run_ahead_and_the_older_ones_go_first() -> None:
    """Two that need all the pages that there are, and more: the younger one waits, is swapped or computed again."""
    for host_pages in (0, 40):
        engine = Recording(pages=11, page_size=4, host_pages=host_pages)
        async with Host(engine, PIPELINED) as h:
            s = h.core.open_session("t")
            files = [await h.core.create(s, None) for _ in range(3)]
            ops = [await h.start(s, f, PROMPT[i : i + 3], max_tokens=30) for i, f in enumerate(files)]
            wholes: Sequence[Chunk] = await asyncio.gather(*(h.drain(s, op) for op in ops))
            for i, whole in enumerate(wholes):
                assert whole.tokens == h.expect(PROMPT[i : i + 3], 30)
            assert engine.ahead
            assert h.core._loops["fake"].room.preemptions


@run
async def test_guests_that_choose_join_when_they_are_ready() -> None:
    engine = Recording()
    async with Host(engine, PIPELINED) as h:
        s = h.core.open_session("t")
        f, g = await h.core.create(s, None), await h.core.create(s, None)
        op = await h.start(s, f, PROMPT, max_tokens=60)
        tokens = list(PROMPT[:4])
        [reading] = await h.pred(s, g, tokens)
        for _ in range(12):
            assert reading.sampled == engine.greedy(tokens)
            tokens.append(reading.sampled)
            [reading] = await h.pred(s, g, tokens[-1:])
        assert (await h.drain(s, op)).tokens == h.expect(PROMPT, 60)
        assert sum(engine.ahead) == 59


@run
async def test_closing_with_steps_in_flight() -> None:
    async with Host(Recording(), PIPELINED) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        await h.start(s, f, PROMPT, max_tokens=100)
        await settle(9)
        assert h.core._loops["fake"].flight
        await h.core.close()
        assert not h.core._loops["fake"].flight

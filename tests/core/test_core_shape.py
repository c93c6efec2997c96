"""Predictions with masks and positions: what the engine is told, and what becomes of the file. Semantics 5, 7."""

from __future__ import annotations

from typing import Any

import pytest
from core_harness import SAMPLE, Gate, Host, run
from hypothesis import given, settings
from hypothesis import strategies as st

from symphony.core.config import CoreConfig
from symphony.core.messages import Reading
from symphony.core.shape import Shape, clipped, place
from symphony.engine.contents import Entry, computed, context
from symphony.engine.fake import FakeEngine
from symphony.engine.messages import Mask, ModelInfo, Sampling
from symphony.errors import Busy, Invalid, LimitExceeded
from symphony.kvfs.kvfs import Kvfs
from symphony.param import MAX_MASK_RUNS
from symphony.sched.batch import BatchLimits

PROMPT = [1, 2, 3, 4, 5]


async def pred(h: Host, s: int, f: int, tokens: list[int], shape: Shape | None = None, **kwargs: Any) -> list[Reading]:
    return await h.arrival(await start(h, s, f, tokens, shape, **kwargs))


async def start(
    h: Host, s: int, f: int, tokens: list[int], shape: Shape | None = None, outputs: list[int] | None = None
) -> int:
    op = next(h.ids)
    wanted = list(range(max(len(tokens), 1))) if outputs is None else outputs
    await h.core.pred(s, f, op, tokens, wanted, SAMPLE, shape)
    return op


def shown(runs: list[int], end: int) -> list[int]:
    """The definition: entries that a mask shows."""
    flags = [index % 2 == 0 for index, run in enumerate(runs) for _ in range(run)]
    return [entry for entry in range(end) if entry >= len(flags) or flags[entry]]


def model(entries: list[Entry], tokens: list[int], shape: Shape) -> tuple[list[Entry], list[list[Entry]]]:
    """The file afterwards, and what each answer has seen. Written without the code under test."""
    result, seen = list(entries), []
    for i, token in enumerate(tokens):
        index = len(result)
        at = result[-1].position + 1 if result else 0
        if shape.positions is not None:
            at = shape.positions[i]
        visible = list(range(index))
        if shape.masks:
            visible = shown(list(shape.masks[i if len(shape.masks) > 1 else 0]), index)
        before = [result[entry] for entry in visible]
        result.append(computed(before, [token], at)[-1])
        seen.append([*before, result[-1]])
    return result, seen


def shapes(length: int, count: int) -> st.SearchStrategy[Shape]:
    runs = st.lists(st.integers(0, min(3, (length + count) // 4)), max_size=4)
    masks = st.one_of(st.just([]), runs.map(lambda one: [one]), st.lists(runs, min_size=count, max_size=count))
    positions = st.one_of(st.none(), st.lists(st.integers(0, 99), min_size=count, max_size=count))
    return st.builds(Shape, positions, masks)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), size=st.sampled_from([2, 4, 16]), chunk=st.sampled_from([2, 512]))
def test_whatever_the_shapes(data: st.DataObject, size: int, chunk: int) -> None:
    """Several predictions on one file, in chunks or at once; then it goes on in the ordinary way."""

    @run
    async def play() -> None:
        engine = FakeEngine(page_size=size, context_limit=100)
        async with Host(engine, CoreConfig(debug=True, batch=BatchLimits(tokens=chunk))) as h:
            s = h.core.open_session("t")
            f = await h.core.create(s, None)
            entries: list[Entry] = []
            if data.draw(st.booleans()):
                await pred(h, s, f, PROMPT)
                entries = computed([], PROMPT, 0)
            for _ in range(data.draw(st.integers(1, 3))):
                tokens = data.draw(st.lists(st.integers(0, 200), min_size=1, max_size=6))
                shape = data.draw(shapes(len(entries), len(tokens)))
                if entries and entries[-1].position > 80 and shape.positions is None:
                    continue
                entries, seen = model(entries, tokens, shape)
                answers = await pred(h, s, f, tokens, shape)
                assert [a.sampled for a in answers] == [engine.greedy_after(e) for e in seen]
            if entries and entries[-1].position < 99:
                [answer] = await pred(h, s, f, [7])
                entries = computed(entries, [7], entries[-1].position + 1)
                assert answer.sampled == engine.greedy_after(entries)
            stat = await h.core.stat(s, f)
            assert entries[: stat.plain] == computed([], [entry.token for entry in entries[: stat.plain]], 0)
            assert stat.plain == len(entries) or entries[: stat.plain + 1] != computed(
                entries[: stat.plain], [entries[stat.plain].token], stat.plain
            )

    play()


@run
async def test_a_mask_hides_and_what_follows_is_derived() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f, g = await h.core.create(s, None), await h.core.create(s, None)
        for file in (f, g):
            await pred(h, s, file, PROMPT)
        [hidden] = await pred(h, s, f, [9], Shape(masks=[[1, 3]]))
        [plain] = await pred(h, s, g, [9])
        text = computed([], PROMPT, 0)
        assert hidden.sampled == h.engine.greedy_after(computed([text[0], text[4]], [9], 5)) != plain.sampled
        assert ((await h.core.stat(s, f)).plain, (await h.core.stat(s, g)).plain) == (5, 6)
        await h.core.truncate(s, f, 5)
        assert (await h.core.stat(s, f)).plain == 5
        [again] = await pred(h, s, f, [9])
        assert again.sampled == plain.sampled


@run
async def test_what_hides_nothing_is_plain() -> None:
    async with Host(page_size=4) as h:
        s = h.core.open_session("t")
        for shape in (
            Shape(positions=[5, 6, 7]), Shape(masks=[[]]), Shape(masks=[[8]]), Shape(masks=[[], [3], [1, 0, 5]]),
            Shape(masks=[[5, 0, 1], [6, 1], [7, 1]]),  # later ones, and itself
        ):  # fmt: skip
            f = await h.core.create(s, None)
            await pred(h, s, f, PROMPT)
            await pred(h, s, f, [6, 7, 8], shape)
            assert (await h.core.stat(s, f)).plain == 8
            await h.core.close_file(s, f)


@run
async def test_the_plain_beginning_comes_from_the_prefix_cache() -> None:
    async with Host(page_size=4) as h:
        s = h.core.open_session("t")
        f, g = await h.core.create(s, None), await h.core.create(s, None)
        text = list(range(20, 40))
        await pred(h, s, f, text)
        before = h.engine.tokens
        # plain up to 17 of the 20, whose last page may not come from the cache
        [answer] = await pred(h, s, g, text, Shape(masks=[*[[]] * 17, [0, 5], [0, 5], [0, 5]]), outputs=[19])
        assert h.engine.tokens - before == 4
        entries = computed([], text[:17], 0)
        masked = computed(entries, text[17:], 17, masks=[((5, 20),)])
        assert answer.sampled == h.engine.greedy_after([*masked[5:]])
        # and what is masked never comes from it, nor goes into it
        assert (await h.core.stat(s, g)).plain == 17
        k = await h.core.create(s, None)
        [plain] = await pred(h, s, k, [*text, 1], outputs=[20])
        assert plain.sampled == h.engine.greedy([*text, 1])


@run
async def test_a_tree_is_verified_in_one_step_and_one_branch_is_kept() -> None:
    """Siblings at one position, each node seeing its ancestors only: the answers of separate files. The branch that is
    kept is extracted, and the file goes on as if it had been alone."""
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        await pred(h, s, f, PROMPT)
        nodes, parents = [10, 20, 11, 21, 22, 12], [None, None, 0, 1, 1, 2]
        paths: list[list[int]] = []
        for node, parent in enumerate(parents):
            paths.append([*([] if parent is None else paths[parent]), node])
        masks = []
        for path in paths:
            flags = [True] * 5 + [node in path for node in range(6)]
            masks.append(_runs(flags[: 5 + path[-1]]))
        positions = [4 + len(path) for path in paths]
        answers = await pred(h, s, f, nodes, Shape(positions, masks))
        for path, answer in zip(paths, answers, strict=True):
            assert answer.sampled == h.engine.greedy(PROMPT + [nodes[node] for node in path])
        best = paths[5]
        kept = await h.core.extract(s, f, [(0, 5), *[(5 + node, 6 + node) for node in best]], False)
        [last] = await pred(h, s, kept, [30])
        assert last.sampled == h.engine.greedy([*PROMPT, 10, 11, 12, 30])


def _runs(flags: list[bool]) -> list[int]:
    runs, at = [], 0
    for wanted in (True, False) * len(flags):
        n = at
        while n < len(flags) and flags[n] == wanted:
            n += 1
        runs.append(n - at)
        at = n
    return runs


@run
async def test_the_last_entry_again_under_its_mask() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        await pred(h, s, f, PROMPT)
        mask = Shape(masks=[[1, 3]])
        [first] = await pred(h, s, f, [9], mask)
        [again] = await pred(h, s, f, [], mask)
        [everything] = await pred(h, s, f, [])
        assert first == again != everything
        assert await h.core.length(s, f) == 6
        with pytest.raises(Invalid, match="2 masks for 1 tokens"):
            await pred(h, s, f, [], Shape(masks=[[], []]))
        with pytest.raises(Invalid, match="1 positions for 0 tokens"):
            await pred(h, s, f, [], Shape(positions=[3]))


@run
async def test_a_pending_token_is_computed_without_the_mask() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        [drawn] = (await h.generate(s, f, PROMPT, max_tokens=1)).tokens
        text = computed([], [*PROMPT, drawn], 0)
        [asked] = await pred(h, s, f, [], Shape(masks=[[0, 2]]))
        assert asked.sampled == h.engine.greedy_after(text[2:])
        assert (await h.core.stat(s, f)).plain == 6
        [answer] = await pred(h, s, f, [7], Shape(masks=[[0, 2]]))
        assert answer.sampled == h.engine.greedy_after(computed(text[2:], [7], 6))
        [more] = (await h.generate(s, f, [], max_tokens=1)).tokens
        assert more == h.engine.greedy_after(computed(text, [7], 6, masks=[((2, 6),)]))


@run
async def test_positions_of_their_own() -> None:
    async with Host(context_limit=50) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        await pred(h, s, f, PROMPT)
        answers = await pred(h, s, f, [6, 7], Shape(positions=[40, 3]))
        entries = computed(computed([], PROMPT, 0), [6, 7], 5, positions=[40, 3])
        assert answers[1].sampled == h.engine.greedy_after(entries)
        whole = await h.generate(s, f, [], max_tokens=3)
        assert whole.tokens[0] == h.engine.greedy_after(entries)
        # the first drawn token counts on from the last one
        entries = computed(entries, [whole.tokens[0]], 4)
        assert whole.tokens[1] == h.engine.greedy_after(entries)
        await h.core.truncate(s, f, 6)
        whole = await h.generate(s, f, [], max_tokens=100)
        assert (len(whole.tokens), whole.finish) == (9, ("context-limit", None))  # positions 41 to 49
        with pytest.raises(Invalid, match="51 tokens do not fit into the context of 50"):
            await pred(h, s, f, [1])


@run
async def test_a_file_has_no_more_entries_than_the_context_has_positions() -> None:
    async with Host(context_limit=20) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        await pred(h, s, f, PROMPT)
        await pred(h, s, f, [1] * 14, Shape(positions=[3] * 14))
        with pytest.raises(Invalid, match="21 tokens do not fit into the context of 20"):
            await pred(h, s, f, [1, 2], Shape(positions=[3, 4]))
        with pytest.raises(Invalid, match="21 tokens do not fit into the context of 20"):
            await pred(h, s, f, [1, 2])
        whole = await h.generate(s, f, [], max_tokens=9)
        assert (len(whole.tokens), whole.finish) == (1, ("context-limit", None))


@run
async def test_bad_shapes_are_refused_at_once() -> None:
    async with Host(context_limit=50) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        await pred(h, s, f, PROMPT)
        for shape, word in (
            (Shape(positions=[5]), "1 positions for 2 tokens"),
            (Shape(positions=[5, -1]), "position -1 is negative"),
            (Shape(positions=[5, 50]), "51 tokens do not fit into the context of 50"),
            (Shape(masks=[[1], [1], [1]]), "3 masks for 2 tokens"),
            (Shape(masks=[[5, 3]]), "speaks of 8 entries, there are 7"),
            (Shape(masks=[[], [5, 1, 1, 1]]), "speaks of 8 entries, there are 7"),
            (Shape(masks=[[2, -1]]), "speaks of"),
        ):
            with pytest.raises(Invalid, match=word):
                await start(h, s, f, [8, 9], shape)
        with pytest.raises(LimitExceeded, match="65537 runs"):
            await start(h, s, f, [8, 9], Shape(masks=[[0] * (MAX_MASK_RUNS + 1)]))
        assert await h.core.length(s, f) == 5
        [answer] = await pred(h, s, f, [8])
        assert answer.sampled == h.engine.greedy([*PROMPT, 8])


@run
async def test_positions_may_not_go_back_under_a_window() -> None:
    class Windowed(FakeEngine):
        @property
        def info(self) -> ModelInfo:
            known = super().info
            return ModelInfo(**{name: getattr(known, name) for name in known.__slots__} | {"window": 8})

    async with Host(Windowed()) as h:
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        await pred(h, s, f, PROMPT)
        for positions in ([3, 4], [6, 5]):
            with pytest.raises(Invalid, match="sliding window"):
                await start(h, s, f, [8, 9], Shape(positions))
        await pred(h, s, f, [8, 9], Shape([4, 4]))


@run
async def test_a_cancelled_one_leaves_no_trace() -> None:
    gate = Gate()
    async with Host(FakeEngine(step_seconds=1, sleep=gate.sleep)) as h:
        gate.open.set()
        s = h.core.open_session("t")
        f = await h.core.create(s, None)
        await pred(h, s, f, PROMPT)
        for shape in (Shape(masks=[[1, 3]]), Shape(positions=[9])):
            gate.open.clear()
            gate.entered.clear()
            op = await start(h, s, f, [8], shape)
            await gate.entered.wait()
            with pytest.raises(Busy):
                await start(h, s, f, [9])
            await h.core.cancel(s, op)
            gate.open.set()
            assert (await h.core.stat(s, f)).plain == await h.core.length(s, f) == 5
            [answer] = await pred(h, s, f, [8])
            assert answer.sampled == h.engine.greedy([*PROMPT, 8])
            await h.core.truncate(s, f, 5)


@run
async def test_what_is_masked_is_moved_and_never_computed_again() -> None:
    async with Host(FakeEngine(pages=9, host_pages=40, page_size=4, context_limit=64)) as h:
        s = h.core.open_session("t")
        expected = {}
        for start_ in (10, 60, 110):
            f = await h.core.create(s, None)
            text = list(range(start_, start_ + 12))
            await pred(h, s, f, text)
            await pred(h, s, f, [5, 6], Shape(masks=[[2, 7]]))
            entries = computed(computed([], text, 0), [5, 6], 12, masks=[((0, 2), (9, 14))])
            expected[f] = entries
        for f, entries in expected.items():
            await h.core.advise(s, f, "dont-need")
            [answer] = await pred(h, s, f, [7])
            assert answer.sampled == h.engine.greedy_after(computed(entries, [7], 14))
        assert context(entries) is not None
        assert h.engine.moved > 0


@run
async def test_drawing_under_a_mask_repeats() -> None:
    async with Host() as h:
        s = h.core.open_session("t")
        f, g = await h.core.create(s, None), await h.core.create(s, None)
        answers = []
        for file in (f, g):
            await pred(h, s, file, PROMPT)
            op = next(h.ids)
            readings = type(SAMPLE)(sample=Sampling(temperature=1.0, seed=5))
            await h.core.pred(s, file, op, [9, 8], (0, 1), readings, Shape(masks=[[2, 2]]))
            answers.append(await h.arrival(op))
        assert answers[0] == answers[1]


def test_what_is_plain_is_told_without_looking_at_all_of_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def counted(mask: Mask, end: int) -> Mask:
        nonlocal calls
        calls += 1
        return clipped(mask, end)

    monkeypatch.setattr("symphony.core.shape.clipped", counted)
    kvfs = Kvfs()
    kvfs.mount("m", "d", 4, 9)
    info = FakeEngine(context_limit=4096).info
    placement = place(Shape(None, [[1000, *[1, 1] * 500]]), kvfs.create("t", "t", "m"), 2500, info)
    assert placement is not None
    assert placement.first == 1001  # itself and all before it are seen
    assert calls <= 1

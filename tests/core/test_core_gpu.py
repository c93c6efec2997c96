"""Constraints, drafts, masks and readings on a GPU, with steps launched ahead and decode steps as CUDA graphs: what a
CPU says, token by token (`tiny`, fp32). `pytest -m gpu`."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
import torch
from core_harness import Host, run

from symphony.constraint.grammar import Grammar
from symphony.core.core import Core
from symphony.core.messages import Chunk, Draft, GenerateOptions
from symphony.engine.local import LocalEngine
from symphony.engine.messages import GREEDY, Batch, Readings, Row, Sampling, mask_bytes

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]

LIST = "Repeat this list word by word: apple, pear, plum, cherry, apple, pear, plum, cherry, apple, pear,"
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"name": {"enum": ["Ada", "Grace"]}, "n": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["name", "n"],
        "additionalProperties": False,
    }
)
CONSTRAINTS = {"json-schema": SCHEMA, "regex": "[a-c]{2,9}-[0-9]{3}", "choice": ("yes", "perhaps")}
WARM = Sampling(temperature=0.8, top_p=0.9, seed=7)


def load(model: str, device: str) -> LocalEngine:
    attention = "triton" if device == "cuda" else None
    return LocalEngine.load(
        model, device=device, dtype="float32", attention=attention, pages=400, page_size=16, host_pages=0, threads=1
    )


@pytest.fixture(scope="module")
def engines():
    """On a GPU, on a CPU, and a model that writes drafts for the first."""
    loaded = load("tiny", "cuda"), load("tiny", "cpu"), load("tiny-draft", "cuda")
    yield loaded
    for engine in loaded:
        engine.close()


class Pair(Host):
    """A core with an engine, or two: the second writes drafts."""

    def __init__(self, *engines: LocalEngine) -> None:
        super().__init__(engines[0])  # type: ignore[arg-type]
        self.core = Core(list(engines))
        self.core.connect(self.deliver)

    async def constrained(self, kind: str, **options: object) -> Chunk:
        session = self.core.open_session("t")
        number = await self.core.constraints.compile(session, None, Grammar(kind, CONSTRAINTS[kind]))
        return await self.written(session, constraint=number, **options)

    async def written(self, session: int, draft_model: str | None = None, **options: object) -> Chunk:
        """The answer."""
        file, op = await self.core.create(session, None), next(self.ids)
        draft = None if draft_model is None else await self.core.create(session, draft_model)
        given = GenerateOptions(**{"max_tokens": 50, **options})  # type: ignore[arg-type]
        await self.core.generate(session, file, op, self.asked(), given, draft)
        chunk = await self.drain(session, op)
        forwards, accepted = self.core.usage(session).forwards, self.core.usage(session).accepted_tokens
        await self.core.close_session(session)
        self.spent = forwards, accepted
        return chunk

    def asked(self) -> list[int]:
        engine: LocalEngine = self.engine  # type: ignore[assignment]
        assert engine.chat is not None
        conversation = {"messages": [{"role": "user", "content": LIST}], "add_generation_prompt": True}
        return engine.tokenizer.encode(engine.chat.render(conversation), special=True)


@pytest.mark.parametrize("kind", CONSTRAINTS)
@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "warm"])
def test_a_constraint_has_the_text_that_it_has_on_a_cpu(engines, kind, sampling):
    gpu, cpu, _ = engines
    texts: list[list[int]] = []

    @run
    async def write() -> None:
        for engine in (gpu, cpu):
            async with Pair(engine) as h:
                chunk = await h.constrained(kind, sampling=sampling)
                texts.append(chunk.tokens)
                assert chunk.finish is not None

    write()
    assert texts[0] == texts[1]
    text = gpu.tokenizer.decode(texts[0])
    if kind == "json-schema":
        assert set(json.loads(text)) == {"name", "n"}


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "warm"])
def test_drafts_change_no_token(engines, sampling):
    gpu, _, small = engines

    @run
    async def write() -> None:
        async with Pair(gpu, small) as h:
            plain = (await h.written(h.core.open_session("t"), sampling=sampling)).tokens
            steps = h.spent[0]
            for model in (None, small.info.name):
                session = h.core.open_session("t")
                chunk = await h.written(session, model, draft=Draft(tokens=6), sampling=sampling)
                forwards, accepted = h.spent
                assert chunk.tokens == plain
                assert accepted > 0
                if model is None:
                    assert forwards < steps

    write()


def probed(engine: LocalEngine, rows: Sequence[Row]) -> torch.Tensor:
    results = engine.run(Batch(list(rows)))
    assert [result.error for result in results] == [None] * len(rows)
    return torch.tensor([list(reading.logprobs) for result in results for reading in result.readings])


def test_a_tree_of_tokens_is_seen_as_on_a_cpu(engines):
    """Two branches behind one text in one row, each token under a mask of its own; a plain row beside it."""
    ask = Readings(sample=GREEDY, logprobs=tuple(range(0, 4096, 7)))
    text, start = [11 + i * 31 for i in range(37)], 37
    masks = [
        ((0, start + 1),),
        ((0, start + 2),),
        ((0, start), (start + 2, start + 3)),
        ((0, 5), (start + 2, start + 4)),
    ]
    found: list[torch.Tensor] = []
    for engine in engines[:2]:
        engine.run(Batch([Row(text, 0, [1, 2, 3]), Row(text[:20], 0, [7, 8])]))
        tree = Row(
            [40, 41, 42, 43], start, [1, 2, 3], range(4), ask, position=start,
            positions=[start, start + 1, start, start + 1], masks=masks,
        )  # fmt: skip
        found.append(probed(engine, [tree, Row([50], 20, [7, 8], (0,), ask)]))
    torch.testing.assert_close(found[0], found[1], atol=1e-3, rtol=0)


def test_a_restricted_draw_is_the_cpus(engines):
    """Rows under masks of tokens beside rows without, drawn in one step."""
    some = range(100, 4000, 41)
    allowed = sum(1 << token for token in some).to_bytes(mask_bytes(engines[0].info.vocab_size), "little")
    drawn: list[list[int | None]] = []
    for engine in engines[:2]:
        tables = [[1 + 2 * i, 2 + 2 * i] for i in range(6)]
        engine.run(Batch([Row([11 + i * 7 + j for j in range(20)], 0, table) for i, table in enumerate(tables)]))
        rows = [
            Row([50 + i], 20, table, (0,), Readings(sample=(GREEDY, WARM)[i % 2], allowed=allowed if i < 4 else None))
            for i, table in enumerate(tables)
        ]
        drawn.append([result.readings[0].sampled for result in engine.run(Batch(rows))])
    assert drawn[0] == drawn[1]
    assert all(token in some for token in drawn[0][:4])

"""The fake engine finds every wrong page, and its tokenizer behaves as the real one does."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony import param
from symphony.engine.fake import ByteTokenizer, FakeEngine, content_of
from symphony.engine.messages import GREEDY, Batch, Readings, Row, RowResult
from symphony.errors import Invalid, LimitExceeded

ASK = Readings(sample=GREEDY)


def step(engine: FakeEngine, *rows: Row, copies: list[tuple[int, int]] | None = None) -> list[RowResult]:
    return asyncio.run(engine.step(Batch(list(rows), copies or [])))


def engine() -> FakeEngine:
    return FakeEngine(pages=10, page_size=4)


def test_split_copied_and_requeried_rows_say_what_the_tokens_say() -> None:
    e = engine()
    step(e, Row([1, 2, 3, 4, 5], 0, [1, 2]))
    [more] = step(e, Row([6], 5, [1, 3], (0,), ASK), copies=[(2, 3)])
    [again] = step(e, Row([5], 4, [1, 2], (0,), ASK, write=False))
    assert more.readings[0].sampled == e.greedy([1, 2, 3, 4, 5, 6])
    assert again.readings[0].sampled == e.greedy([1, 2, 3, 4, 5])


def test_contents_depend_on_token_position_and_history() -> None:
    assert len({content_of(t) for t in ([1], [2], [1, 1], [1, 2], [2, 1], [1, 1, 1])}) == 6


@pytest.mark.parametrize(
    ("row", "word"),
    [
        (Row([9], 6, [1, 2]), "never written"),
        (Row([9], 5, [1, 3]), "never written"),
        (Row([9], 5, [2, 1]), "another context"),
        (Row([9], 8, [1, 2, 4]), "never written"),
        (Row([7], 4, [1, 2], write=False), "another token"),
        (Row([9], 5, [1]), "block table"),
        (Row([9], 5, [1, 0]), "block table"),
        (Row([9], 5, [1, 10]), "block table"),
        (Row([], 5, [1, 2]), "0 tokens"),
        (Row([999], 5, [1, 2]), "outside the vocabulary"),
    ],
)
def test_wrong_rows_fail_alone(row: Row, word: str) -> None:
    e = engine()
    step(e, Row([1, 2, 3, 4, 5], 0, [1, 2]))
    bad, good = step(e, row, Row([8], 0, [9], (0,), ASK))
    assert word in (bad.error or "")
    assert good.error is None
    assert good.readings[0].sampled == e.greedy([8])


def test_a_page_of_another_sequence_is_found() -> None:
    e = engine()
    step(e, Row([1, 2, 3, 4, 5], 0, [1, 2]), Row([6, 6, 6, 6, 5], 0, [3, 4]))
    [result] = step(e, Row([9], 5, [1, 4]))
    assert "another context" in (result.error or "")


def test_rows_that_race_are_found() -> None:
    e = engine()
    first, second = step(e, Row([1], 0, [1]), Row([2], 0, [1]))
    assert "same slot" in (first.error or "")
    assert "same slot" in (second.error or "")
    step(e, Row([1, 2], 0, [2]))
    _, reader = step(e, Row([3], 1, [2]), Row([4], 2, [2]))
    assert "writes entry 1" in (reader.error or "")


@pytest.mark.parametrize("copies", [[(1, 2), (3, 2)], [(1, 2), (2, 3)], [(1, 0)]])
def test_copies_that_race_lose_the_step(copies: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="race"):
        step(engine(), Row([1], 0, [5]), copies=copies)


def test_unchecked_it_answers_everything_with_the_same() -> None:
    e = FakeEngine(check=False)
    ask = Readings(sample=GREEDY, top_k=2, logprobs=(97,), sampled_logprob=True, entropy=True)
    [a, b] = step(e, Row([1], 77, [0], (0,), ask), Row([2], 0, [], (0,), ask))
    assert a.readings[0] is b.readings[0]
    assert a.readings[0].sampled == ord("a")
    assert len(a.readings[0].top_ids) == 2


@given(st.text())
def test_text_survives_the_tokenizer(text: str) -> None:
    tokenizer = ByteTokenizer()
    tokens = tokenizer.encode(text, False)
    assert tokenizer.decode(tokens) == text
    decoder = tokenizer.decoder()
    assert "".join(decoder.push([t]) for t in tokens) + decoder.finish() == text


def test_texts_are_limited_as_by_a_real_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(param, "MAX_TEXT_CHARS", 4)
    assert ByteTokenizer().encode("éabc", True) == list("éabc".encode())
    for special in (True, False):
        with pytest.raises(LimitExceeded, match="5 characters"):
            ByteTokenizer().encode("abcde", special)


def test_special_tokens() -> None:
    tokenizer = ByteTokenizer()
    text = "<|im_start|>é<|im_end|>x"
    assert tokenizer.encode(text, True) == [257, *"é".encode(), 258, ord("x")]
    assert tokenizer.encode(text, False) == list(text.encode())
    assert tokenizer.decode(tokenizer.encode(text, True)) == text
    assert tokenizer.decoder().push(tokenizer.encode(text, True)) == "éx"
    with pytest.raises(Invalid):
        tokenizer.decode([259])
    assert ByteTokenizer(300).decode([299]) == ""


def test_the_chat_template_is_chatml() -> None:
    chat = FakeEngine().chat
    assert chat is not None
    text = chat.render({"messages": [{"role": "user", "content": "hi"}], "add_generation_prompt": True})
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"

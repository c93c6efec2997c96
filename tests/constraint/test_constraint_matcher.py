"""A matcher's places: masks, consumption, rollback, forks, ends. The vocabularies are `tiny`'s and the bytes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from symphony.constraint.grammar import Grammar
from symphony.constraint.matcher import Matcher
from symphony.constraint.vocabulary import Vocabulary
from symphony.engine import registry
from symphony.engine.fake_tokenizer import ByteTokenizer
from symphony.engine.tokenizer import Tokenizer
from symphony.errors import Invalid

PERSON = (
    '{"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer"}}, '
    '"required": ["name", "age"], "additionalProperties": false}'
)


@pytest.fixture(scope="module")
def tiny() -> Vocabulary:
    return Vocabulary("tiny", Tokenizer.load(registry.find("tiny") / "tokenizer.json", 4096), 4096, (2, 0))


@pytest.fixture(scope="module")
def octets() -> Vocabulary:
    return Vocabulary("bytes", ByteTokenizer(), 259, (256, 258))


def allowed(matcher: Matcher) -> set[int]:
    mask = matcher.mask()
    return {token for token in range(8 * len(mask)) if mask[token >> 3] >> (token & 7) & 1}


def feed(matcher: Matcher, vocabulary: Vocabulary, text: str) -> None:
    matcher.consume(vocabulary.tokens.encode(text, False))


def letters(text: Iterable[str]) -> set[int]:
    return {ord(letter) for letter in text}


def test_a_mask_has_the_tokens_that_may_come_and_no_others(octets: Vocabulary) -> None:
    matcher = Matcher(Grammar("regex", "[ab]c?"), octets)
    assert allowed(matcher) == letters("ab")
    assert not matcher.complete
    matcher.consume([ord("a")])
    assert allowed(matcher) == letters("c") | {256, 258}, "the text is complete: stop tokens are allowed"
    assert matcher.complete
    assert not matcher.done
    matcher.consume([ord("c")])
    assert matcher.done
    assert allowed(matcher) == {256, 258}


def test_masks_are_words_of_the_vocabulary(octets: Vocabulary, tiny: Vocabulary) -> None:
    assert len(Matcher(Grammar("regex", "a"), octets).mask()) == 36, "259 tokens are 9 words of 32 bits"
    assert len(Matcher(Grammar("regex", "a"), tiny).mask()) == 512


def test_the_callers_own_stop_tokens_are_allowed_where_the_text_is_complete(octets: Vocabulary) -> None:
    matcher = Matcher(Grammar("regex", "ab?"), octets)
    before, strange = matcher.mask((10,)), 1 << 10
    assert not int.from_bytes(before, "little") & strange
    matcher.consume([ord("a")])
    assert int.from_bytes(matcher.mask((10, 256)), "little") & strange
    assert not int.from_bytes(matcher.mask(), "little") & strange


def test_a_forbidden_token_is_named_and_changes_nothing(octets: Vocabulary) -> None:
    matcher = Matcher(Grammar("choice", ["yes", "no"]), octets)
    before = matcher.mask()
    with pytest.raises(Invalid, match=r"forbids token 120, 'x' after 2 of them"):
        matcher.consume(list(b"yex"))
    assert matcher.mask() == before
    assert matcher.consumed == 0
    for outside in (-1, 259, 1 << 31):
        with pytest.raises(Invalid, match="outside the vocabulary"):
            matcher.consume([ord("y"), outside])
    matcher.consume(list(b"yes"))
    with pytest.raises(Invalid):
        matcher.consume([ord("s")])
    assert matcher.done


def test_rollback_returns_to_the_same_masks_also_from_the_end(octets: Vocabulary) -> None:
    matcher = Matcher(Grammar("json-schema", PERSON), octets)
    text = list(b'{"name": "Ada", "age": 36}')
    masks = [matcher.mask()]
    for token in text:
        matcher.consume([token])
        masks.append(matcher.mask())
    matcher.consume([258])
    assert matcher.done
    matcher.rollback(1)
    for token in reversed(text):
        assert matcher.mask() == masks.pop()
        matcher.rollback(1)
        assert token
    assert matcher.mask() == masks.pop()
    with pytest.raises(Invalid, match="has consumed 0 tokens"):
        matcher.rollback(1)


def test_a_fork_goes_its_own_way(octets: Vocabulary) -> None:
    matcher = Matcher(Grammar("choice", ["cat", "car"]), octets)
    feed(matcher, octets, "ca")
    fork = matcher.fork()
    feed(fork, octets, "r")
    assert fork.done
    assert allowed(matcher) == letters("tr")
    fork.rollback(3)
    assert allowed(fork) == letters("c")
    assert matcher.consumed == 2


def test_forced_tokens_are_the_tokenizers_own(tiny: Vocabulary) -> None:
    matcher = Matcher(Grammar("json-schema", PERSON), tiny)
    forced = matcher.forced()
    assert tiny.tokens.encode('{"name": "', False)[: len(forced)] == forced
    assert forced
    matcher.consume(forced)
    feed(Matcher(Grammar("json-schema", PERSON), tiny), tiny, '{"name": "Ada", "age": 36}')


@pytest.mark.parametrize(
    ("spacing", "text", "other"),
    [
        ("spaced", '{"a": 1, "b": 2}', '{"a":1,"b":2}'),
        ("compact", '{"a":1,"b":2}', '{"a": 1, "b": 2}'),
        ("flexible", '{\n "a" : 1 ,"b":2}', None),
    ],
)
def test_spacing_is_as_asked(octets: Vocabulary, spacing: str, text: str, other: str | None) -> None:
    schema = (
        '{"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]}'
    )
    matcher = Matcher(Grammar("json-schema", schema, spacing), octets)
    feed(matcher.fork(), octets, text)
    if other is not None:
        with pytest.raises(Invalid):
            feed(matcher, octets, other)


def test_characters_of_several_bytes_are_never_cut(octets: Vocabulary, tiny: Vocabulary) -> None:
    matcher = Matcher(Grammar("regex", "[éß漢]+"), octets)
    assert allowed(matcher) == {0xC3, 0xE6}
    matcher.consume([0xC3])
    assert not matcher.complete
    assert allowed(matcher) == {0xA9, 0x9F}
    feed(Matcher(Grammar("choice", ["naïve 漢字 🙂"]), tiny), tiny, "naïve 漢字 🙂")


def test_special_tokens_are_no_text_but_a_grammar_may_name_them(tiny: Vocabulary) -> None:
    assert not allowed(Matcher(Grammar("regex", "(?s:.)*x"), tiny)) & {0, 1, 2}
    matcher = Matcher(Grammar("grammar", 'start: <|im_start|> "user"'), tiny)
    assert allowed(matcher) == {1}


def test_choices_are_taken_literally(octets: Vocabulary) -> None:
    odd = ['a"b', "back\\slash", "new\nline", "<|im_end|>", "é", "{x}", "/re/"]
    for choice in odd:
        matcher = Matcher(Grammar("choice", odd), octets)
        feed(matcher, octets, choice)
        assert matcher.complete


def test_the_native_vocabulary_agrees_with_the_tokenizer_byte_for_byte(tiny: Vocabulary) -> None:
    special = tiny.tokens.special_tokens | {next(t for t in range(4096) if tiny.tokens.piece(t) == b"\xff")}
    ours = {token: tiny.tokens.piece(token) for token in range(tiny.size) if token not in special}
    assert {token: tiny.native.decode_bytes([token]) for token in ours} == ours


def test_a_tokenizer_that_llguidance_does_not_know_goes_by_its_pieces(tmp_path: Path) -> None:
    import tokenizers

    model = tokenizers.models.Unigram(
        [("<unk>", 0.0), ("\u2581", -2.0), ("\u2581yes", -1.0), ("no", -1.0), ("e", -3.0)], 0
    )
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    backend.decoder = tokenizers.decoders.Metaspace()
    vocabulary = Vocabulary("odd", Tokenizer(backend, 8), 8, (0,))
    matcher = Matcher(Grammar("choice", [" yes", "no"]), vocabulary)
    assert allowed(matcher) == {1, 2, 3}


def test_what_is_forced_is_allowed_marks_that_are_tokens_too(tiny: Vocabulary) -> None:
    matcher = Matcher(Grammar("regex", "Yes: <think>[ab]</think>"), tiny)
    text: list[int] = []
    while not matcher.done:
        new = matcher.forced() or [min(allowed(matcher))]
        matcher.consume(new)
        text += new
    assert matcher.complete
    assert b"".join(map(tiny.tokens.piece, text)) in (b"Yes: <think>a</think>", b"Yes: <think>b</think>")

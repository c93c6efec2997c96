"""Text to ids and back: exact, by character, bounded."""

from __future__ import annotations

import random

import pytest
import tokenizers

from symphony import param
from symphony.engine.registry import find
from symphony.engine.tokenizer import Tokenizer
from symphony.errors import Invalid, LimitExceeded, NotFound

PATH = find("tiny") / "tokenizer.json"


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.load(PATH)


@pytest.fixture(scope="module")
def library():
    return tokenizers.Tokenizer.from_file(str(PATH))


def test_encode_is_the_librarys(tokenizer, library):
    for text in ("", "Hello, world", " two  spaces\n\ttab", "naïve 日本 😀", "12345"):
        assert tokenizer.encode(text, special=True) == library.encode(text, add_special_tokens=False).ids


def test_special_tokens_only_where_they_are_asked_for(tokenizer):
    text = "<|im_start|>user"
    assert tokenizer.encode(text, special=True)[0] == 1
    plain = tokenizer.encode(text, special=False)
    assert not set(plain) & tokenizer.special_tokens
    assert tokenizer.decode(plain) == text
    assert tokenizer.encode(text, special=True)[0] == 1  # the switch leaves nothing behind


def test_decode_and_decoder_equal_the_library(tokenizer, library):
    source = random.Random(1)
    for _ in range(300):
        ids = [source.randrange(tokenizer.vocab_size) for _ in range(source.randrange(12))]
        assert tokenizer.decode(ids) == library.decode(ids, skip_special_tokens=False)
        decoder = tokenizer.decoder()
        text = "".join(decoder.push([i]) for i in ids) + decoder.finish()
        assert text == library.decode(ids, skip_special_tokens=True)


def test_the_decoder_never_splits_a_character(tokenizer):
    text = "a😀é日"
    ids = tokenizer.encode(text, special=False)
    decoder = tokenizer.decoder()
    parts = [decoder.push([i]) for i in ids]
    assert "".join(parts) == text
    assert "\ufffd" not in "".join(parts)
    assert any(p == "" for p in parts)  # the emoji takes several tokens here


def test_finish_gives_what_is_left(tokenizer):
    half = tokenizer.encode("😀", special=False)[:-1]
    decoder = tokenizer.decoder()
    assert decoder.push(half) == ""
    assert decoder.finish() == "\ufffd"
    assert decoder.finish() == ""


def test_bad_ids_and_texts(tokenizer):
    for bad in (-1, tokenizer.vocab_size, 1 << 40):
        with pytest.raises(Invalid, match="outside the vocabulary"):
            tokenizer.decode([bad])
    decoder = tokenizer.decoder()
    half = tokenizer.encode("😀", special=False)
    decoder.push(half[:1])
    with pytest.raises(Invalid):
        decoder.push([5000])
    assert decoder.push(half[1:]) == "😀"
    with pytest.raises(LimitExceeded, match="longer than the limit"):
        tokenizer.encode("x" * (param.MAX_TEXT_CHARS + 1), special=True)
    with pytest.raises(Invalid, match="not valid Unicode"):
        tokenizer.encode("\ud800", special=True)


def test_a_padded_vocabulary(library):
    padded = Tokenizer(library, vocab_size=5000)
    assert padded.vocab_size == 5000
    assert padded.decode([4999]) == ""
    with pytest.raises(Invalid):
        padded.decode([5000])


def test_sentencepiece_pieces(tmp_path):
    pieces = {"<unk>": 0, "\u2581": 1, "H": 2, "i": 3, "<0xF0>": 4, "<0x9F>": 5, "<0x98>": 6, "<0x80>": 7, "\u2581H": 8}
    model = tokenizers.models.BPE(pieces, [("\u2581", "H")], unk_token="<unk>", byte_fallback=True)
    built = tokenizers.Tokenizer(model)
    d = tokenizers.decoders
    built.decoder = d.Sequence([d.Replace("\u2581", " "), d.ByteFallback(), d.Fuse(), d.Strip(" ", 1, 0)])
    tokenizer = Tokenizer(built)
    ids = [8, 3, 4, 5, 6, 7, 8]
    assert tokenizer.decode(ids) == built.decode(ids) == "Hi😀 H"
    decoder = tokenizer.decoder()
    assert [decoder.push([i]) for i in ids] == [" H", "i", "", "", "", "😀", " H"]


def test_unreadable_files(tmp_path):
    with pytest.raises(NotFound, match=r"tokenizer\.json does not exist"):
        Tokenizer.load(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(Invalid, match="not a tokenizer"):
        Tokenizer.load(tmp_path / "tokenizer.json")
    other = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    other.decoder = tokenizers.decoders.WordPiece()
    with pytest.raises(Invalid, match="WordPiece"):
        Tokenizer(other)

"""Stop strings and withheld text, character by character."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from symphony.core.text import TextStream
from symphony.engine.fake import ByteTokenizer


def reference(text: str, stops: list[str]) -> tuple[str, int | None]:
    """The first stop string completed, the longest of those completed by the same character."""
    for end in range(1, len(text) + 1):
        hits = [(len(stop), -i) for i, stop in enumerate(stops) if text[:end].endswith(stop)]
        if hits:
            length, index = max(hits)
            return text[: end - length], -index
    return text, None


@given(st.text("abé", max_size=30), st.lists(st.text("abé", min_size=1, max_size=4), max_size=4))
def test_text_and_stop_are_those_of_the_whole_text(text: str, stops: list[str]) -> None:
    stream = TextStream(ByteTokenizer().decoder(), stops)
    wanted, index = reference(text, stops)
    out, hit = "", None
    for token in text.encode():
        hit = stream.push(token)
        out += stream.take()
        assert wanted.startswith(out), "nothing is released that has to be taken back"
        if hit is not None:
            break
    else:
        stream.end()
    out += stream.take()
    assert (out, hit) == (wanted, index)


@given(st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3), st.text("ab", max_size=12))
def test_only_what_may_begin_a_stop_string_is_withheld(stops: list[str], text: str) -> None:
    if reference(text, stops)[1] is not None:
        return
    stream = TextStream(ByteTokenizer().decoder(), stops)
    for token in text.encode():
        stream.push(token)
    out = stream.take()
    held = text[len(out) :]
    assert not held or any(stop.startswith(held) for stop in stops)

"""Mailboxes and channels: order, lines, bounds, and what becomes of texts that nobody takes."""

from __future__ import annotations

import random
from collections import deque

import pytest

from symphony.errors import Busy, Invalid, LimitExceeded, NotFound
from symphony.param import (
    MAX_CHANNEL_NAME_CHARS,
    MAX_CHANNELS_PER_TENANT,
    MAX_MAILBOX_CHARS,
    MAX_MAILBOX_TEXTS,
    MAX_MESSAGE_CHARS,
)
from symphony.syscall.channels import ALL, ONE, ChannelHandle, Channels
from symphony.syscall.mailbox import Mailbox, Message


class Reader:
    """Stands in lines and counts what it was told."""

    def __init__(self, source: Mailbox | ChannelHandle) -> None:
        self.source = source
        self.arrived = 0
        self.over = 0

    def ask(self) -> Message:
        return self.source.receive(self._arrived, self._over)

    def now(self) -> str | None:
        message = self.ask()
        text = message.take()
        message.drop()
        return text

    def _arrived(self) -> None:
        self.arrived += 1

    def _over(self) -> None:
        self.over += 1


def filled(count: int = 0, *, lossy: bool = False) -> tuple[Mailbox, Reader]:
    box = Mailbox(lossy=lossy)
    for n in range(count):
        box.post(str(n))
    return box, Reader(box)


def test_first_come_first_served() -> None:
    box, reader = filled(2)
    third, fourth = reader.ask(), reader.ask()
    assert [third.take(), fourth.take()] == ["0", "1"]
    early, late = reader.ask(), reader.ask()
    assert (early.take(), early.pollable.ready()) == (None, False)
    box.post("a")
    assert (early.pollable.ready(), late.pollable.ready(), reader.arrived) == (True, False, 1)
    box.post("b")
    assert (late.take(), early.take(), len(box)) == ("b", "a", 0)


def test_a_text_that_was_not_taken_goes_to_the_next_in_its_old_place() -> None:
    box, reader = filled(2)
    first, second = reader.ask(), reader.ask()
    box.post("2")
    for place in (second, first):
        place.drop()
    assert [reader.now(), reader.now(), reader.now()] == ["0", "1", "2"]
    leaves, stays = reader.ask(), reader.ask()
    box.post("x")
    leaves.drop()
    assert stays.take() == "x"
    gone, last = reader.ask(), reader.ask()
    gone.drop()
    box.post("y")
    assert last.take() == "y"


def test_a_message_is_taken_once_and_counted_once() -> None:
    _, reader = filled(1)
    message = reader.ask()
    assert message.take() == "0"
    with pytest.raises(Invalid, match="taken already"):
        message.take()
    message.drop()
    message.drop()
    assert reader.over == 1
    waiting = reader.ask()
    waiting.drop()
    assert reader.over == 2


@pytest.mark.parametrize("held", [False, True], ids=["lying there", "with somebody who does not take them"])
def test_a_mailbox_holds_so_many_texts(held: bool) -> None:
    box, reader = filled()
    places = [reader.ask() for _ in range(MAX_MAILBOX_TEXTS)] if held else []
    for n in range(MAX_MAILBOX_TEXTS):
        assert box.room.ready()
        box.post(str(n))
    assert not box.room.ready()
    with pytest.raises(Busy, match=str(MAX_MAILBOX_TEXTS)):
        box.post("one too many")
    assert (places[0].take() if held else reader.now()) == "0"
    assert box.room.ready()
    box.post("fits")


def test_a_mailbox_holds_so_many_characters() -> None:
    box, reader = filled()
    box.post("x" * (MAX_MAILBOX_CHARS - 1))
    box.post("y" * MAX_MESSAGE_CHARS)
    assert not box.room.ready()
    with pytest.raises(Busy):
        box.post("")
    with pytest.raises(LimitExceeded, match="at most"):
        box.post("z" * (MAX_MESSAGE_CHARS + 1))
    reader.now()
    assert not box.room.ready()
    reader.now()
    assert box.room.ready()


def test_a_lossy_mailbox_loses_the_oldest_and_says_so_once() -> None:
    box, reader = filled(MAX_MAILBOX_TEXTS + 3, lossy=True)
    assert len(box) == MAX_MAILBOX_TEXTS
    message = reader.ask()
    with pytest.raises(LimitExceeded, match=r"^3 texts"):
        message.take()
    message.drop()
    assert [reader.now(), reader.now()] == ["3", "4"]


def test_a_lossy_mailbox_whose_texts_are_all_held_loses_the_newest() -> None:
    box, reader = filled(lossy=True)
    places = [reader.ask() for _ in range(MAX_MAILBOX_TEXTS)]
    for n in range(MAX_MAILBOX_TEXTS + 1):
        box.post(str(n))
    with pytest.raises(LimitExceeded, match=r"^1 texts"):
        places[0].take()
    assert places[1].take() == "1"
    assert reader.now() == "0"


def test_a_closed_mailbox_lets_senders_go() -> None:
    box, _ = filled(MAX_MAILBOX_TEXTS)
    box.close(NotFound("gone"))
    assert box.room.ready()
    with pytest.raises(NotFound, match="gone"):
        box.post("x")


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_or_doubled(seed: int) -> None:
    """Whatever happens: each text is taken once, and who waits has one as long as there are some."""
    choose = random.Random(seed)
    box, reader = filled()
    expected: deque[str] = deque()
    places: list[Message] = []
    taken: list[str] = []
    for n in range(600):
        action = choose.choice(["post", "post", "ask", "ask", "take", "drop"])
        if action == "post" and box.room.ready():
            box.post(str(n))
            expected.append(str(n))
        elif action == "ask":
            places.append(reader.ask())
        elif places and action == "take":
            place = choose.choice(places)
            if (text := place.take()) is not None:
                places.remove(place)
                taken.append(text)
        elif places and action == "drop":
            places.pop(choose.randrange(len(places))).drop()
        held = sum(place.pollable.fired for place in places)
        assert len(box) == len(expected) - len(taken)
        assert held == min(len(places), len(box)), "who waits has a text as long as there are some"
    for place in places:
        place.drop()
    left = [reader.now() for _ in range(len(box))]
    assert sorted([*taken, *left], key=int) == list(expected)
    assert reader.now() is None


# ---- channels ----------------------------------------------------------------------------------------------------


def test_a_queue_is_shared_by_its_handles_and_a_broadcast_is_not() -> None:
    channels = Channels()
    one, other = (channels.open("a", "jobs", ONE) for _ in range(2))
    for text in "xy":
        one.send(text)
    assert [Reader(other).now(), Reader(one).now(), Reader(one).now()] == ["x", "y", None]
    speaker, first, second = (channels.open("a", "news", ALL) for _ in range(3))
    speaker.send("hear")
    assert [Reader(handle).now() for handle in (first, second, speaker)] == ["hear", "hear", None]
    late = channels.open("a", "news", ALL)
    assert Reader(late).now() is None


def test_who_does_not_listen_holds_up_nobody() -> None:
    channels = Channels()
    speaker, quick, _slow = (channels.open("a", "news", ALL) for _ in range(3))
    reader = Reader(quick)
    for n in range(3 * MAX_MAILBOX_TEXTS):
        assert speaker.room.ready()
        speaker.send(str(n))
        assert reader.now() == str(n)
    with pytest.raises(LimitExceeded):
        speaker.send("x" * (MAX_MESSAGE_CHARS + 1))


def test_a_channel_ends_with_its_last_handle() -> None:
    channels = Channels()
    one, other = (channels.open("a", "jobs", ONE) for _ in range(2))
    one.send("kept while it is open")
    one.close()
    one.close()
    assert Reader(other).now() == "kept while it is open"
    other.send("lost")
    other.close()
    assert len(channels) == 0
    assert Reader(channels.open("a", "jobs", ALL)).now() is None


def test_tenants_do_not_meet() -> None:
    channels = Channels()
    mine, theirs = channels.open("a", "jobs", ONE), channels.open("b", "jobs", ALL)
    mine.send("secret")
    assert Reader(theirs).now() is None
    theirs.close()
    assert Reader(mine).now() == "secret"


def test_names_kinds_and_numbers_are_checked() -> None:
    channels = Channels()
    channels.open("a", "jobs", ONE)
    with pytest.raises(Invalid, match="is a queue"):
        channels.open("a", "jobs", ALL)
    for name in ("", "x" * (MAX_CHANNEL_NAME_CHARS + 1)):
        with pytest.raises(Invalid, match="name"):
            channels.open("a", name, ONE)
    handles = [channels.open("a", f"c{n}", ONE) for n in range(MAX_CHANNELS_PER_TENANT - 1)]
    with pytest.raises(LimitExceeded, match="channels"):
        channels.open("a", "one more", ONE)
    channels.open("a", "c0", ONE)
    channels.open("b", "one more", ONE)
    handles[1].close()
    channels.open("a", "one more", ONE)

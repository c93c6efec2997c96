"""What a program's author reads first of what a guest tells of its failure."""

from __future__ import annotations

import traceback

import pytest

from symphony.param import MAX_ERROR_CHARS
from symphony.process.told import guest_error


def told(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def hinted(error: Exception, hint: str) -> Exception:
    error.add_note(f"  hint: {hint}")
    return error


@pytest.mark.parametrize(
    ("text", "message", "hint", "traceback"),
    [
        ("no entry point\n  hint: put @main above it", "no entry point", "put @main above it", ""),
        ("a\nb", "b", "", "a\nb"),
        ("", "the program failed without a message", "", ""),
        ("+------", "several branches of the program failed", "", "+------"),
    ],
)
def test_texts(text: str, message: str, hint: str, traceback: str) -> None:
    error = guest_error(text)
    assert (error.message, error.hint, error.traceback) == (message, hint, traceback)


def test_a_traceback() -> None:
    error = guest_error(told(hinted(ValueError("it broke"), "mend it")))
    assert (error.message, error.hint) == ("ValueError: it broke", "mend it")


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_of_a_group_the_first_exception_is_told(depth: int) -> None:
    group: Exception = hinted(ValueError("the first broke"), "mend it")
    for _ in range(depth):
        group = ExceptionGroup("unhandled errors in a TaskGroup", [group, KeyError("another")])
    error = guest_error(told(group))
    assert (error.message, error.hint) == ("ValueError: the first broke", "mend it")
    assert error.traceback == told(group).rstrip()


def test_a_group_whose_beginning_was_cut_off_has_a_message_yet() -> None:
    group = ExceptionGroup("many", [ValueError("x" * MAX_ERROR_CHARS), KeyError("the last")])
    assert guest_error(told(group)).message


def test_a_group_raised_while_another_error_was_handled() -> None:
    group = ExceptionGroup("both", [ValueError("the first"), KeyError("second")])
    group.__context__ = ExceptionGroup("before", [OSError("disk")])
    assert guest_error(told(group)).message == "ValueError: the first"

"""What a guest tells of its failure, taken apart: a message, a hint, the traceback.

The text is what the SDKs write: `message`, then `  hint: ...` on a line of its own, or a traceback of Python, whose
last line is the message; of a group of exceptions, the message is the first one's. Knows no process.
"""

from __future__ import annotations

from symphony.errors import ProgramError
from symphony.param import MAX_ERROR_CHARS

_EARLIER = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
"""What Python writes below an exception that is not the last."""


def guest_error(text: str) -> ProgramError:
    """The error that a guest's text tells; never empty."""
    text = end_of(text).rstrip()
    lines = text.splitlines()
    if lines and lines[-1].lstrip(" |").startswith("+--"):
        return _of_group(lines)
    text, _, hint = text.partition("\n  hint: ")
    lines = text.splitlines()
    if len(lines) > 1:
        return ProgramError(lines[-1], hint, text)
    return ProgramError(text or "the program failed without a message", hint)


def end_of(text: str) -> str:
    """A guest may choose texts of many megabytes."""
    return text if len(text) <= MAX_ERROR_CHARS else f"[...]\n{text[-MAX_ERROR_CHARS:]}"


def _of_group(lines: list[str]) -> ProgramError:
    """A traceback of exceptions in boxes, `+-+--- 1 ---` before the first of a group, `+--- 2 ---` between two."""
    first: list[str] = []
    last = max((n for n, line in enumerate(lines) if line in _EARLIER), default=-1)
    for line in (line.lstrip(" |") for line in lines[last + 1 :]):
        if line.startswith("+-+"):
            first = []
        elif not line.startswith("+-"):
            first.append(line)
        elif first:
            break
    message, _, hint = "\n".join(first).partition("\nhint: ")
    return ProgramError(message.rpartition("\n")[2] or "several branches of the program failed", hint, "\n".join(lines))

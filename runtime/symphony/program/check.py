"""What an upload is, before anything is done with it: Wasm, a Python source, or a mistake.

Only bytes are looked at here; components are checked further by the sandbox, sources by `source`.
"""

from __future__ import annotations

from symphony.errors import InvalidProgram

_HINT = "upload a Python source, or a component built with `symphony build` or a wasm32-wasip2 toolchain"
_WAT = ("(component", "(module", "(;", ";;")


def is_wasm(content: bytes) -> bool:
    """Whether it is for the sandbox to check; else it is meant to be Python."""
    return content[:4] == b"\0asm"


def text_of(content: bytes) -> str:
    """A Python source as text. Raises `InvalidProgram`."""
    if not content.strip():
        raise InvalidProgram("the program is empty", _HINT)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidProgram(
            f"the program is neither a Wasm component nor UTF-8 text (byte {error.start})", _HINT
        ) from None
    if "\0" in text:
        raise InvalidProgram("the program is neither a Wasm component nor Python: it contains NUL bytes", _HINT)
    if text.lstrip().startswith(_WAT):
        raise InvalidProgram(
            "the program is Wasm in text form (WAT), which is not accepted",
            "compile it: `wasm-tools parse -o out.wasm`",
        )
    return text

"""What an upload is, before anything is done with it: a component, a Python source, or a mistake.

Only bytes are looked at here; components are checked further by the sandbox, sources by `source`.
"""

from __future__ import annotations

from symphony.errors import InvalidProgram
from symphony.sandbox import Sandbox

_HINT = "upload a Python source, or a component built with `symphony build` or a wasm32-wasip2 toolchain"
_WAT = ("(component", "(module", "(;", ";;")


def kind_of(content: bytes, sandbox: Sandbox) -> str:
    """'component' or 'python'. Raises `InvalidProgram` for everything else."""
    if content[:4] == b"\0asm":
        sandbox.check(content)
        return "component"
    text_of(content)
    return "python"


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

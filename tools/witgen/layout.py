"""Nested tuples of strings and None as Python source, broken over lines like a formatter would."""

from __future__ import annotations

WIDTH = 120

Code = str | None | tuple["Code", ...]


def layout(code: Code, indent: int, prefix: int = 0) -> str:
    """Source of `code`, for a line indented by `indent` that already holds `prefix` more characters."""
    flat = _flat(code)
    if not isinstance(code, tuple) or indent + prefix + len(flat) + 1 <= WIDTH:
        return flat
    inner = indent + 4
    lines = [f"{' ' * inner}{layout(item, inner)},\n" for item in code]
    return f"(\n{''.join(lines)}{' ' * indent})"


def _flat(code: Code) -> str:
    if code is None:
        return "None"
    if isinstance(code, str):
        text = repr(code)
        return f'"{text[1:-1]}"' if text.startswith("'") else text
    inner = ", ".join(_flat(item) for item in code)
    return f"({inner},)" if len(code) == 1 else f"({inner})"

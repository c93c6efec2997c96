"""Writes the table of limits in docs/security.md from runtime/symphony/param.py: `python -m tools.limits [--check]`.

The table stands between two markers. With --check nothing is written, and a stale table is an error.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tools.page import renew

ROOT = Path(__file__).resolve().parents[1]
PARAM = ROOT / "runtime" / "symphony" / "param.py"
PAGE = ROOT / "docs" / "security.md"
BEGIN = "<!-- limits: written by tools/limits.py -->"
END = "<!-- end of limits -->"


class Limit(NamedTuple):
    """One constant of param.py."""

    section: str
    name: str
    value: str
    meaning: str


def limits(source: str) -> Iterator[Limit]:
    """Constants in order; the string below a constant is its meaning, a `# ---` comment starts a section."""
    lines = source.splitlines()
    sections = [(n, line.strip("# -")) for n, line in enumerate(lines, 1) if line.startswith("# ---")]
    body = ast.parse(source).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        if not isinstance(after, ast.Expr) or not isinstance(after.value, ast.Constant):
            raise SystemExit(f"{PARAM.name}: {node.targets[0].id} has no text below it that says what it limits")
        section = [title for n, title in sections if n < node.lineno][-1]
        meaning = " ".join(str(after.value.value).split())
        yield Limit(section, node.targets[0].id, _readable(ast.unparse(node.value)), meaning)


def _readable(expression: str) -> str:
    value = eval(expression, {"__builtins__": {}})  # constants of our own source, such as 64 << 20
    if isinstance(value, int) and "<<" in expression:
        for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
            if value % (1 << shift) == 0:
                return f"{value >> shift} {unit}"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def table(source: str) -> str:
    """The Markdown between the markers."""
    rows: list[str] = []
    section = ""
    for limit in limits(source):
        if limit.section != section:
            section = limit.section
            rows += ["", f"**{section.capitalize()}**", "", "| limit | value | meaning |", "|---|---|---|"]
        rows.append(f"| `{limit.name}` | {limit.value} | {limit.meaning} |")
    return "\n".join(rows).strip()


def main() -> int:
    return renew(PAGE, ROOT, BEGIN, END, table(PARAM.read_text(encoding="utf-8")))


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tools.samples [--check]`: the README's list of samples, from the first sentence of each.

A sample is `samples/NAME/NAME.py`; its docstring begins `Title: what it shows.` With `--check` nothing is written, and
the exit status is 1 where the list is out of date.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAD = "| sample | shows |\n|---|---|\n"
_TABLE = re.compile(re.escape(HEAD) + r"(?:\|.*\n)+")
_TITLE = re.compile(r"[^:.]*: (.*?)[.:](?:\s|$)", re.DOTALL)


def samples(root: Path) -> list[Path]:
    """The programs, by name."""
    return sorted(path for path in (root / "samples").glob("*/*.py") if path.stem == path.parent.name)


def shows(program: Path) -> str:
    """What a sample shows, from its docstring. Raises ValueError where it does not begin as it should."""
    said = _TITLE.match(ast.get_docstring(ast.parse(program.read_text("utf-8"))) or "")
    if said is None:
        raise ValueError(f"{program}: begin the docstring with `Title: what it shows.`")
    return " ".join(said[1].split())


def table(root: Path) -> str:
    lines: list[str] = []
    for program in samples(root):
        rust = " (also in Rust)" if (program.parent / "rust").is_dir() else ""
        lines.append(f"| [{program.stem}](samples/{program.stem}) | {shows(program)}{rust} |\n")
    return HEAD + "".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="samples", description="Write the README's list of samples.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the list is out of date")
    check = bool(parser.parse_args().check)
    readme = ROOT / "README.md"
    text = readme.read_text("utf-8")
    made, count = _TABLE.subn(lambda _: table(ROOT), text)
    if count != 1:
        print("README.md has no list of samples", file=sys.stderr)
        return 1
    if made != text and not check:
        readme.write_text(made, "utf-8")
    if made != text:
        print("out of date: the list of samples in README.md; run: make gen" if check else "wrote: README.md")
    return int(check and made != text)


if __name__ == "__main__":
    sys.exit(main())

"""A generated part of a page, between two markers: written anew, or compared (`--check`), whatever is in it."""

from __future__ import annotations

import sys
from pathlib import Path


def renew(page: Path, root: Path, begin: str, end: str, text: str) -> int:
    """Put the text between the markers, or with `--check` only say whether it is there: an exit status."""
    old = page.read_text(encoding="utf-8")
    before, rest = old.split(begin)
    _, after = rest.split(end)
    fresh = f"{before}{begin}\n{text}\n{end}{after}"
    if "--check" not in sys.argv[1:]:
        page.write_text(fresh, encoding="utf-8")
    elif fresh != old:
        print(f"{page.relative_to(root)} is stale: run `make gen`", file=sys.stderr)
        return 1
    return 0

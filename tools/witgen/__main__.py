"""`python -m tools.witgen [--check]`: write what derives from `wit/`, or tell what is out of date (exit status 1)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import former, manual, records, signatures
from .library import load

ROOT = Path(__file__).resolve().parents[2]


def outputs(root: Path) -> dict[Path, str]:
    """Every generated file and the text that belongs into it."""
    library = load(root / "wit")
    return {
        root / "runtime/symphony/syscall/signatures.py": signatures.render(library),
        root / "runtime/symphony/syscall/former.py": former.render(library, former.archived(root / "wit")),
        root / "guest_sdk/python/lip/testing/_records.py": records.render(library, "symphony:lip"),
        root / "docs/syscalls.md": manual.render(library, "symphony:lip/lip"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="witgen", description="Generate code and documentation from wit/.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a generated file is out of date")
    check = bool(parser.parse_args().check)
    stale = 0
    for path, text in outputs(ROOT).items():
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale += 1
        print(f"{'out of date' if check else 'wrote'}: {path.relative_to(ROOT)}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    if check and stale:
        print("run: make gen", file=sys.stderr)
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())

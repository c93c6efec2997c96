"""`symphony run app.py` where the source names packages (PEP 723): built into a component first, with a note.

Knows nothing of packages: `program.packaged` does.
"""

from __future__ import annotations

from pathlib import Path

import click


def runnable(path: Path) -> Path:
    """`path`, or where it is a source that names packages, the component built from it. Blocks for a build; raises
    what that does."""
    if path.suffix != ".py" or b"# /// script" not in (content := path.read_bytes()):
        return path  # without importing what follows
    from symphony.host import cache_directory
    from symphony.program.packaged import built, packages_of

    if not packages_of(content):
        return path
    return built(path, content, cache_directory(), lambda named: _note(", ".join(named)))


def _note(named: str) -> None:
    click.secho(f"note: building it with {named}; once, about 20 s", err=True, dim=True)

"""Sources that name packages (PEP 723): a path is built into a component first, once; a text is refused.

    # /// script
    # dependencies = ["tabulate"]
    # ///

Who hands in a path works on this machine, and may have packages fetched to it; a text may be anybody's. A component is
kept for a source, an SDK and its `wit/`; the versions of its packages are those of the day when it was built. Knows
nothing of how packages are found: `build` does.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from symphony.errors import InvalidProgram
from symphony.program import build, interpreter
from symphony.program.check import is_wasm, text_of
from symphony.program.requirements import requirements_of
from symphony.program.toolchain import find_kit

_MARK = b"# /// script"


def packages_of(content: bytes) -> list[str]:
    """What a source names, in the words of pip. Raises `InvalidProgram` where it says it wrongly."""
    return requirements_of(text_of(content), None) if not is_wasm(content) and _MARK in content else []


def refuse(content: bytes) -> None:
    """Raises `InvalidProgram` for a source that names packages."""
    if named := packages_of(content):
        raise InvalidProgram(
            f"the program names packages ({', '.join(named)}), and none are fetched for a source that is handed in as "
            "text: that would have the host install what anybody asks for",
            "build it where it was written, symphony build app.py -o app.wasm, and use the component",
        )


def built(path: Path, content: bytes, cache: Path, tell: Callable[[Sequence[str]], None] = lambda named: None) -> Path:
    """The component of `content`, the source that was read at `path` and names packages; `tell` is called before a
    build, which does not look at the path again: what it builds is what was looked at.

    Blocks: a build takes about 20 s, and asks the package index. Raises what `build.build` does.
    """
    key = hashlib.sha256(interpreter.key(find_kit()).encode() + path.name.encode() + b"\0" + content).hexdigest()[:32]
    target = cache / "packaged" / key / f"{path.stem}.wasm"
    if not target.is_file():
        tell(packages_of(content))
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as aside:  # two at a time: the last one wins
            made, copy = Path(aside) / target.name, Path(aside) / path.name
            copy.write_bytes(content)
            build.build(copy, made)
            made.replace(target)
    return target

"""The pure-Python packages that a program names: found in its source or its folder, fetched by pip.

A program names them in a block of comments (PEP 723, inline script metadata) or, where it is a folder, in
`requirements.txt`. Only wheels for any machine are taken, by name: nothing is built, nothing of a package is run (what
is named by path or URL pip would build all the same), and what needs native code is refused. Knows nothing of Wasm.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from symphony.errors import InvalidProgram, LimitExceeded, Unavailable
from symphony.param import BUILD_SECONDS

GUEST_PYTHON = "3.14"
FILE = "requirements.txt"
_INSTALL = ("install", "--disable-pip-version-check", "--no-input", "--only-binary=:all:")
_ANY_MACHINE = ("--implementation=py", "--abi=none", "--platform=any", f"--python-version={GUEST_PYTHON}")
MAX_BLOCK_CHARS = 4096
"""Characters of the block of comments: tomllib takes time by the cube of a dotted key's length."""
_BY_NAME = re.compile(r"[A-Za-z0-9][\w.-]*+ *+(\[[\w., -]*\])?[\w.,<>=!~*+() -]*+(;[ -~]*)?", re.ASCII)
_ARCHIVE = re.compile(r"[^;]*\.(whl|zip|tgz|tbz|txz|tlz|tar(\.\w+)?)\s*($|[\[;])", re.IGNORECASE)
_NOT_FOUND = re.compile(r"No matching distribution found for ([^\s(]+)")
_DEPENDS = re.compile(r"^ +(\S+) \S+ depends on ([\w.-]+)", re.MULTILINE)
_MALFORMED = re.compile(r"^.*Invalid (?:requirement|marker|specifier|version).*", re.MULTILINE)
_WANTED_BY = re.compile(r"requirement ([^\s(]+) \(from (?!versions:)([^()]+)\)")


def requirements_of(source: str, folder: Path | None) -> list[str]:
    """The requirements that a program names, in the words of pip. Raises `InvalidProgram`."""
    named = list(_inline(source))
    if folder is not None and (folder / FILE).is_file():
        named += _lines((folder / FILE).read_text(encoding="utf-8"))
    for requirement in named:
        if requirement.startswith("-"):
            raise InvalidProgram(
                f"{requirement!r} is an option, not a package",
                "name packages only; pip's settings are its own: PIP_...",
            )
        if not _BY_NAME.fullmatch(requirement) or _ARCHIVE.match(requirement):
            raise InvalidProgram(
                f"{requirement[:200]!r} is not the name of a package, with versions at most",
                "paths and URLs are not taken; for wheels of your own, have pip look into their folder: PIP_FIND_LINKS",
            )
    return named


def fetch(requirements: Sequence[str], target: Path, *, seconds: float = BUILD_SECONDS) -> None:
    """Install them, and what they need, into the folder `target`. Blocks; uses the network as pip is set up to.

    Raises `InvalidProgram` naming what is native, does not exist or cannot be had together, `Unavailable` without pip,
    `LimitExceeded` after `seconds`.
    """
    if importlib.util.find_spec("pip") is None:
        raise Unavailable("the program names packages, and pip is not installed", "python -m ensurepip")
    done = _pip(*_INSTALL, *_ANY_MACHINE, "--no-compile", "--target", str(target), *requirements, seconds=seconds)
    if done.returncode:
        raise _malformed(requirements, done.stderr) or _refusal(done, seconds)


def _inline(source: str) -> Iterator[str]:
    """The `dependencies` of the block `# /// script`."""
    lines = iter(source.splitlines())
    for line in lines:
        if line.rstrip() == "# /// script":
            break
    block: list[str] = []
    size = 0
    for line in lines:
        if line.rstrip() == "# ///":
            break
        size += len(line)
        if size > MAX_BLOCK_CHARS:
            raise InvalidProgram(
                f"the block `# /// script` has more than {MAX_BLOCK_CHARS} characters",
                "build a folder instead, whose requirements.txt names the packages",
            )
        if line != "#" and not line.startswith("# "):
            raise InvalidProgram("the block `# /// script` does not end", "close it with a line `# ///`")
        block.append(line[2:])
    else:
        if block:
            raise InvalidProgram("the block `# /// script` does not end", "close it with a line `# ///`")
    try:
        found = tomllib.loads("\n".join(block)).get("dependencies", [])
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidProgram(
            f"the block `# /// script` is not TOML: {error}", 'write dependencies = ["tabulate", "humanize"]'
        ) from None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise InvalidProgram("`dependencies` is not a list of texts", 'write dependencies = ["tabulate", "humanize"]')
    yield from (one.strip() for one in found)


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        requirement = re.sub(r"(^|\s)#.*", "", line).strip()
        if requirement:
            yield requirement


def _malformed(requirements: Sequence[str], said: str) -> InvalidProgram | None:
    """What pip cannot read: it names the requirement, or only what stands behind its semicolon."""
    if (line := _MALFORMED.search(said)) is None:
        return None
    for requirement in requirements:
        marker = requirement.partition(";")[2].strip()
        if repr(requirement) in line[0] or (marker and repr(marker) in line[0]):
            return InvalidProgram(
                f"{requirement!r} is not the name of a package, with versions at most, as pip reads it",
                "such as tabulate, tabulate>=0.9, or \"tabulate; python_version >= '3.11'\"",
            )
    return None


def _refusal(done: subprocess.CompletedProcess[str], seconds: float) -> InvalidProgram:
    """Why pip gave up: a package that is there for this machine, though not for any, is native."""
    found = _NOT_FOUND.search(done.stderr)
    if found is not None:
        name = found[1]
        wanted = {match[1]: match[2] for match in _WANTED_BY.finditer(done.stderr)}
    else:  # pip tried versions of what needs it, one by one, and then tells of a conflict
        wanted = {match[2]: match[1] for match in _DEPENDS.finditer(done.stdout)}
        name = next((name for name in wanted if not _there(name, *_ANY_MACHINE, seconds=seconds)), None)
        if name is None:
            said = done.stderr.strip()[-1500:]
            return InvalidProgram(f"the program's packages cannot be had together:\n{said}", "loosen their versions")
    by = f" (which {wanted[name]} needs)" if name in wanted else ""
    if _there(name, seconds=seconds):
        return InvalidProgram(
            f"the program needs {name}{by}, which is native code: it is compiled for certain processors, and the "
            "sandbox loads no such code",
            "use a pure-Python package instead, or do that work in a tool, which runs outside the sandbox",
        )
    return InvalidProgram(
        f"the program needs {name}{by}, of which pip finds no wheel for any machine with Python {GUEST_PYTHON}",
        "check the name, the version and the network; packages that come as sources only are not built",
    )


def _there(name: str, *machine: str, seconds: float) -> bool:
    """Whether a package has a wheel for this machine, or another."""
    aside = ("--target=nowhere",) if machine else ()  # pip asks for it; nothing is written
    words = (*_INSTALL, *machine, *aside, "--dry-run", "--no-deps", "--ignore-installed", name)
    return _pip(*words, seconds=seconds).returncode == 0


def _pip(*words: str, seconds: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [sys.executable, "-P", "-m", "pip", *words], capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise LimitExceeded(f"fetching packages took longer than {seconds:.0f} s", "try again") from None

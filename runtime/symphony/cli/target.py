"""What PROGRAM on the command line means: a file, a sample by name, else the name of an uploaded program.

A word with a separator or a program's suffix is a file; any other is a name, and a sample's name wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from symphony.cli.arguments import Signature, read_signature
from symphony.cli.lazy import did_you_mean
from symphony.errors import Invalid, InvalidProgram, NotFound
from symphony.resources import resource

SUFFIXES = (".py", ".wasm")


@dataclass(slots=True, frozen=True)
class Target:
    """A program to run."""

    name: str
    path: Path | None
    """None: it is the name of an uploaded program."""
    signature: Signature | None
    """None: unknown."""
    tools: Path | None = None
    """The tool functions that come with a sample."""


def resolve(word: str) -> Target:
    """Raises NotFound for a missing file, Invalid for what cannot be a program."""
    path = Path(word)
    if path.suffix in SUFFIXES or "/" in word or "\\" in word:
        return _file(path)
    sample = sample_path(word)
    if sample is not None:
        tools = sample.with_name("tools.py")
        return Target(word, sample, _signature(sample), tools if tools.is_file() else None)
    if path.is_dir():
        return _file(path)
    return Target(word, None, None)


def unknown_name(name: str, uploaded: list[str]) -> NotFound:
    """The error for a name that is neither a file, a sample nor uploaded."""
    samples = sample_names()
    files = [path.name for suffix in SUFFIXES for path in Path().glob(f"*{suffix}")]
    known = [*samples, *uploaded, *files]
    lists = f"samples: {', '.join(samples) or 'none'}; uploaded: {', '.join(uploaded) or 'none'}"
    return NotFound(
        f"no program is called {name!r}.{did_you_mean(name, known)}", f"give a .py, a .wasm or a name ({lists})"
    )


def samples_directory() -> Path:
    """The samples of this installation: inside the wheel, or beside the sources."""
    return resource("samples", "samples")


def sample_names() -> list[str]:
    return sorted(path.parent.name for path in samples_directory().glob("*/*.py") if path.stem == path.parent.name)


def sample_path(name: str) -> Path | None:
    return samples_directory() / name / f"{name}.py" if name in sample_names() else None


def _file(path: Path) -> Target:
    if path.is_dir():
        inside = sorted(entry.name for entry in path.iterdir() if entry.suffix in SUFFIXES)
        fix = f"name a file in it: {path / inside[0]}" if inside else "name a .py or .wasm file"
        raise Invalid(f"{path} is a directory", fix)
    if not path.exists():
        near = path.parent if path.parent.is_dir() else Path()
        files = [entry.name for entry in near.iterdir() if entry.suffix in SUFFIXES]
        samples = sample_names()
        fix = f"check the path, or run a sample: {', '.join(samples)}" if samples else "check the path"
        raise NotFound(f"there is no file {path}.{did_you_mean(path.name, [*files, *samples])}", fix)
    if path.suffix not in SUFFIXES:
        fix = "a program is Python source or a Wasm component"
        if path.suffix == ".rs":
            fix += "; of a crate, symphony build FOLDER -o app.wasm makes one"
        raise Invalid(f"{path} is neither a .py nor a .wasm file", fix)
    return Target(path.stem, path, _signature(path))


def _signature(path: Path) -> Signature | None:
    if path.suffix != ".py":
        return None
    try:
        return read_signature(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as cause:
        raise InvalidProgram(f"{path} is not UTF-8 text: {cause.reason}", "save the file as UTF-8") from None
    except OSError as cause:
        raise Invalid(f"cannot read {path}: {cause.strerror}", "check the file's permissions") from None

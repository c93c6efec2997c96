"""From the name of a model to its directory: `tiny`, a path, or ORG/NAME in the local Hugging Face cache.

Nothing is downloaded. It knows nothing of what is in a directory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from symphony.errors import Invalid, NotFound

PACKAGED = ("tiny", "tiny-draft")
"""Models that come with Symphony: the one for demonstrations, and a smaller one that writes drafts for it."""

_NAME = re.compile(r"[\w.-]+")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def find(model: str) -> Path:
    """The directory of a model. Raises NotFound with what to do."""
    if model in PACKAGED:
        return Path(str(resources.files("symphony"))) / "models" / model
    path = Path(model).expanduser()
    if model.strip() and path.is_dir():  # an empty path is the current directory
        return path
    if path.is_file():
        raise NotFound(f"{model} is a file, not a model directory", "give the directory that holds config.json")
    if _HUB_NAME.fullmatch(model) and not model.startswith("."):
        return _cached(model)
    raise NotFound(
        f"there is no model {model!r}", f"give {' or '.join(PACKAGED)}, a directory, or ORG/NAME of a downloaded model"
    )


def name_models(models: Sequence[str]) -> list[tuple[str, str]]:
    """(name, model) of each; `models` are models or NAME=MODEL. Raises Invalid for a name that is given twice."""
    named: list[tuple[str, str]] = []
    for text in models:
        name, separator, model = text.partition("=")
        if not separator or not _NAME.fullmatch(name) or Path(text).expanduser().is_dir():
            name, model = short_name(text), text
        if name in [other for other, _ in named]:
            raise Invalid(f"two models are named {name!r}", f"give one another name: --model other={model}")
        named.append((name, model))
    return named


def short_name(model: str) -> str:
    """What a model is called where no name was given: the last part of its name or path."""
    return model if model in PACKAGED else Path(model).expanduser().resolve().name


def cached() -> list[tuple[str, Path]]:
    """(ORG/NAME, directory) of what the local Hugging Face cache holds of models, weights included."""
    found: list[tuple[str, Path]] = []
    for repository in sorted(_hub_cache().glob("models--*--*")):
        snapshot = _snapshot(repository)
        if snapshot is not None and (snapshot / "config.json").is_file() and any(snapshot.glob("*.safetensors")):
            found.append((repository.name.removeprefix("models--").replace("--", "/", 1), snapshot))
    return found


def _cached(name: str) -> Path:
    found = _snapshot(_hub_cache() / f"models--{name.replace('/', '--')}")
    if found is None:
        raise NotFound(f"{name} is not in the local Hugging Face cache ({_hub_cache()})", f"run: hf download {name}")
    if not (found / "config.json").is_file():  # or a link to a blob that is gone
        raise NotFound(f"{name} is not whole in the local Hugging Face cache ({found})", f"run: hf download {name}")
    return found


def _snapshot(repository: Path) -> Path | None:
    """The one that `main` names, else the newest."""
    snapshots = repository / "snapshots"
    try:
        revision = (repository / "refs" / "main").read_text("utf-8")[:200].strip()
    except (OSError, ValueError):
        revision = ""
    if _NAME.fullmatch(revision) and revision.strip(".") and (snapshots / revision).is_dir():
        return snapshots / revision
    there = [path for path in snapshots.iterdir() if path.is_dir()] if snapshots.is_dir() else []
    return max(there, key=lambda path: path.stat().st_mtime, default=None)


def _hub_cache() -> Path:
    """Where huggingface_hub keeps it: the same variables, in the same order."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if cache := os.environ.get(variable):
            return Path(cache).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface" / "hub"

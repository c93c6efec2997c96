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

PACKAGED = ("tiny",)
"""Models that come with Symphony."""

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


def _cached(name: str) -> Path:
    repository = _hub_cache() / f"models--{name.replace('/', '--')}"
    reference = repository / "refs" / "main"
    snapshots = repository / "snapshots"
    if reference.is_file():
        found = snapshots / reference.read_text("utf-8").strip()
        if found.is_dir():
            return found
    if snapshots.is_dir() and (found := max(snapshots.iterdir(), key=lambda p: p.stat().st_mtime, default=None)):
        return found
    raise NotFound(f"{name} is not in the local Hugging Face cache ({_hub_cache()})", f"run: hf download {name}")


def _hub_cache() -> Path:
    if cache := os.environ.get("HF_HUB_CACHE"):
        return Path(cache).expanduser()
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    return Path(home).expanduser() / "hub"

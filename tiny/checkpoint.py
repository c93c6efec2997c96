"""A training's state on disk: tensors in safetensors files of at most 16 MiB, and a page of JSON that names them.

A checkpoint is written beside the last one and then takes its place, so a training that is killed loses at most the
steps since. It knows nothing of what the tensors are.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

MOST = 15 << 20
"""Bytes of tensors in a file."""


def save(directory: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Raises ValueError for a tensor that fits into no file."""
    fresh = directory.with_name(directory.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    parts: list[dict[str, Tensor]] = [{}]
    room = MOST
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if size > MOST:
            raise ValueError(f"{name} has {size} bytes, a file of a checkpoint at most {MOST}")
        if size > room:
            parts.append({})
            room = MOST
        parts[-1][name] = tensor.detach().cpu().contiguous()
        room -= size
    for number, part in enumerate(parts):
        save_file(part, fresh / f"part-{number:02d}.safetensors")
    (fresh / "facts.json").write_text(json.dumps(dict(facts)))
    old = directory.with_name(directory.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if directory.exists():
        directory.rename(old)
    fresh.rename(directory)
    shutil.rmtree(old, ignore_errors=True)


def load(directory: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The last whole checkpoint, or None if there is none."""
    for each in (directory, directory.with_name(directory.name + ".old")):
        if (each / "facts.json").exists():
            tensors: dict[str, Tensor] = {}
            for part in sorted(each.glob("part-*.safetensors")):
                tensors |= load_file(part)
            return tensors, json.loads((each / "facts.json").read_text())
    return None

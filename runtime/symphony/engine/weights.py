"""Reading weights: safetensors, one file or sharded, checked against the model's description before one is read.

Files are mapped, tensors come one at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from symphony.engine import headers
from symphony.engine.config import ModelConfig
from symphony.engine.problems import Problem, refuse
from symphony.errors import Invalid


class Checkpoint:
    """The tensors of a model directory by name. Not thread-safe."""

    def __init__(self, directory: Path, config: ModelConfig, device: torch.device) -> None:
        """Reads headers only. Raises NotFound, Invalid for files that are not this model's, whole."""
        problems: list[Problem] = []
        self.files, self._tensors = headers.survey(directory, problems)
        if not problems:
            headers.compare(self._tensors, config, problems)
        refuse(problems)
        self._device = str(device)
        self._open: dict[Path, Any] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def get(self, name: str) -> torch.Tensor:
        """One tensor, as stored, on the device. Raises Invalid if its file cannot be read."""
        from safetensors import SafetensorError, safe_open

        path = self._tensors[name].file
        try:
            if path not in self._open:
                self._open[path] = safe_open(str(path), framework="pt", device=self._device)
            return self._open[path].get_tensor(name)
        except (SafetensorError, OSError) as e:
            raise Invalid(f"{path} cannot be read: {e}", "download the model again") from e


def digest(files: Sequence[Path], *facts: object) -> str:
    """sha256 over the files' contents and whatever else identifies a K/V entry, in hexadecimal. Reads all files."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        sums = list(pool.map(_sum, files))
    return hashlib.sha256(repr((sums, facts)).encode()).hexdigest()


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Reading weights: safetensors, one file or sharded, every shape checked before use.

Files are mapped, tensors come one at a time. Pickles are never opened: loading one runs code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from symphony.engine.config import read_json
from symphony.errors import Invalid, NotFound

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"


class Checkpoint:
    """The tensors of a model directory by name. Not thread-safe."""

    def __init__(self, directory: Path, device: torch.device) -> None:
        """Opens headers only. Raises NotFound, Invalid."""
        from safetensors import SafetensorError, safe_open

        self.files = weight_files(directory)
        self._device = device
        self._where: dict[str, Any] = {}
        for path in self.files:
            try:
                opened = safe_open(str(path), framework="pt", device=str(device))
            except (SafetensorError, OSError) as e:
                raise Invalid(f"{path} cannot be read: {e}", "download the model again") from e
            self._where |= dict.fromkeys(opened.keys(), opened)

    def __contains__(self, name: str) -> bool:
        return name in self._where

    def get(self, name: str, shape: Sequence[int]) -> torch.Tensor:
        """One tensor, as stored, on the device. Raises Invalid if it is not there or of another shape."""
        if name not in self._where:
            raise Invalid(f"the weights lack {name}", "the files are incomplete, or of another architecture")
        part = self._where[name].get_slice(name)
        if list(part.get_shape()) != list(shape):
            raise Invalid(
                f"{name} has the shape {list(part.get_shape())}, not {list(shape)}",
                "config.json and the weights do not belong together",
            )
        tensor = self._where[name].get_tensor(name)
        if not tensor.dtype.is_floating_point or tensor.dtype.itemsize < 2:
            raise Invalid(f"{name} is stored as {tensor.dtype}", "float32, bfloat16 and float16 weights are supported")
        return tensor


def weight_files(directory: Path) -> list[Path]:
    """The safetensors files of a model directory, sorted. Raises NotFound, Invalid."""
    index = directory / _INDEX
    if index.is_file():
        names = sorted(set(read_json(index, required=True).get("weight_map", {}).values()))
        if not names or any("/" in n or "\\" in n or n.startswith(".") for n in names):
            raise Invalid(f"{index} names no files, or files elsewhere", "download the model again")
    elif (directory / _SINGLE).is_file():
        names = [_SINGLE]
    elif pickles := sorted(p.name for p in directory.glob("*.bin")) + sorted(p.name for p in directory.glob("*.pt*")):
        raise Invalid(
            f"{directory} has only pickled weights ({pickles[0]}), and loading a pickle runs whatever code it contains",
            "convert them: transformers' save_pretrained writes safetensors",
        )
    else:
        raise NotFound(f"{directory / _SINGLE} does not exist", "download the model again, with its *.safetensors")
    files = [directory / name for name in names]
    for path in files:
        if not path.is_file():
            raise NotFound(f"{path} does not exist, but {index.name} names it", "download the model again")
    return files


def digest(files: Sequence[Path], *facts: object) -> str:
    """sha256 over the files' contents and whatever else identifies a K/V entry, in hexadecimal. Reads all files."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        sums = list(pool.map(_sum, files))
    return hashlib.sha256(repr((sums, facts)).encode()).hexdigest()


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

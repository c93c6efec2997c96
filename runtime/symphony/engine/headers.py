"""The safetensors files of a model directory, by their headers: which tensors there are, and whether they belong.

Nothing is unpickled; a pickle is not even opened. No torch, and no weight is read here. Source: the format as
https://huggingface.co/docs/safetensors describes it (8 bytes of length, a JSON object, then the bytes of all tensors).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from symphony.engine.config import ModelConfig
from symphony.engine.directory import read_json
from symphony.engine.problems import Problem, some
from symphony.errors import Invalid, NotFound

MAX_HEADER_BYTES = 16 << 20
"""The format allows six times as much; 16 MiB describe a hundred thousand tensors."""
MAX_DIMENSIONS = 8
MAX_DTYPE_CHARS = 16
MAX_TENSOR_BYTES = 1 << 50
DTYPES = {"F32": 4, "BF16": 2, "F16": 2}
"""Bytes of an element, for what weights may be stored in."""
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_QUANTISED = ("qweight", "qzeros", "scales", "weight_scale", "weight_scale_inv", "absmax")
_AGAIN = "download the model again"


class Tensor(NamedTuple):
    """One tensor, as its file's header describes it."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    """Of its first byte in the file..."""
    end: int
    """...and after its last one."""


def survey(directory: Path, problems: list[Problem]) -> tuple[list[Path], dict[str, Tensor]]:
    """The weight files that are there, sorted, and all their tensors by name; what is wrong goes to `problems`."""
    places = _places(directory, problems)
    files = sorted({directory / name for name in places.values()}) if places else [directory / SINGLE]
    there = [path for path in files if path.is_file()]
    if missing := [path.name for path in files if path not in there]:
        _report_missing(directory, missing, bool(places), problems)
    found: dict[str, Tensor] = {}
    for path in there:
        try:
            header = read_header(path)
        except Invalid as e:
            problems.append(Problem(e.message, e.hint))
            continue
        if twice := sorted(header.keys() & found.keys()):
            problems.append(Problem(f"{path} repeats what another file has: {some(twice)}", _AGAIN))
        found |= header
        if lost := sorted(name for name, file in places.items() if file == path.name and name not in header):
            problems.append(Problem(f"{path} lacks what {INDEX} says it has: {some(lost)}", _AGAIN))
    return there, found


def compare(found: Mapping[str, Tensor], config: ModelConfig, problems: list[Problem]) -> None:
    """Hold the tensors of the files against those of the model. One too many is as wrong as one too few: it belongs to
    a model that computes something else."""
    shapes = dict(config.tensors())
    known = {"lm_head.weight": shapes["model.embed_tokens.weight"], **shapes}
    if lacking := [name for name in shapes if name not in found]:
        problems.append(
            Problem(f"the weights lack {some(lacking)}", "the files are incomplete, or of another architecture")
        )
    for name, tensor in found.items():
        expected = known.get(name)
        if expected is not None and tensor.shape != expected:
            problems.append(
                Problem(
                    f"{name} has the shape {list(tensor.shape)}, not {list(expected)}",
                    "config.json and the weights do not belong together",
                )
            )
        if expected is not None and tensor.dtype not in DTYPES:
            problems.append(
                Problem(f"{name} is stored as {tensor.dtype}", "float32, bfloat16 and float16 weights are supported")
            )
    if others := [name for name in found if name not in shapes and not config.ignores(name)]:
        problems.append(
            Problem(
                f"the weights have what {config.architecture} does not use: {some(others)}",
                _unexpected(others),
            )
        )


def read_header(path: Path) -> dict[str, Tensor]:
    """The tensors of one file. Raises Invalid for a file that is cut short or not what it says."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
                raise ValueError(f"a header of {length} bytes does not fit into {size}")
            entries: Any = json.loads(file.read(length))
        if not isinstance(entries, dict):
            raise ValueError("the header is not an object")
        notes: Any = entries.pop("__metadata__", {})
        if not isinstance(notes, dict) or not all(isinstance(note, str) for note in notes.values()):
            raise ValueError("its __metadata__ is not made of texts")
        tensors = {name: _tensor(path, name, entry, 8 + length) for name, entry in entries.items()}
        _check_places(tensors, 8 + length, size)
    except (ValueError, RecursionError, OSError) as e:
        raise Invalid(f"{path} cannot be read: {e}", _AGAIN) from e
    return tensors


def _check_places(tensors: Mapping[str, Tensor], start: int, size: int) -> None:
    """One tensor follows the other, up to the end of the file, as the format demands."""
    at = start
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1][3:]):
        if tensor.start != at:
            raise ValueError(
                f"its tensor {name[:100]!r} {'overlaps another one' if tensor.start < at else 'follows a gap'}"
            )
        at = tensor.end
    if at != size:
        raise ValueError(f"it has {size} bytes, and should have {at}: it is {'cut short' if at > size else 'torn'}")


def _tensor(path: Path, name: str, entry: Any, base: int) -> Tensor:
    try:
        dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (TypeError, KeyError, ValueError):
        raise ValueError(f"its entry for {name[:100]!r} is broken") from None
    numbers = (*shape, start, end)
    if (
        not isinstance(dtype, str)
        or len(dtype) > MAX_DTYPE_CHARS
        or len(shape) > MAX_DIMENSIONS
        or not all(type(n) is int and 0 <= n <= MAX_TENSOR_BYTES for n in numbers)
        or start > end
        or (dtype in DTYPES and end - start != math.prod(shape) * DTYPES[dtype])
    ):
        raise ValueError(f"its entry for {name[:100]!r} contradicts itself")
    return Tensor(path, dtype, shape, base + start, base + end)


def _places(directory: Path, problems: list[Problem]) -> dict[str, str]:
    """Tensor name to file name, as the index says; empty without an index."""
    index = directory / INDEX
    if not index.is_file():
        return {}
    try:
        places: Any = read_json(index, required=True).get("weight_map")
    except Invalid as e:
        problems.append(Problem(e.message, e.hint))
        return {}
    if not isinstance(places, dict) or not places or not all(_plain(name) for name in places.values()):
        problems.append(Problem(f"{index} names no files, or files elsewhere", _AGAIN))
        return {}
    return places


def _plain(name: Any) -> bool:
    return isinstance(name, str) and name.endswith(".safetensors") and not any(c in name for c in "/\\\0")


def _report_missing(directory: Path, missing: list[str], sharded: bool, problems: list[Problem]) -> None:
    if sharded:
        what = f"{directory / missing[0]} does not exist, but {INDEX} names it"
        more = f" ({len(missing)} such files: {some(missing)})" if len(missing) > 1 else ""
        problems.append(Problem(what + more, _AGAIN, NotFound))
    elif pickles := sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth") for p in directory.glob(pattern)):
        problems.append(
            Problem(
                f"{directory} has only pickled weights ({pickles[0]}), and loading a pickle runs whatever code it "
                "contains",
                "convert them: transformers' save_pretrained writes safetensors",
            )
        )
    elif not (directory / INDEX).is_file():
        problems.append(
            Problem(
                f"{directory / SINGLE} does not exist", "download the model again, with its *.safetensors", NotFound
            )
        )


def _unexpected(names: list[str]) -> str:
    if any("lora_" in name for name in names):
        return "LoRA is not supported: merge the adapter into its model"
    if any(name.endswith(_QUANTISED) for name in names):
        return "quantised weights are not supported; use the original ones"
    return "config.json and the weights do not belong together"

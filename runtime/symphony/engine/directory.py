"""The JSON files of a model directory: read, bounded. It knows nothing of what they mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from symphony.errors import Invalid, NotFound

MAX_JSON_BYTES = 16 << 20
"""Bytes of a JSON file; the largest, an index of shards, has some hundred thousand."""


def read_config(directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """config.json and generation_config.json. Raises NotFound, Invalid."""
    if (directory / "adapter_config.json").is_file():
        raise Invalid(
            f"{directory} holds a LoRA adapter (adapter_config.json), which is not supported",
            "merge it into its model: peft's merge_and_unload, then save_pretrained",
        )
    if not (directory / "config.json").is_file() and (gguf := sorted(directory.glob("*.gguf"))):
        raise Invalid(
            f"{gguf[0]} is a GGUF file, which is not supported", "give the Hugging Face directory of the same model"
        )
    raw = read_json(directory / "config.json", required=True)
    return raw, read_json(directory / "generation_config.json", required=False)


def read_json(path: Path, *, required: bool) -> dict[str, Any]:
    """A JSON object, or {} for a missing file that is not required. Raises NotFound, Invalid."""
    if not path.is_file():
        if required:
            raise NotFound(f"{path} does not exist", "give a Hugging Face model directory, or 'tiny'")
        return {}
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise Invalid(f"{path} is larger than {MAX_JSON_BYTES >> 20} MiB", "download the model again")
        value = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as e:
        raise Invalid(f"{path} is not JSON: {e}", "download the model again") from e
    except OSError as e:
        raise Invalid(f"{path} cannot be read: {e}", "check its permissions") from e
    if not isinstance(value, dict):
        raise Invalid(f"{path} is not a JSON object", "download the model again")
    return value

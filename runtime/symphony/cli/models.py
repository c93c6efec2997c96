"""`symphony models`: what can be loaded here, and what a directory holds. Reads headers, never weights; no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from symphony.cli.terminal import pairs, table
from symphony.errors import Invalid, NotFound


@click.group()
def models() -> None:
    """List and inspect models."""


@models.command()
@click.option("--url", help="List what this server has loaded instead.")
def ls(url: str | None) -> None:
    """List the models that come with Symphony, or those that a server has loaded.

    --model also takes a directory, or ORG/NAME of a model in the local Hugging Face cache.
    """
    if url is not None:
        from symphony.cli.remote import Remote

        rows = [
            (info["id"], info["context_limit"], f"{info['pages']} x {info['page_size']}", info["device"])
            for info in Remote(url).call("GET", "/v1/models")["data"]
        ]
        click.echo(table(("NAME", "CONTEXT", "KV PAGES", "DEVICE"), rows))
        return
    from symphony.engine import registry

    rows = [(name, str(registry.find(name))) for name in registry.PACKAGED]
    click.echo(table(("NAME", "DIRECTORY"), rows))


@models.command()
@click.argument("model")
def inspect(model: str) -> None:
    """Show shapes and sizes of MODEL (a name or a directory), and whether this engine can run it."""
    from symphony.engine import registry
    from symphony.engine.config import ModelConfig

    directory = registry.find(model)
    config = ModelConfig.load(directory)
    parameters, size = _weights(directory)
    kv_values = 2 * config.layers * config.kv_heads * config.head_dim
    shown = {
        "directory": directory,
        "architecture": config.architecture,
        "parameters": f"{parameters / 1e6:,.1f} M, {size / 1e6:,.1f} MB of {config.dtype}",
        "layers": f"{config.layers}, hidden {config.hidden_size}, "
        f"{config.heads} heads of {config.head_dim}, {config.kv_heads} for KV",
        "vocabulary": f"{config.vocab_size:,} tokens",
        "context": f"{config.context_limit:,} tokens",
        "KV": f"{kv_values * 2:,} bytes a token in bf16, {kv_values * 4:,} in fp32",
        "tokenizer": _found(directory / "tokenizer.json"),
        "chat template": _chat_template(directory),
    }
    click.echo(pairs(shown))


def _weights(directory: Path) -> tuple[int, int]:
    """Parameters and bytes of all tensors, from the headers of the safetensors files."""
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise NotFound(f"{directory} has no *.safetensors file", "only safetensors weights are loaded; download them")
    tensors = [tensor for file in files for tensor in _tensors(file)]
    parameters = sum(math.prod(tensor["shape"]) for tensor in tensors)
    return parameters, sum(tensor["data_offsets"][1] - tensor["data_offsets"][0] for tensor in tensors)


def _tensors(file: Path) -> Iterator[dict[str, Any]]:
    """The entries of one header: 8 bytes of length, then JSON (https://huggingface.co/docs/safetensors)."""
    try:
        with file.open("rb") as content:
            length = int.from_bytes(content.read(8), "little")
            header = json.loads(content.read(min(length, file.stat().st_size)))
        yield from (entry for name, entry in header.items() if name != "__metadata__")
    except (ValueError, AttributeError):
        raise Invalid(f"{file} is not a safetensors file: its header is broken", "download it again") from None


def _found(file: Path) -> str:
    return "found" if file.is_file() else f"missing: {file.name}"


def _chat_template(directory: Path) -> str:
    if (directory / "chat_template.jinja").is_file():
        return "found"
    settings = directory / "tokenizer_config.json"
    inside = settings.is_file() and "chat_template" in json.loads(settings.read_text(encoding="utf-8"))
    return "found" if inside else "none (programs feed raw text)"

"""`symphony models`: what can be loaded here, and what a directory holds. Reads headers, never weights; no torch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from symphony.cli.terminal import pairs, table

if TYPE_CHECKING:
    from symphony.engine.messages import Sampling


@click.group()
def models() -> None:
    """List and inspect models."""


@models.command()
@click.option("--url", help="List what this server has loaded instead.")
def ls(url: str | None) -> None:
    """List what --model takes: the models that come with Symphony, and those in the local Hugging Face cache.

    With --url, those that a server has loaded. --model also takes a directory.
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
    rows += [(name, str(directory)) for name, directory in registry.cached()]
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
        "context": f"{config.context_limit:,} tokens" + (f", window {config.window:,}" if config.window else ""),
        "stop tokens": ", ".join(map(str, config.stop_tokens)) or "none",
        "sampling": _sampling(config.sampling),
        "KV": f"{kv_values * 2:,} bytes a token in bf16, {kv_values * 4:,} in fp32",
        "tokenizer": _found(directory / "tokenizer.json"),
        "chat template": _chat_template(directory),
    }
    click.echo(pairs(shown))


@models.command()
@click.argument("model")
def verify(model: str) -> None:
    """Say everything that is wrong with MODEL (a name or a directory), with the fix.

    Reads headers and a sample of the weights; nothing in the directory is executed. Exit status 1 if it cannot be
    loaded.
    """
    from symphony.engine import registry
    from symphony.engine.verify import verify as look

    directory = registry.find(model)
    verdict = look(directory)
    for problem in verdict.problems:
        label = "warning" if problem.error is None else "error"
        click.echo(f"{label}: {problem.what}\n  fix: {problem.fix}")
    state = "can be loaded" if verdict.loads else "cannot be loaded"
    click.echo(f"{directory} {state} ({verdict.tensors} tensors in {verdict.files} files)")
    if not verdict.loads:
        raise SystemExit(1)


def _weights(directory: Path) -> tuple[int, int]:
    """Parameters and bytes of all tensors, from the headers of the safetensors files."""
    from symphony.engine import headers
    from symphony.engine.problems import Problem, refuse

    problems: list[Problem] = []
    _, tensors = headers.survey(directory, problems)
    refuse(problems)
    return sum(math.prod(t.shape) for t in tensors.values()), sum(t.end - t.start for t in tensors.values())


def _sampling(sampling: Sampling | None) -> str:
    """Only what differs from drawing from the whole distribution."""
    if sampling is None:
        return "greedy (generation_config.json suggests nothing else)"
    named = {"top_k": sampling.top_k, "top_p": sampling.top_p, "min_p": sampling.min_p}
    plain = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
    more = "".join(f", {name} {value:g}" for name, value in named.items() if value != plain[name])
    return f"temperature {sampling.temperature:g}{more}"


def _found(file: Path) -> str:
    return "found" if file.is_file() else f"missing: {file.name}"


def _chat_template(directory: Path) -> str:
    if (directory / "chat_template.jinja").is_file():
        return "found"
    settings = directory / "tokenizer_config.json"
    inside = settings.is_file() and "chat_template" in json.loads(settings.read_text(encoding="utf-8"))
    return "found" if inside else "none (programs feed raw text)"

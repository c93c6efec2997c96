"""`symphony doctor`: what this machine has, one line a fact, a problem with its fix. Changes nothing.

Each check returns what it found or raises a SymphonyError whose hint is the fix, so that it says the same as the
runtime would say.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from symphony.errors import Invalid, SymphonyError, Unavailable

NVIDIA = Path("/dev/nvidia0")
LEAST_MEMORY = 1 << 30
"""Bytes below which the shipped model and a few Python programs do not fit."""


@click.command()
@click.option("--model", default="tiny", show_default=True, metavar="NAME|DIR", help="The model to try.")
@click.option("--device", metavar="cpu|cuda[:N]", help="Where to try it (default: CUDA if there is one).")
@click.option("--config", metavar="FILE", envvar="SYMPHONY_CONFIG", help="A server's configuration file, to check.")
@click.pass_context
def doctor(ctx: click.Context, model: str, device: str | None, config: str | None) -> None:
    """Check this machine: each line is ok, or a problem with its fix. Exit status 1 if there is a problem."""
    checks: dict[str, Callable[[], str]] = {
        "python": check_python,
        "wasmtime": check_wasmtime,
        "machine": check_machine,
        "memory": check_memory,
        "torch": check_torch,
        "build": check_build,
        "directories": check_directories,
        "model": lambda: check_model(model),
        "program": lambda: check_program(model, device),
    }
    if config is not None:
        checks = {"config": lambda: check_config(Path(config)), **checks}
    problems = sum(not report(name, check) for name, check in checks.items())
    click.echo(f"{problems} problem{'s' * (problems != 1)}" if problems else "all is well")
    ctx.exit(1 if problems else 0)


def report(name: str, check: Callable[[], str]) -> bool:
    """Run one check and print its line; returns whether all is well."""
    try:
        found = check()
    except SymphonyError as error:
        found, fix = error.message, error.hint
    except Exception as cause:  # a broken installation fails in ways of its own; the other checks still matter
        found, fix = f"{type(cause).__name__}: {cause}", "reinstall: pip install --force-reinstall symphony-lip"
    else:
        click.echo(f"{click.style('ok     ', fg='green')} {name:<12} {found}")
        return True
    click.echo(f"{click.style('problem', fg='red', bold=True)} {name:<12} {found}")
    if fix:
        click.echo(f"{'':<21}fix: {fix}")
    return False


def check_config(file: Path) -> str:
    """As `serve` reads it, the environment included."""
    from symphony.access.keys import KeyFile
    from symphony.cli.keys import keys_path
    from symphony.settings.reader import read
    from symphony.settings.sections import Settings

    settings = read(Settings, file)
    keys = len(KeyFile(keys_path(settings.server.home)))
    return f"{file}, with {keys} keys in its home, {len(settings.tenants)} tenants of their own"


def check_python() -> str:
    if sys.maxsize < 1 << 32:
        raise Unavailable("this Python is a 32-bit program", "install a 64-bit Python: guests need its address space")
    return f"{platform.python_version()} on {platform.system()} {platform.machine()}"


def check_wasmtime() -> str:
    from symphony.sandbox import abi
    from symphony.sandbox.config import check_version

    check_version()
    return f"{abi.WASMTIME_VERSION}, the version that the sandbox is checked against"


def check_machine() -> str:
    """Memory mappings and address space for as many instances as are configured."""
    from symphony.sandbox import config

    limits, machine = config.SandboxConfig(), config.this_machine()
    config.check_machine(limits, machine)
    return f"vm.max_map_count {machine.max_maps}: room for {limits.max_instances} processes, {os.cpu_count()} CPUs"


def check_memory() -> str:
    info = Path("/proc/meminfo")
    if not info.exists():
        return "unknown on this system"
    fields = dict(line.split(":", 1) for line in info.read_text().splitlines())
    free = int(fields["MemAvailable"].split()[0]) << 10
    if free < LEAST_MEMORY:
        raise Unavailable(
            f"only {free >> 20} MiB of memory are available", "end other programs, or use a larger machine"
        )
    return f"{free / (1 << 30):.1f} GiB available"


def check_torch() -> str:
    """Its version only: who imports it is the engine. Whether it sees the GPU shows when a program runs."""
    gpu = "an NVIDIA GPU is here" if NVIDIA.exists() else "no NVIDIA GPU is here"
    return f"{importlib.metadata.version('torch')}, {gpu}"


def check_build() -> str:
    from symphony.program.toolchain import version

    return f"componentize-py {version()}"


def check_directories() -> str:
    from symphony.host import cache_directory, data_directory

    programs, compiled = data_directory(), cache_directory()
    for path in (programs, compiled):
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as cause:
            fix = "make it writable, or set SYMPHONY_HOME and XDG_CACHE_HOME to directories that are"
            raise Invalid(f"cannot write to {path}: {cause.strerror}", fix) from None
    return f"programs in {programs}, compiled code in {compiled}"


def check_model(model: str) -> str:
    from symphony.engine import registry
    from symphony.engine.config import ModelConfig

    directory = registry.find(model)
    config = ModelConfig.load(directory)
    return f"{config.architecture}, {config.layers} layers, in {directory}"


def check_program(model: str, device: str | None) -> str:
    """Boot a whole host beside any other, and run the completion sample for one token."""
    from symphony.cli.target import sample_path
    from symphony.host import Runtime

    sample = sample_path("completion")
    if sample is None:
        raise Unavailable("the samples are not installed", "reinstall: pip install --force-reinstall symphony-lip")

    async def one_token() -> str:
        with tempfile.TemporaryDirectory(prefix="symphony-doctor-") as home:
            async with Runtime(model, device=device, home=Path(home)) as runtime:
                await runtime.run(sample, max_tokens=1)
                return runtime.model_infos()[0].device

    started = time.monotonic()
    used = asyncio.run(one_token())
    if used == "cpu" and device is None and NVIDIA.exists():
        raise Unavailable("there is a GPU, but torch does not see it", "install torch for CUDA; try nvidia-smi")
    return f"{model} on {used} and a sandboxed program: {time.monotonic() - started:.1f} s from boot to result"

"""Rust crates: built by `tools/build_rust.py`, which finds a toolchain that can do it. Knows no Rust."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from symphony.errors import InvalidProgram
from symphony.resources import resource


def is_crate(source: Path) -> bool:
    """Whether it is the folder of a Rust crate."""
    return (source / "Cargo.toml").is_file()


def build_crate(crate: Path, out: Path) -> None:
    """Build the component of a crate into `out`. Blocks; cargo's messages go where this process' do.

    Raises `InvalidProgram` if cargo fails, or no toolchain here can do it (then it is said how to get one).
    """
    environment = {**os.environ}
    environment.setdefault("CARGO_TARGET_DIR", str(crate.resolve() / "target"))
    tool = resource("tools", "tools") / "build_rust.py"
    command = [sys.executable, str(tool), str(crate.resolve()), "--output", str(out.resolve())]
    if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False).returncode:
        raise InvalidProgram(f"the crate {crate} was not built; why is said above")

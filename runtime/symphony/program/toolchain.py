"""componentize-py, isolated: a Python module and a WIT world in, a component out.

componentize-py puts the active environment's site-packages into every component without a word, so it runs in an empty
one: isolated interpreter, no PATH, an empty virtual environment, and only the folders that are named. It knows no
stores or limits.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from symphony.errors import InternalError, InvalidProgram, LimitExceeded, Unavailable
from symphony.param import BUILD_SECONDS
from symphony.resources import resource

WORLD = "lip"
WORLD_MODULE = "lip_world"
_RUN = "import sys; sys.path.append(sys.argv.pop(1)); from componentize_py import script; sys.exit(script())"


@dataclass(frozen=True, slots=True)
class Kit:
    """The folders that a build needs: `wit` (the ABI) and `sdk` (holds the package `lip`)."""

    wit: Path
    sdk: Path

    def files(self) -> list[Path]:
        """Every file that decides what a build yields, in a fixed order: of the SDK, all but its test kit."""
        modules = (path for path in (self.sdk / "lip").rglob("*.py") if path.parent.name != "testing")
        return sorted(self.wit.rglob("*.wit")) + sorted(modules)


def find_kit() -> Kit:
    """The kit of this installation. Raises `InternalError` if the installation is incomplete."""
    kit = Kit(resource("wit", "wit"), resource("sdk", "guest_sdk/python"))
    if not (kit.wit / "world.wit").is_file() or not (kit.sdk / "lip/__init__.py").is_file():
        raise InternalError(
            f"the WIT files are not in {kit.wit}, or the Python SDK is not in {kit.sdk}", "reinstall symphony-lip"
        )
    return kit


def version() -> str:
    """The version of componentize-py. Raises `Unavailable` if it is not installed."""
    try:
        return importlib.metadata.version("componentize-py")
    except importlib.metadata.PackageNotFoundError:
        raise Unavailable(
            "building Python components needs componentize-py, which is not installed",
            "pip install componentize-py",
        ) from None


def componentize(kit: Kit, module: str, paths: Sequence[Path], out: Path, *, seconds: float = BUILD_SECONDS) -> None:
    """Build the component of `module`, found on `paths` or in the SDK, into `out`. Blocks for about 20 seconds.

    Raises `BuildFailed` with what the build printed (the module's own traceback, if it raised), `LimitExceeded` after
    `seconds`.
    """
    version()
    spec = importlib.util.find_spec("componentize_py")
    assert spec is not None
    assert spec.origin is not None
    home = Path(spec.origin).resolve().parent.parent
    with tempfile.TemporaryDirectory(prefix="symphony-build-") as empty:
        (Path(empty) / "lib/site-packages").mkdir(parents=True)
        command = [sys.executable, "-I", "-S", "-c", _RUN, str(home), "--quiet"]
        command += ["--wit-path", str(kit.wit), "--world", WORLD, "--world-module", WORLD_MODULE, "componentize"]
        for path in (*paths, kit.sdk):
            command += ["--python-path", str(path)]
        command += ["--output", str(out), module]
        environment = {
            "VIRTUAL_ENV": empty,
            "PATH": "",
            "TMPDIR": tempfile.gettempdir(),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        try:
            done = subprocess.run(
                command, env=environment, cwd=empty, capture_output=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            raise LimitExceeded(
                f"building the component took longer than {seconds:.0f} s",
                "a program's top-level code runs during the build: keep it short",
            ) from None
    if done.returncode != 0 or not out.is_file():
        raise BuildFailed((done.stdout + done.stderr).decode(errors="replace").strip())


class BuildFailed(InvalidProgram):
    """componentize-py gave up; the message is what it printed."""


def replace(made: Path, target: Path) -> None:
    """Move a finished file into place, atomically and durably."""
    with made.open("rb") as file:
        os.fsync(file.fileno())
    made.replace(target)

"""The wheel: built, installed into an empty environment, and used from another directory, as somebody without the
checkout would. Dependencies are this environment's; nothing is downloaded."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from symphony.program.toolchain import find_kit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """from lip import Context, main


@main
async def app(prompt: str = "Hello") -> dict:
    async with Context() as ctx:
        ctx.user(prompt)
        return {"tokens": len((await ctx.generate(max_tokens=3)).tokens)}
"""


class Installed(NamedTuple):
    """An environment with the wheel, and a directory of its user's."""

    wheel: Path
    python: Path
    directory: Path

    def symphony(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.call(self.python.with_name("symphony"), *words)

    def call(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.defpath,
            "HOME": str(self.directory),
            "XDG_CACHE_HOME": str(self.directory / "cache"),
            "SYMPHONY_HOME": str(self.directory / "home"),
            "OMP_NUM_THREADS": "2",
        }
        return subprocess.run(
            words, cwd=self.directory, env=environment, capture_output=True, text=True, check=False, timeout=400
        )


def python(*words: str | Path) -> None:
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    python("-m", "hatchling", "build", "--target", "wheel", "--directory", folder / "dist")
    [wheel] = (folder / "dist").iterdir()
    python("-m", "venv", "--without-pip", folder / "venv")
    inside = folder / "venv" / "bin" / "python"
    python("-m", "pip", "--quiet", "--python", inside, "install", "--no-deps", "--no-index", wheel)
    [packages] = (folder / "venv").glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    directory = folder / "elsewhere"
    directory.mkdir()
    (directory / "x.py").write_text(PROGRAM)
    (directory / "cache").mkdir()
    # The interpreter is found in the tests' cache by a hash of what it is made from, or else is built into it.
    (directory / "cache" / "symphony").symlink_to(ROOT / "build" / "test-programs")
    return Installed(wheel, inside, directory)


def test_it_holds_what_is_needed_and_no_more(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        names = archive.namelist()
    kit = find_kit()
    wanted = [f"symphony/_data/wit/{file.relative_to(kit.wit)}" for file in kit.wit.rglob("*.wit")]
    wanted += [f"symphony/_data/sdk/{file.relative_to(kit.sdk)}" for file in (kit.sdk / "lip").rglob("*.py")]
    wanted += [f"symphony/_data/samples/{file.relative_to(ROOT / 'samples')}" for file in ROOT.glob("samples/*/*.py")]
    wanted += [f"symphony/models/tiny/{file.name}" for file in (ROOT / "runtime/symphony/models/tiny").iterdir()]
    assert [name for name in wanted if name not in names] == []
    tops = {name.split("/")[0] for name in names}
    information = next(top for top in tops if top.endswith(".dist-info"))
    assert tops == {"symphony", "symphony_kernels", "symphony-lip.pth", information}
    assert [name for name in names if "__pycache__" in name or "/target/" in name] == []


def test_it_comes_from_the_wheel(installed: Installed) -> None:
    code = "import symphony.host, symphony_kernels; print(symphony.host.__file__, symphony_kernels.__file__, sep='\\n')"
    done = installed.call(installed.python, "-c", code)
    assert [line.startswith(str(installed.python.parents[1])) for line in done.stdout.splitlines()] == [True, True]


def test_the_sdk_is_on_the_path_and_a_new_program_is_tested(installed: Installed) -> None:
    done = installed.symphony("new", "my-agent")
    assert done.returncode == 0, done.stderr
    code = "import pytest; raise SystemExit(pytest.main(['-q', '-p', 'no:cacheprovider', 'my-agent']))"
    done = installed.call(installed.python, "-c", code)
    assert (done.returncode, "4 passed" in done.stdout) == (0, True), done.stdout
    done = installed.symphony("new", "my-crate", "--lang", "rust")
    [line] = [line for line in (installed.directory / "my-crate/Cargo.toml").read_text().splitlines() if "path" in line]
    crate = Path(line.split('"')[1])
    assert (crate / "Cargo.toml").is_file()
    assert (crate / "macros/src/lib.rs").is_file()
    assert (crate / "../../wit/world.wit").is_file(), "the crate reads the ABI from there"


def test_run(installed: Installed) -> None:
    done = installed.symphony("run", "completion", "max_tokens=4")
    assert done.returncode == 0, done.stderr
    assert " 4 generated" in done.stderr.splitlines()[-1]
    done = installed.symphony("run", "x.py", "prompt=Hi")
    assert (done.returncode, done.stdout.strip()) == (0, '{"tokens": 3}'), done.stderr


def test_build(installed: Installed) -> None:
    done = installed.symphony("build", "x.py", "-o", "made.wasm")
    assert done.returncode == 0, done.stderr
    assert (installed.directory / "made.wasm").read_bytes()[:4] == b"\0asm"
    failed = installed.symphony("build", "absent.py")
    assert (failed.returncode, "Traceback" in failed.stderr) == (2, False)


def test_doctor(installed: Installed) -> None:
    done = installed.symphony("doctor")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "all is well"

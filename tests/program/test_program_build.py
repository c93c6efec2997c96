"""`symphony build`: the component does what the `.py` does, and what cannot be built says why."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from program_guests import run

from symphony.errors import Invalid, InvalidProgram, NotFound
from symphony.program.build import build, main_file
from symphony.program.programs import Programs
from symphony.program.toolchain import find_kit
from symphony.sandbox import Sandbox

APP = """
import random
from lip import main
import helper

TOP = random.random()

@main
async def app(x: int = 1) -> object:
    import colorsys, wave
    return [helper.double(x), TOP, random.random()]
"""
HELPER = "def double(x):\n    return 4 // (2 - x) * x\n"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_folder_becomes_a_component(sandbox: Sandbox, cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    (folder / "helper.py").write_text(HELPER)
    build(folder, tmp_path / "agent.wasm")
    programs = Programs(sandbox, tmp_path / "home", cache)

    async def main() -> None:
        program = await programs.load(tmp_path / "agent.wasm")
        first, second = await run(sandbox, program), await run(sandbox, program)
        assert first[0] == 4
        assert first[1] == second[1], "top-level code ran once, in the build"
        assert first[2] != second[2]
        with pytest.raises(AssertionError) as caught:
            await run(sandbox, program, x=2)
        text = str(caught.value)
        assert '  File "app.py", line 11, in app\n    return [helper.double(x)' in text
        assert '  File "helper.py", line 2, in double\n    return 4 // (2 - x) * x\n' in text
        assert text.endswith("\nZeroDivisionError: division by zero")
        with pytest.raises(AssertionError, match="argument 'x' must be a whole number"):
            await run(sandbox, program, x="2")

    asyncio.run(main())


PEEKS = """
try:
    import pytest
except ModuleNotFoundError:
    import lip
    lip.encode('x')
"""
"""componentize-py bundles the active site-packages unless it is kept from it: pytest must not be found."""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_cannot_be_built_says_why(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(PEEKS)
    (tmp_path / "out.wasm").write_bytes(b"the old one")
    message = r"(?s)broken.py cannot be built:\n.*line 6, in <module>\n    lip.encode\(.x.\)\n.*runs during the build"
    with pytest.raises(InvalidProgram, match=message):
        build(tmp_path / "broken.py", tmp_path / "out.wasm")
    assert (tmp_path / "out.wasm").read_bytes() == b"the old one"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken.py", "out.wasm"]


def test_native_packages_are_refused(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import fast\n")
    (tmp_path / "fast").mkdir()
    (tmp_path / "fast/_c.cpython-314.so").touch()
    with pytest.raises(InvalidProgram, match=r"native code, which Wasm cannot load: fast/_c\.cpython-314\.so"):
        build(tmp_path, tmp_path / "out.wasm")


def test_the_main_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no file or folder"):
        main_file(tmp_path / "none")
    with pytest.raises(Invalid, match=r"neither app\.py nor main\.py"):
        main_file(tmp_path)
    (tmp_path / "agent.py").touch()
    assert main_file(tmp_path).name == "agent.py"
    (tmp_path / "main.py").touch()
    assert main_file(tmp_path).name == "main.py"
    (tmp_path / "app.py").touch()
    assert main_file(tmp_path).name == "app.py"
    (tmp_path / "app.py").write_text("x = 1")
    with pytest.raises(Invalid, match="there is no folder"):
        build(tmp_path, tmp_path / "no/out.wasm")


def test_the_kit_is_found_here() -> None:
    kit = find_kit()
    names = {file.name for file in kit.files()}
    assert {"world.wit", "poll.wit", "__init__.py", "_interpreter.py"} <= names

"""Programs of every released version run on this host, as they did (semantics 23)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from evolution_fixtures import FOLDER, ROOT, VERSIONS, answers, cases, host, imports, rebuilt

from symphony.syscall.signatures import SIGNATURES
from tools.witgen import former
from tools.witgen.library import load

ARCHIVED = {version: former.plain(library) for version, library in former.archived(ROOT / "wit").items()}
OURS = {name: signature for name, signature in SIGNATURES.items() if name.startswith("symphony:")}


def test_every_released_version_has_its_programs() -> None:
    assert list(ARCHIVED) == VERSIONS
    assert "0.1.0" in VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_programs_of_a_version_answer_what_they_did(version: str, tmp_path: Path) -> None:
    asked = cases(version)
    found = answers(FOLDER / version, asked, tmp_path)
    for case, answer in zip(asked, found, strict=True):
        assert answer == case.answer, (case.program, case.args)


@pytest.mark.parametrize("version", VERSIONS)
def test_they_are_of_that_version_and_use_nearly_all_of_it(version: str, tmp_path: Path) -> None:
    async def main() -> dict[str, object]:
        async with host(tmp_path) as runtime:
            programs = sorted((FOLDER / version).glob("*.wasm"))
            return {name: s for program in programs for name, s in (await imports(runtime, program)).items()}

    declared = asyncio.run(main())
    assert {name: ARCHIVED[version][name] for name in declared} == declared
    assert len(declared) > 0.9 * sum(name.startswith("symphony:") for name in ARCHIVED[version])


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_python_programs_of_a_version(version: str, tmp_path: Path) -> None:
    """A compiled one imports all of its version. While those types are among today's, the interpreter stands for it."""
    ours = {name: signature for name, signature in ARCHIVED[version].items() if name.startswith("symphony:")}

    async def main(program: Path) -> tuple[dict[str, object], object]:
        async with host(tmp_path / "home") as runtime:
            return dict(await imports(runtime, program)), await runtime.run(program, max_tokens=8)

    program = ROOT / "samples/completion/completion.py"
    if not ours.items() <= OURS.items():
        rebuilt(version, program, tmp_path / "completion.wasm")
        program = tmp_path / "completion.wasm"
    declared, answer = asyncio.run(main(program))
    assert {name: declared[name] for name in ours} == ours
    assert isinstance(answer, str)


def test_nothing_that_was_released_is_broken() -> None:
    for version, signatures in ARCHIVED.items():
        assert list(former.broken(signatures, SIGNATURES)) == [], f"programs of {version}"


def test_a_released_version_does_not_change() -> None:
    """Whoever changes a type gives `wit/` a new version, and archives it when it is released."""
    today = load(ROOT / "wit")
    version = today.versions["symphony:lip"]
    if version in ARCHIVED:
        assert former.plain(today) == ARCHIVED[version], f"{version} is released: give wit/ another version"

"""Writes docs/sdk.md: what the SDKs offer, in Python and in Rust, and the scenario that shows it.

    python -m tools.sdktable [--check]

Every row names a scenario of `tests/sdk`, which does the same in a Python source, in the component made of it, and in
Rust. The tests there run it in each, and hold what comes out against `tests/sdk/results.json`, from which the cells of
the table come. This module checks that nothing is left out: every public function and method of either SDK is in a
row, the scenario of the row calls it, in both languages, and no cell is empty.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.sdkrows import SECTIONS, Row

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "sdk.md"
PYTHON = ROOT / "guest_sdk" / "python"
RUST = ROOT / "guest_sdk" / "rust" / "src"
SCENARIOS = ROOT / "tests" / "sdk"

RESULTS = SCENARIOS / "results.json"
KINDS = ("source", "compiled", "rust")

_HEAD = """# The SDKs side by side

What a program can do, in Python and in Rust. Every row is run by the tests, in a Python source, in the component that
`symphony build` makes of it, and in a Rust component: its scenario does the same in all three and got the same result,
where the cell says yes. Written by `tools/sdktable.py` from what the tests recorded; it also sees to it that no public
function of either SDK is missing, that scenarios call what they stand for, and that no cell is empty. The scenarios:
[Python](../tests/sdk/scenarios.py), [Rust](../tests/sdk/rust/src/lib.rs)."""

INTERNAL = {"Context.handle", "Context.lend", "Context.take", "Context.taken", "fs.mode_of", "fs.stat_of", "fs.synced"}
"""Public for the other modules of the package, not for programs."""


# ---- what there is -----------------------------------------------------------------------------------------------


def python_names() -> set[str]:
    """Public functions, methods and properties of `lip`."""
    sys.path.insert(0, str(PYTHON))
    lip = importlib.import_module("lip")
    found: set[str] = set()
    for name in lip.__all__:
        thing = getattr(lip, name)
        if inspect.isclass(thing):
            found |= {f"{name}.{member}" for member, value in vars(thing).items() if _is_public(member, value)}
        elif inspect.ismodule(thing):
            found |= {f"{name}.{m}" for m, value in vars(thing).items() if _is_own(thing, m, value)}
        else:
            found.add(name)
    return found - INTERNAL


def _is_public(name: str, value: Any) -> bool:
    return not name.startswith("_") and (inspect.isroutine(value) or isinstance(value, property | classmethod))


def _is_own(module: Any, name: str, value: Any) -> bool:
    return not name.startswith("_") and inspect.isfunction(value) and value.__module__ == module.__name__


def rust_names() -> set[str]:
    """Exported functions and methods of the crate, as `lib.rs` exports them."""
    lib = (RUST / "lib.rs").read_text(encoding="utf-8")
    exported: set[str] = set()
    for module, names in re.findall(r"^pub use (\w+)::\{?([\w, :]+)\}?;", lib, re.MULTILINE):
        if (RUST / f"{module}.rs").is_file():
            exported |= {name.strip() for name in names.split(",")}
    found: set[str] = set()
    for path in sorted(RUST.glob("*.rs")):
        free, methods = _functions(path.read_text(encoding="utf-8"))
        if f"pub mod {path.stem};" in lib.replace("#[doc(hidden)]\npub mod", "mod"):
            found |= {f"{path.stem}::{name}" for name in free}
        found |= {name for name in free if name in exported}
        found |= {f"{of}::{name}" for of, name in methods if of in exported}
    return found - {"Error::new"}


def _functions(source: str) -> tuple[set[str], set[tuple[str, str]]]:
    """Public functions, and public methods with their types."""
    free: set[str] = set()
    methods: set[tuple[str, str]] = set()
    of = ""
    for line in source.splitlines():
        if begun := re.match(r"impl(?:<[^>]*>)? (\w+)(?:<[^>]*>)? \{", line):
            of = begun[1]
        elif line == "}":
            of = ""
        elif named := re.match(r"( {4})?pub (?:async )?fn (\w+)", line):
            if named[1] and of:
                methods.add((of, named[2]))
            elif not named[1]:
                free.add(named[2])
    return free, methods


# ---- what is shown -----------------------------------------------------------------------------------------------


def rows() -> Iterator[Row]:
    for section in SECTIONS.values():
        yield from section


def problems() -> list[str]:
    """What the table lacks, or says without showing it. Empty if all is well."""
    shown = {"python": set[str](), "rust": set[str]()}
    found: list[str] = []
    scenarios = {"python": _python_scenarios(), "rust": _rust_scenarios()}
    for row in rows():
        for language in ("python", "rust"):
            names = getattr(row, language).split()
            shown[language] |= set(names)
            body = scenarios[language].get(row.scenario)
            if body is None:
                found.append(f"{row.what}: there is no {language} scenario {row.scenario}")
                continue
            found += [
                f"{row.what}: the {language} scenario {row.scenario} does not use {name}"
                for name in names
                if re.split(r"\.|::", name)[-1] not in body
            ]
    for language, there in (("python", python_names()), ("rust", rust_names())):
        found += [f"no row for {language}: {name}" for name in sorted(there - shown[language])]
    outcomes = results()
    found += [f"{row.what}: {row.scenario} is not shown" for row in rows() if "" in _cells(outcomes, row.scenario)]
    used = {row.scenario for row in rows()}
    found += [f"no row for scenario {name}" for name in sorted(set(scenarios["python"]) - used)]
    return found


def _python_scenarios() -> dict[str, set[str]]:
    """The identifiers in each; what surrounds them all belongs to the first one."""
    tree = ast.parse((SCENARIOS / "scenarios.py").read_text(encoding="utf-8"))
    found: dict[str, set[str]] = {}
    common: set[str] = set()
    for node in tree.body:
        words = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
        words |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("case_"):
            found[node.name.removeprefix("case_")] = words
        else:
            common |= words
    return {name: words | common for name, words in found.items()}


def _rust_scenarios() -> dict[str, set[str]]:
    source = (SCENARIOS / "rust" / "src" / "lib.rs").read_text(encoding="utf-8")
    helpers, *parts = re.split(r"^async fn case_", source, flags=re.MULTILINE)
    common = set(re.findall(r"\w+", helpers.split("match args.case")[0]))
    common |= set(re.findall(r"\w+", helpers.split("fn code<T>")[1]))
    return {part.split("(")[0]: set(re.findall(r"\w+", re.sub(r'"[^"]*"', "", part))) | common for part in parts}


def results() -> dict[str, dict[str, Any]]:
    """What each scenario gave, in each kind of program, when the tests last recorded it."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}


def _cells(outcomes: dict[str, dict[str, Any]], scenario: str) -> list[str]:
    """`yes` for each kind of program that ran the scenario and got what the Python source got."""
    found = outcomes.get(scenario, {})
    return ["yes" if kind in found and found[kind] == found.get("source") else "" for kind in KINDS]


# ---- the page ----------------------------------------------------------------------------------------------------


def page() -> str:
    outcomes = results()
    lines = [_HEAD]
    for title, section in SECTIONS.items():
        lines += ["", f"## {title}", "", "| | in Python | in Rust | source | compiled | Rust | scenario |"]
        lines += ["|---|---|---|---|---|---|---|"]
        for row in section:
            python = " ".join(f"`{name}`" for name in row.python.split())
            rust = " ".join(f"`{name}`" for name in row.rust.split())
            cells = " | ".join(_cells(outcomes, row.scenario))
            lines.append(f"| {row.what} | {python} | {rust} | {cells} | {row.scenario} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    found = problems()
    for problem in found:
        print(problem, file=sys.stderr)
    if found:
        return 1
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page():
        print(f"{PAGE.relative_to(ROOT)} is stale: run `make gen`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tools.archive`: the ABI of this checkout is released (semantics 23, docs/adr/0002-abi-evolution.md).

Copies `wit/` to `wit/archive/VERSION/`, and into `tests/evolution/VERSION/` the Python SDK, programs built from Rust,
and what they answer now: every later host must run them. VERSION is the one that `wit/` says. What is archived already
may be archived again as long as no type differs. Needs a Rust toolchain (`tools/build_rust.py`).
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
import tarfile
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from tests.evolution.evolution_fixtures import Case, answers
from tools.build_rust import build
from tools.witgen import former
from tools.witgen.library import load

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = {"probe.wasm": "tests/guest_rust/probe", "completion.wasm": "samples/completion/rust"}
CASES = "text kv names shared moved pred drafts parts constraint stream conversation together first timeout tools"
ASKED = [
    *(
        Case("probe.wasm", {"case": name}, None)
        for name in (*CASES.split(), "channels", "parent", "refused", "deferred")
    ),
    Case("completion.wasm", {"prompt": "Hello", "max_tokens": 8}, None),
]


def main() -> int:
    today = load(ROOT / "wit")
    version = today.versions["symphony:lip"]
    archive, folder = ROOT / "wit/archive" / version, ROOT / "tests/evolution" / version
    before = former.archived(ROOT / "wit").get(version)
    if before is not None and former.plain(before) != former.plain(today):
        print(f"{version} is archived with other types: give wit/ a new version", file=sys.stderr)
        return 1
    shutil.rmtree(archive, ignore_errors=True)
    shutil.copytree(ROOT / "wit", archive, ignore=lambda _, names: [n for n in names if n == "archive"])
    folder.mkdir(parents=True, exist_ok=True)
    _pack(ROOT / "guest_sdk/python", folder / "sdk.tar.gz")
    for name, crate in PROGRAMS.items():
        build(ROOT / crate, folder / name)
    with tempfile.TemporaryDirectory() as home:
        found = answers(folder, ASKED, Path(home))
    made = [asdict(replace(case, answer=answer)) for case, answer in zip(ASKED, found, strict=True)]
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in made)
    (folder / "cases.json").write_text(f"[\n{lines}\n]\n", "utf-8")
    print(f"archived {version}: {', '.join(PROGRAMS)}, {len(made)} cases")
    return 0


def _pack(sdk: Path, target: Path) -> None:
    """The package `lip` without what is only there at times, the same bytes from the same files."""

    def bare(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = ""
        return None if "__pycache__" in info.name or "_bindings" in info.name else info

    with gzip.GzipFile(target, "wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(sdk / "lip", "lip", filter=bare)


if __name__ == "__main__":
    sys.exit(main())

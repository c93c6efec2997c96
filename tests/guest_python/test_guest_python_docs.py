"""Every program in docs/guest-python.md runs, on the model that ships."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from symphony import Runtime
from symphony.host import Config
from symphony.sandbox import SandboxConfig

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/guest-python.md").read_text(), re.DOTALL)


@pytest.mark.slow
def test_the_manuals_programs_run(tmp_path: Path) -> None:
    config = Config(sandbox=SandboxConfig(max_instances=8), cache=ROOT / "build/test-programs")

    async def main() -> list[object]:
        async with Runtime("tiny", device="cpu", home=tmp_path, config=config) as runtime:
            return [await runtime.run(program) for program in PROGRAMS]

    greeting, branches, careful, repeat, search, forms, notes, counter, patchwork, limited, crowd = asyncio.run(main())
    assert isinstance(greeting, str)
    assert greeting
    assert isinstance(branches, list)
    assert len(branches) == 3
    assert isinstance(careful, dict)
    assert len(careful["entropy"]) == 6
    assert isinstance(repeat, dict)
    assert repeat["same"]
    assert repeat["drafted"] < repeat["plain"]
    assert isinstance(search, str)
    assert search.startswith("The")
    assert isinstance(forms, dict)
    assert json.loads(forms["by hand"]) == forms["generated"]
    assert isinstance(notes, dict)
    assert notes["files"] == ["notes"]
    assert counter == 1
    assert isinstance(patchwork, dict)
    assert 8 <= patchwork["plain"] < patchwork["tokens"]
    assert isinstance(limited, str)
    assert limited.startswith("invalid: truncate(1000000)")
    assert isinstance(crowd, dict)
    assert [text[:3] for text in crowd["texts"]] == [" 1.", " 2.", " 3."]
    assert max(crowd["computed"]) < crowd["prompt"], "the children computed the prompt again"

"""docs/security.md lists every limit of param.py, as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tools.limits import PARAM, limits

ROOT = Path(__file__).resolve().parents[1]


def test_the_table_is_fresh() -> None:
    done = subprocess.run([sys.executable, "-m", "tools.limits", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_limit_is_used_somewhere() -> None:
    text = "".join(p.read_text() for p in (ROOT / "runtime").rglob("*.py") if p != PARAM)
    unused = [limit.name for limit in limits(PARAM.read_text()) if limit.name not in text]
    assert not unused

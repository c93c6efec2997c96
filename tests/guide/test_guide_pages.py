"""Every program and every command of the guide, run as written; what they print is what the page shows."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from guide_pages import Desk, Page, agreed, alike

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs/guide").glob("[0-9]*.md"))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """An empty directory, a home without programs, no server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYMPHONY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SYMPHONY_URL", raising=False)
    desk = Desk(tmp_path)
    yield desk
    desk.close()
    gc.unfreeze()  # a command is not the only thing that this process does


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page(path: Path, desk: Desk) -> None:
    page = Page.read(path)
    assert page.others == [], "every block is a named program or a command"
    assert page.commands
    assert all(any(name in c.line for c in page.commands) or "tools" in name for name in page.files)
    for command, printed in desk.try_page(page):
        shown = alike(command.printed)
        assert agreed(alike(printed), shown) == shown, f"$ {command.line}"


def test_what_a_page_shows_can_be_wrong() -> None:
    shown = alike("7\n10 forwards, 22 tokens, 0.05 s\n")
    assert agreed(alike("7 \n11 forwards, 22 tokens, 0.31 s"), shown) == shown
    assert agreed(alike("7\n14 forwards, 22 tokens, 0.31 s"), shown) != shown
    assert agreed(alike("7\n10 forwards, 21 tokens, 0.31 s"), shown) != shown
    assert agreed(alike("8\n10 forwards, 22 tokens, 0.31 s"), shown) != shown
    assert agreed(alike("7"), shown) != shown

"""Links of the documentation lead somewhere, and the guide is a path."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "samples").glob("*/README.md")),
]
_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def links(document: Path) -> set[str]:
    """Targets within the repository."""
    found = _LINK.findall(_CODE.sub("", document.read_text("utf-8")))
    return {target for target in found if not re.match(r"https?:|mailto:", target)}


def anchors(document: Path) -> set[str]:
    """What the headings are called in links: as GitHub makes it."""
    titles = re.findall(r"^#+ (.*)$", _CODE.sub("", document.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in sorted(links(document)):
        place, _, anchor = target.partition("#")
        path = document.parent / place if place else document
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def test_the_guide_is_a_path() -> None:
    pages = sorted(path.name for path in (ROOT / "docs/guide").glob("[0-9]*.md"))
    listed = re.findall(r"^\d+\. \[.*?\]\((.*?)\)", (ROOT / "docs/guide/README.md").read_text("utf-8"), re.MULTILINE)
    assert listed == pages
    for page, following in pairwise(pages):
        assert following in links(ROOT / "docs/guide" / page)

"""Writes the tables of settings in docs/serving.md from the sections: `python -m tools.settings [--check]`.

They stand between two markers. With --check nothing is written, and a stale table is an error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

from symphony.access.tenant import TenantConfig
from symphony.settings.reader import says, settings_of, spelled
from symphony.settings.sections import Settings
from tools.page import renew

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "serving.md"
BEGIN = "<!-- settings: written by tools/settings.py -->"
END = "<!-- end of settings -->"


def tables() -> str:
    """The Markdown between the markers."""
    rows: list[str] = []
    section = None
    for setting in settings_of(Settings):
        if setting.section != section:
            section = setting.section
            title = f"**`[{section}]`**" if section else "**Sections of records**"
            rows += ["", title, "", "| setting | default | what it says |", "|---|---|---|"]
        rows.append(f"| `{spelled(setting.name)}` | {_default(setting.default)} | {setting.says} |")
    rows += ["", "**`[tenants.NAME]`**", "", "| setting | default | what it says |", "|---|---|---|", *_of_tenants()]
    return "\n".join(rows).strip()


def _of_tenants() -> Iterator[str]:
    hints = get_type_hints(TenantConfig, include_extras=True)
    for field in fields(TenantConfig):
        default = "as `[limits]`" if field.default is None else _default(field.default)
        yield f"| `{spelled(field.name)}` | {default} | {says(hints[field.name])} |"


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | dict):
        return ", ".join(map(str, value)) or "none"
    return "" if value is None else f"{value:,}" if isinstance(value, int) and value > 65535 else str(value)


def main() -> int:
    return renew(PAGE, ROOT, BEGIN, END, tables())


if __name__ == "__main__":
    sys.exit(main())

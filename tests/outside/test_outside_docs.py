"""docs/tools.md: its configuration is one, and its program runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from symphony.outside.config import check_endpoint, check_mcp
from symphony.outside.endpoints import EndpointTool
from symphony.outside.fetch import Internet
from symphony.outside.functions import toolbox
from symphony.outside.grants import Grants
from symphony.settings.reader import read
from symphony.settings.sections import Settings

PAGE = (Path(__file__).resolve().parents[2] / "docs/tools.md").read_text(encoding="utf-8")


def test_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    file = tmp_path / "host.toml"
    file.write_text(block)
    settings = read(Settings, file, environment={})
    monkeypatch.setenv("SEARCH_KEY", "a key")
    for name, endpoint in settings.endpoints.items():
        check_endpoint(name, endpoint)
        assert EndpointTool(name, endpoint).summary == "Look words up in our archive."
    for name, server in settings.mcp.items():
        check_mcp(name, server)
    tools = toolbox(dict.fromkeys(("search", "files_read_file", "crm_lookup", "crm_delete"), lambda: 0))
    grants = Grants(settings.grants, tools, Internet())
    assert list(grants.reach("other", ("agent",)).tools) == ["search"]
    reach = grants.reach("acme", ("agent",))
    assert list(reach.tools) == ["crm_lookup", "files_read_file", "search"]
    assert reach.browser is not None
    assert [str(place) for place in reach.browser.places] == ["https://api.example.com", "https://*.wikipedia.org"]
    assert grants.idle_tools() == ["crm_delete"]

"""Who may call and fetch what."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from outside_servers import run, says_json, serving

from symphony.errors import Invalid, NotFound, SymphonyError
from symphony.outside.boot import granted
from symphony.outside.config import EndpointConfig, McpConfig, OutsideConfig
from symphony.outside.fetch import Internet
from symphony.outside.functions import toolbox
from symphony.outside.grants import NOTHING, Grant, Grants, Reach

TOOLS = toolbox({"add": lambda a, b: a + b, "files_read": lambda: 1, "files_write": lambda: 2, "search": lambda: 3})


def reached(reach: Reach) -> tuple[list[str], list[str]]:
    places = reach.browser.places if reach.browser is not None else ()
    return list(reach.tools), [str(place) for place in places]


def grants(*given: Grant) -> Grants:
    return Grants(given, TOOLS, Internet())


def test_without_a_grant_there_is_nothing() -> None:
    assert grants().reach("a", ("p",)) is NOTHING
    assert grants(Grant(tenants=("b",), tools=("*",))).reach("a", ("p",)) is NOTHING
    assert reached(NOTHING) == ([], [])


def test_grants_add_up_for_tenants_and_programs() -> None:
    all_of = grants(
        Grant(tools=("add",)),
        Grant(tenants=("a", "b"), tools=("files_*",), fetch=("https://a.example",)),
        Grant(tenants=("a",), programs=("agent", "sha256-1"), tools=("search",), fetch=("*.example.com",)),
    )
    everybody, files = ["add"], ["files_read", "files_write"]
    assert reached(all_of.reach("c", ("agent",))) == (everybody, [])
    assert reached(all_of.reach("b", ("agent",))) == ([*everybody, *files], ["https://a.example"])
    places = ["https://a.example", "https://*.example.com"]
    assert reached(all_of.reach("a", ("agent", "sha256-2"))) == ([*everybody, *files, "search"], places)
    assert reached(all_of.reach("a", ("other", "sha256-1"))) == ([*everybody, *files, "search"], places)
    assert reached(all_of.reach("a", ())) == ([*everybody, *files], ["https://a.example"])


def test_a_child_gets_no_more_than_is_named_for_it() -> None:
    parent = grants(Grant(tools=("add", "search"), fetch=("https://a.example",))).reach("a", ())
    assert reached(parent.only([])) == ([], [])
    assert reached(parent.only(["search", "search"])) == (["search"], [])
    assert reached(parent.only(["fetch", "add"])) == (["add"], ["https://a.example"])
    assert parent.only(["fetch"]).browser is parent.browser  # the same six connections
    for names in (["files_read"], ["add", "nothing"]):
        with pytest.raises(NotFound, match="to pass on"):
            parent.only(names)
    with pytest.raises(NotFound, match="fetch"):
        parent.only(["add"]).only(["fetch"])


@pytest.mark.parametrize(
    ("grant", "told"),
    [
        (Grant(tools=("serach",)), "'serach'"),
        (Grant(tools=("files-*",)), "'files-*'"),
        (Grant(fetch=("https://a.example/path",)), "more than a host"),
        (Grant(fetch=("http://169.254.169.254",)), "169.254.169.254"),
    ],
)
def test_a_grant_of_what_is_not_there(grant: Grant, told: str) -> None:
    with pytest.raises(Invalid) as e:
        grants(grant)
    assert told in e.value.message
    assert e.value.hint


def test_the_boot_report_says_what_can_be_reached() -> None:
    assert Grants((), {}, Internet()).describe() == {}
    many = Grants(
        (Grant(fetch=("https://a.example",)), Grant(fetch=("*.b.example", "https://a.example"))),
        toolbox({f"tool_{n}": test_without_a_grant_there_is_nothing for n in range(10)}),
        Internet(),
    )
    assert many.describe() == {
        "tools": ", ".join(f"tool_{n}" for n in range(8)) + " and 2 more",
        "fetch from": "https://a.example, https://*.b.example",
    }


def test_tools_of_all_kinds_under_one_roof() -> None:
    server = Path(__file__).with_name("mcp_server.py")

    async def main() -> None:
        async with serving(says_json([1])) as there:
            config = OutsideConfig(
                endpoints={"search": EndpointConfig(there.url)},
                mcp={"calc": McpConfig(command=(sys.executable, "-I", str(server), "good"))},
            )
            async with granted(config, toolbox({"double": lambda x: 2 * x})) as all_of:
                reach = all_of.reach("a", ())
                assert reach.browser is None
                assert list(reach.tools) == sorted(reach.tools)
                called: list[Any] = [
                    await reach.tools[name].call(arguments)
                    for name, arguments in (("double", {"x": 2}), ("search", {}), ("calc_add", {"a": 1, "b": 2}))
                ]
                assert called == ["4", "[1]", '"3"']

    run(main())


def test_two_tools_of_one_name() -> None:
    async def main() -> None:
        config = OutsideConfig(endpoints={"search": EndpointConfig("https://a.example")})
        async with granted(config, toolbox({"search": lambda: 1})):
            pass

    with pytest.raises(SymphonyError, match="two tools called 'search'"):
        run(main())

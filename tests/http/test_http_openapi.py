"""The OpenAPI document: every route is in it, real answers are as it says, and made-up requests meet no bug."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
import schemathesis
from fake_runtime import FakeRuntime
from hypothesis import HealthCheck, Phase, settings
from live_server import Server
from schemathesis.checks import load_all_checks
from server_fixture import Client, with_server

from symphony.cli.remote import Remote
from symphony.engine.fake import FakeEngine
from symphony.host import Runtime
from symphony.http.app import create_app
from symphony.http.openapi import document
from symphony.http.table import ROUTES

load_all_checks()
CHECKS = [
    getattr(schemathesis.checks, name)
    for name in ("status_code_conformance", "content_type_conformance", "response_schema_conformance")
]
UNTRIED = ("/v1/ws", "/v1/chat/completions", "/v1/completions")
"""A WebSocket's handshake is no plain request; OpenAI's requests run a program each, and have tests of their own."""
EXAMPLES = 6


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server[Runtime]]:
    with Server(Runtime([FakeEngine()], home=tmp_path_factory.mktemp("home"))) as server:
        Remote(server.url).call("POST", "/v1/run", body=b"from lip import main\n@main\ndef app(): pass\n")
        yield server  # which has its interpreter by now: made-up requests wait 10 s at most


made_up = schemathesis.openapi.from_dict(document(ROUTES)).exclude(path=list(UNTRIED))


@made_up.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_made_up_requests_are_answered_as_documented(case: schemathesis.Case, served: Server[Runtime]) -> None:
    if isinstance(case.query, dict) and "timeout" in case.query:
        case.query["timeout"] = "0.5"  # a made-up program may never end
    answer = case.call(base_url=served.url)
    assert answer.status_code not in (500, 502), answer.text
    case.validate_response(answer, checks=CHECKS)


def test_every_route_of_the_server_is_described() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        described = await (await client.get("/openapi.json")).json()
        assert described == document(ROUTES)
        app = create_app(cast("Runtime", runtime))
        served = {(route.method, str(route.handler)) for route in app.router.routes() if route.method != "HEAD"}
        assert len(served) == len(ROUTES) == sum(map(len, described["paths"].values()))
        for path, operations in described["paths"].items():
            for method, operation in operations.items():
                assert operation["summary"].endswith("."), (path, method)
                assert operation["responses"].keys() - {"default"}, (path, method)

    with_server(test)


def test_operations_have_names_of_their_own() -> None:
    names = [
        operation["operationId"]
        for operations in document(ROUTES)["paths"].values()
        for operation in operations.values()
    ]
    assert len(set(names)) == len(names)


def test_a_parameter_of_the_document_is_one_that_the_server_knows() -> None:
    """And no other: each is sent alone, in a value that is good for nothing."""

    async def test(client: Client, runtime: FakeRuntime) -> None:
        for path, operations in document(ROUTES)["paths"].items():
            for method, operation in operations.items():
                for known in [p["name"] for p in operation["parameters"] if p["in"] == "query"]:
                    answer = await client.request(method, path.replace("{", "").replace("}", ""), params={known: "\0"})
                    assert b"there is no query parameter" not in await answer.read(), (path, method, known)
                unknown = await client.request(method, path.replace("{", "").replace("}", ""), params={"unheard": "1"})
                assert unknown.status == 400, (path, method)

    with_server(test)

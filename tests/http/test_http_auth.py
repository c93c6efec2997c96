"""Keys over HTTP: every route of the router without a key, with a wrong one, in each role, and another tenant's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientPayloadError, WSMsgType, web
from fake_runtime import FakeRuntime
from server_fixture import Client, error_of, eventually, with_server

from symphony import param
from symphony.access.gate import Gate
from symphony.access.identity import Role
from symphony.access.keys import KeyFile
from symphony.http.auth import OPEN
from symphony.http.errors import OPENAI_PATHS
from symphony.http.openapi import document
from symphony.http.table import ROUTES
from symphony.pace import Pace
from symphony.process.process import State

Test = Callable[[Client, FakeRuntime], Awaitable[None]]

CONCRETE = {
    "{ref}": "echo",
    "{pid}": "1",
    "{name}": "tiny",
    "{path}": "x",
    r"{path:(/[\s\S]*)?}": "/x",
    "{name:.+}": "tiny",
}
"""What stands in a path for its parts."""


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def guarded(test: Test, keys: KeyFile) -> None:
    with_server(test, gate=Gate(keys))


def served(client: Client) -> list[tuple[str, str]]:
    """Method and path of everything that the router routes, and of methods and paths that it does not."""
    app = client.server.app  # type: ignore[attr-defined]
    found = []
    for route in app.router.routes():
        path = route.resource.canonical
        for part, value in CONCRETE.items():
            path = path.replace(part, value)
        assert "{" not in path, "say above what stands for it"
        found.append((route.method, path))
    assert len(found) >= len(ROUTES)
    return [*found, ("PUT", "/v1/run"), ("GET", "/nothing"), ("GET", "/"), ("OPTIONS", "/v1/programs")]


def test_without_a_key_and_with_a_wrong_one(keys: KeyFile) -> None:
    key, text = keys.add("acme", "ann", list(Role))
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    headers = ({}, bearer(wrong), bearer(key.digest), {"Authorization": text}, {"Cookie": f"key={text}"})

    async def test(client: Client, runtime: FakeRuntime) -> None:
        for method, path in served(client):
            for header in headers:
                answer = await client.request(method, path, headers=header)
                if path in OPEN:
                    assert answer.status == 200, (method, path)
                    continue
                assert answer.status == 401, (method, path, header)
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                if method != "HEAD":
                    error = (await answer.json())["error"]
                    assert error["code"] in ("permission-denied", "permission_denied")
                    assert error["hint"]
        assert (runtime.launched, runtime.programs(), runtime.processes()) == ([], [], [])

    guarded(test, keys)


def test_each_role_opens_its_routes_and_no_others(keys: KeyFile) -> None:
    needs = {(route.method, route.template): set(route.needs) for route in ROUTES}
    texts = {role: keys.add("acme", "ann", [role])[1] for role in Role}

    async def test(client: Client, runtime: FakeRuntime) -> None:
        for route in ROUTES:
            path = route.template
            for part, value in CONCRETE.items():
                path = path.replace(part, value)
            for role, text in texts.items():
                answer = await client.request(route.method, path, headers=bearer(text), params={"unheard": "1"})
                opened = route.template in OPEN or set(route.needs) <= {role}
                status = 400 if opened else 403  # the parameter is refused by whoever is let in
                assert answer.status == status, (route, role)

    guarded(test, keys)
    assert needs["POST", "/v1/run"] == {Role.RUN, Role.UPLOAD}
    assert needs["DELETE", "/v1/fs/{path}"] == needs["GET", "/v1/status"] == {Role.OPERATE}
    opened = [route.template for route in ROUTES if route.template in OPEN and not route.template.startswith("/ui/")]
    assert opened == ["/openapi.json", "/healthz", "/readyz"]


def test_what_is_in_no_table_is_for_operators(keys: KeyFile) -> None:
    """Whoever adds a route beside the table forgets a role: it is not open for that."""
    _, run = keys.add("acme", "ann", [Role.RUN, Role.UPLOAD])
    _, operate = keys.add("acme", "ann", [Role.OPERATE])

    async def test(client: Client, runtime: FakeRuntime) -> None:
        async def handler(request: web.Request) -> web.Response:
            return web.Response(text="in")

        app: Any = client.server.app  # type: ignore[attr-defined]
        app._router._frozen = False
        app.router.add_get("/late", handler)
        assert (await client.get("/late")).status == 401
        assert (await client.get("/late", headers=bearer(run))).status == 403
        assert await (await client.get("/late", headers=bearer(operate))).text() == "in"

    guarded(test, keys)


def test_tenants_and_users(keys: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another tenant's key finds nothing, another user's only what the tenant shares; an operator sees the tenant."""
    ann, bob, boss, other, host = (
        bearer(keys.add(tenant, user, roles)[1])
        for tenant, user, roles in (
            ("acme", "ann", [Role.RUN, Role.UPLOAD]),
            ("acme", "bob", [Role.RUN, Role.UPLOAD]),
            ("acme", "boss", list(Role)),
            ("beta", "ann", list(Role)),
            ("local", "root", [Role.OPERATE]),
        )
    )

    async def test(client: Client, runtime: FakeRuntime) -> None:
        stored = await client.post("/v1/programs?name=prog", data=b"wait", headers=ann)
        ident = (await stored.json())["id"]
        pid = (await (await client.post("/v1/programs/prog/run?detach=1", headers=ann)).json())["pid"]
        options = runtime.launched[-1][2]
        assert (options.tenant, options.owner) == ("acme", "ann")

        for headers, program, process in ((ann, 200, 200), (bob, 200, 404), (boss, 200, 200), (other, 404, 404)):
            for ref in ("prog", ident):
                assert (await client.get(f"/v1/programs/{ref}", headers=headers)).status == program
            listed = (await (await client.get("/v1/programs", headers=headers)).json())["programs"]
            assert len(listed) == (program == 200)
            assert (await client.get(f"/v1/processes/{pid}", headers=headers)).status == process
            listed = (await (await client.get("/v1/processes", headers=headers)).json())["processes"]
            assert len(listed) == (process == 200)
        for method, path in (
            ("POST", "/v1/programs/prog/run"),
            ("DELETE", "/v1/programs/prog"),
            ("GET", f"/v1/processes/{pid}/events"),
            ("POST", f"/v1/processes/{pid}/messages"),
            ("DELETE", f"/v1/processes/{pid}"),
        ):
            answer = await client.request(method, path, headers=other)
            assert (answer.status, (await error_of(answer))["code"]) == (404, "not-found"), path
        assert (await client.delete(f"/v1/processes/{pid}", headers=bob)).status == 404
        for headers in (bob, other):
            missing = await (await client.get(f"/v1/processes/{pid}", headers=headers)).text()
            nothing = await (await client.get("/v1/processes/999", headers=headers)).text()
            assert missing == nothing.replace("999", str(pid)), "as if there were none"
        same = await client.post("/v1/programs?name=prog", data=b"wait", headers=other)
        assert same.status == 201, "whether somebody else has it, nobody learns"
        gauges = runtime.gauges()
        for tier in (gauges[0].pages, gauges[0].slots, gauges[0].disk):
            tier.tenants.update(acme=5, beta=3)
        monkeypatch.setattr(runtime, "gauges", lambda: gauges)
        status = await (await client.get("/v1/status", headers=other)).json()
        assert status["processes"]["live"] == 0
        for tier in ("pages", "slots", "disk"):
            assert status["models"][0][tier]["tenants"] == {"beta": 3}
        status = await (await client.get("/v1/status", headers=host)).json()
        assert status["processes"]["live"] == 1, "who operates the host sees all that runs"
        assert (await client.delete(f"/v1/processes/{pid}", headers=boss)).status == 200

    guarded(test, keys)


def test_every_route_with_another_tenants_key(keys: KeyFile) -> None:
    """What it names is not there, and what it lists does not tell of it."""
    acme = bearer(keys.add("zebra", "ann", list(Role))[1])
    beta = bearer(keys.add("beta", "ann", list(Role))[1])

    async def test(client: Client, runtime: FakeRuntime) -> None:
        await runtime.write("/quagga", "zebra's own", tenant="zebra")
        stored = await client.post("/v1/programs?name=echo", data=b"# quagga\nwait", headers=acme)
        pid = (await (await client.post("/v1/programs/echo/run?detach=1", headers=acme)).json())["pid"]
        marks = ("quagga", "zebra", (await stored.json())["id"])
        concrete = {"{ref}": "echo", "{pid}": str(pid), "{path}": "quagga", "{name}": "tiny"}
        named = 0
        for route in ROUTES:
            path = route.template
            for part, value in concrete.items():
                path = path.replace(part, value)
            query = {"do": "pin"} if (route.method, route.template) == ("POST", "/v1/fs/{path}") else {}
            body = b"[]" if path in OPENAI_PATHS else None
            answer = await client.request(route.method, path, headers=beta, params=query, data=body)
            assert answer.status != 500, (route.method, path)
            text = await answer.text()
            if route.method == "PUT":
                assert answer.status == 400, "it would be a file of its own"
            elif path != route.template and "{name}" not in route.template:
                named += 1
                assert answer.status == 404, (route.method, path, text)
                text = text.replace(path, "").replace("/quagga", "")  # as it was asked
            assert not any(mark in text for mark in marks), (route.method, path, text)
        assert named >= 10
        assert await (await client.get(f"/v1/processes/{pid}", headers=acme)).json()
        assert runtime.process(pid).state is State.RUNNING
        assert (await client.get("/v1/fs/quagga", headers=acme)).status == 200

    guarded(test, keys)


def test_files_belong_to_users(keys: KeyFile) -> None:
    boss = bearer(keys.add("acme", "boss", list(Role))[1])
    other = bearer(keys.add("beta", "boss", list(Role))[1])

    async def test(client: Client, runtime: FakeRuntime) -> None:
        await runtime.write("/notes", "a secret", tenant="acme")
        await runtime.write("/shared/news", "for all", tenant="acme")
        listed = await (await client.get("/v1/fs/", headers=boss)).json()
        assert "/notes" in str(listed)
        listed = await (await client.get("/v1/fs/", headers=other)).json()
        assert "notes" not in str(listed)
        assert (await client.get("/v1/fs/notes", headers=other)).status == 404
        assert (await client.delete("/v1/fs/notes", headers=other)).status == 404
        assert (await client.get("/v1/fs/shared/news?what=stat", headers=other)).status == 200, "the name is for all"
        assert (await client.get("/v1/fs/shared/news?what=text", headers=other)).status == 403, (
            "its owner did not say so"
        )
        assert (await client.delete("/v1/fs/shared/news", headers=other)).status == 403

    guarded(test, keys)


def test_only_who_operates_the_host_vouches_for_kv(keys: KeyFile) -> None:
    """What a tenant says is plain would serve the prompts of whoever opens its files below /shared."""
    boss, host = (bearer(keys.add(tenant, "boss", list(Role))[1]) for tenant in ("acme", "local"))

    async def test(client: Client, runtime: FakeRuntime) -> None:
        answers = [await client.put("/v1/fs/x?trust=1", headers=key, data=b"no file") for key in (boss, host)]
        assert [answer.status for answer in answers] == [403, 400], "the other one hears what is wrong with the file"
        assert "vouch" in (await error_of(answers[0]))["message"]
        assert (await client.put("/v1/fs/x", headers=boss, data=b"no file")).status == 400

    guarded(test, keys)


def test_over_a_websocket_each_call_is_asked_again(keys: KeyFile) -> None:
    key, text = keys.add("acme", "ann", [Role.RUN])

    async def test(client: Client, runtime: FakeRuntime) -> None:
        refused = await client.get("/v1/ws", headers={"Upgrade": "websocket", "Connection": "Upgrade"})
        assert refused.status == 401
        async with client.ws_connect("/v1/ws", headers=bearer(text)) as socket:

            async def status(method: str, path: str) -> int:
                await socket.send_bytes(msgspec.msgpack.encode({"do": "call", "id": 1, "method": method, "path": path}))
                return msgspec.msgpack.decode(await socket.receive_bytes())["status"]

            assert await status("GET", "/v1/processes") == 200
            assert await status("DELETE", "/v1/programs/x") == 403
            keys.remove(key.id)
            assert await status("GET", "/v1/processes") == 401

    guarded(test, keys)


def test_a_server_with_keys_serves_under_any_name(keys: KeyFile) -> None:
    text = keys.add("acme", "ann", [Role.RUN])[1]

    async def test(client: Client, runtime: FakeRuntime) -> None:
        named = {"Host": "lips.example", "Origin": "https://page.example"}
        assert (await client.get("/v1/processes", headers={**named, **bearer(text)})).status == 200
        assert (await client.get("/v1/processes", headers=named)).status == 401

    guarded(test, keys)


def test_a_broken_file_of_keys_lets_nobody_in(keys: KeyFile, tmp_path: Path) -> None:
    text = keys.add("acme", "ann", list(Role))[1]

    async def test(client: Client, runtime: FakeRuntime) -> None:
        (tmp_path / "keys.json").write_text("broken")
        answer = await client.get("/v1/processes", headers=bearer(text))
        assert (answer.status, (await error_of(answer))["code"]) == (503, "unavailable")
        assert (await client.get("/healthz")).status == 200

    guarded(test, keys)


def test_too_many_requests_are_told_when_to_try_again(keys: KeyFile) -> None:
    ann = bearer(keys.add("acme", "ann", list(Role))[1])
    other = bearer(keys.add("beta", "ann", list(Role))[1])

    async def test(client: Client, runtime: FakeRuntime) -> None:
        for _ in range(3):
            assert (await client.get("/v1/models", headers=ann)).status == 200
        for method, path in (("GET", "/v1/models"), ("GET", "/nothing"), ("POST", "/v1/chat/completions")):
            refused = await client.request(method, path, headers=ann)
            assert (refused.status, refused.headers["Retry-After"]) == (429, "10")
            assert (await refused.json())["error"]["code"].replace("_", "-") == "limit-exceeded"
        async with client.ws_connect("/v1/ws", headers=other) as socket:
            replies = []
            for _ in range(3):
                call = {"do": "call", "id": 1, "method": "GET", "path": "/v1/models"}
                await socket.send_bytes(msgspec.msgpack.encode(call))
                replies.append(msgspec.msgpack.decode(await socket.receive_bytes()))
        assert [reply["status"] for reply in replies] == [200, 200, 429], "the handshake was one"
        assert replies[-1]["headers"]["Retry-After"] == "10"
        assert (await client.get("/healthz")).status == 200

    with_server(test, gate=Gate(keys, pace=Pace(0.1, burst_seconds=20.0), clock=lambda: 1.0))


def test_the_document_says_which_roles() -> None:
    described = document(ROUTES)["paths"]
    assert "run, upload" in described["/v1/run"]["post"]["description"]
    assert described["/healthz"]["get"]["security"] == []


def test_a_stream_ends_when_its_key_is_removed(keys: KeyFile) -> None:
    run = [Role.RUN, Role.UPLOAD]
    (gone, lost), (_, kept) = keys.add("acme", "ann", run), keys.add("acme", "bob", run)

    async def test(client: Client, runtime: FakeRuntime) -> None:
        events = {"Accept": "text/event-stream"}
        streams = [
            await client.post("/v1/run", data=b"wait", headers={**bearer(key), **events}) for key in (lost, kept)
        ]
        async with client.ws_connect("/v1/ws", headers=bearer(lost)) as socket:
            call = {"do": "call", "id": 1, "method": "POST", "path": "/v1/run", "body": b"wait", "events": True}
            await socket.send_bytes(msgspec.msgpack.encode(call))
            await eventually(lambda: len(runtime.processes()) == 3)
            keys.remove(gone.id)
            with pytest.raises(ClientPayloadError):  # torn, not ended
                await streams[0].read()
            while (await socket.receive()).type is WSMsgType.BINARY:
                pass
        await eventually(lambda: [process.state.ended for process in runtime.processes()] == [True, False, True])
        runtime.process(2).released.set()
        assert b"event: result" in await streams[1].read()

    with_server(test, gate=Gate(keys), keep_alive=0.02)


def test_a_window_that_is_shut_when_the_key_goes_ends_for_that_reason(keys: KeyFile) -> None:
    gone, text = keys.add("acme", "ann", [Role.RUN, Role.UPLOAD])

    async def test(client: Client, runtime: FakeRuntime) -> None:
        async with client.ws_connect("/v1/ws", headers=bearer(text)) as socket:
            call = {"do": "call", "id": 1, "method": "POST", "path": "/v1/run", "body": b"flood", "events": True}
            await socket.send_bytes(msgspec.msgpack.encode({**call, "window": 1}))
            assert "events" in msgspec.msgpack.decode(await socket.receive_bytes())
            keys.remove(gone.id)
            ended = msgspec.msgpack.decode(await socket.receive_bytes())
            assert (ended["status"], ended["body"]["error"]["code"]) == (401, "permission-denied")
            assert "was removed" in ended["body"]["error"]["message"]

    with_server(test, gate=Gate(keys), keep_alive=0.02)


def test_a_tenant_has_so_many_connections(keys: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(param, "MAX_CONNECTIONS_PER_TENANT", 2)
    acme, beta = (bearer(keys.add(tenant, tenant, [Role.RUN])[1]) for tenant in ("acme", "beta"))

    async def test(client: Client, runtime: FakeRuntime) -> None:
        held = [await client.ws_connect("/v1/ws", headers=acme) for _ in range(2)]
        refused = await client.get("/v1/models", headers=acme)
        assert (refused.status, (await error_of(refused))["code"]) == (429, "limit-exceeded")
        assert refused.headers["Connection"] == "close"
        assert (await client.get("/v1/models", headers=beta)).status == 200
        await held[0].close()
        for _ in range(3):  # over one connection, which is counted once
            assert (await client.get("/v1/models", headers=acme)).status == 200
        await held[1].close()

    guarded(test, keys)

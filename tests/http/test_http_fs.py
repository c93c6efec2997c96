"""KV files over HTTP: listings, contents, what an operator changes, and hostile paths."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fake_runtime import FakeRuntime
from server_fixture import Client, error_of, with_server


async def got(client: Client, path: str, **query: str) -> Any:
    answer = await client.get(f"/v1/fs{path}", params=query)
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def refused(client: Client, method: str, path: str, status: int, **query: str) -> dict[str, Any]:
    answer = await client.request(method, f"/v1/fs{path}", params=query)
    assert answer.status == status, await answer.text()
    return await error_of(answer)


def test_a_directory_and_a_file() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        assert await got(client, "") == await got(client, "/") == {"path": "/", "kind": "directory", "entries": []}
        session = await runtime.write("/notes/day one", "hello\nworld" * 4)
        pid = (await (await client.post("/v1/run", params={"detach": "1"}, data=b"wait")).json())["pid"]
        runtime.process(pid).session = session
        assert (await got(client, "/"))["entries"] == [{"path": "/notes", "members": 1, "kind": "directory"}]
        [entry] = (await got(client, "/notes"))["entries"]
        assert entry == (await got(client, "/notes/"))["entries"][0]
        assert (entry["path"], entry["length"], entry["pages"], entry["pids"]) == ("/notes/day one", 44, 3, [pid])
        file = await got(client, "/notes/day%20one")
        assert file["text"] == "hello\nworld" * 4
        assert {name: file[name] for name in ("kind", "mode", "tier", "plain", "unique_pages", "shared_pages")} == {
            "kind": "file",
            "mode": "rw-r-----",
            "tier": "device",
            "plain": 44,
            "unique_pages": 1,
            "shared_pages": 2,
        }
        assert "text" not in await got(client, "/notes/day%20one", what="stat")
        assert await got(client, "/notes/day%20one", what="text") == {"path": "/notes/day one", "text": file["text"]}
        assert (await got(client, "/notes/day%20one", what="tokens"))["tokens"] == list(b"hello\nworld" * 4)

    with_server(test)


def test_tree_and_space() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        await runtime.write("/base", "x" * 64)
        await runtime.write("/far/branch", "y", base="/base")
        await runtime.write("", "z" * 20)
        files = (await got(client, "", tree="1"))["files"]
        assert [(file["path"], file["parent"], file["parent_path"], file["shared"]) for file in files] == [
            ("/base", None, "", 0),
            ("/far/branch", files[0]["id"], "/base", 4),
            ("", None, "", 0),
        ]
        rows = {row["path"]: row for row in (await got(client, "", du="1"))["space"]}
        assert set(rows) == {"", "/", "/base", "/far"}
        assert (rows["/"]["device_pages"], rows["/"]["table_pages"]) == (7, 11)
        assert (rows["/far"]["unique_pages"], rows["/far"]["shared_pages"]) == (1, 4)

    with_server(test)


def test_changes() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        await runtime.write("/a", "text")

        async def do(path: str, status: int, **query: str) -> Any:
            answer = await client.post(f"/v1/fs{path}", params=query)
            assert answer.status == status, await answer.text()
            return await answer.json()

        assert (await do("/a", 201, do="copy", to="/b/c"))["path"] == "/b/c"
        assert (await refused(client, "POST", "/a", 409, do="copy", to="/b/c"))["code"] == "exists"
        assert (await do("/a", 201, do="copy", to="/b/c", overwrite="1"))["length"] == 4
        assert (await do("/b", 200, do="move", to="/d"))["kind"] == "directory"
        assert (await do("/d/c", 200, do="pin"))["held"] is True
        assert (await do("/d/c", 200, do="unpin"))["held"] is False
        assert (await refused(client, "DELETE", "/d", 400))["message"].endswith("is not empty")
        assert "overwrite" in (await refused(client, "POST", "/a", 409, do="copy", to="/d/c"))["hint"]
        await do("/a", 201, do="copy", to="/e/f/g")
        await do("/a", 201, do="copy", to="/e/h")
        assert (await client.delete("/v1/fs/e", params={"recursive": "1"})).status == 204
        assert (await refused(client, "GET", "/e/h", 404))["code"] == "not-found"
        assert (await client.delete("/v1/fs/d/c")).status == 204
        assert (await refused(client, "DELETE", "/d/c", 404))["code"] == "not-found"
        assert [entry["path"] for entry in (await got(client, ""))["entries"]] == ["/a"]

    with_server(test)


def test_what_cannot_be_asked() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        await runtime.write("/a", "text")
        for method, path, query in (
            ("GET", "/a", {"what": "bytes"}),
            ("GET", "/a", {"tree": "yes"}),
            ("POST", "/a", {}),
            ("POST", "/a", {"do": "eat"}),
            ("POST", "/a", {"do": "copy"}),
            ("POST", "/a", {"do": "copy", "to": "b"}),
            ("POST", "/a", {"do": "copy", "to": "/b", "overwrite": "maybe"}),
            ("POST", "/a", {"do": "move", "to": "/"}),
            ("DELETE", "", {}),
            ("POST", "/", {"do": "pin"}),
            ("DELETE", "/a", {"force": "1"}),
            ("GET", "/a", {"What": "text"}),
        ):
            error = await refused(client, method, path, 400, **query)
            assert error["code"] == "invalid"
            assert error["hint"]
        for query in ({"what": "text"}, {"what": "stat"}, {"what": "tokens"}):
            assert "is a directory" in (await refused(client, "GET", "/", 400, **query))["message"]
        assert (await refused(client, "GET", "/a", 400, wat="1"))["hint"] == "known here: what, tree, du"
        assert (await client.patch("/v1/fs/a")).status == 405
        assert (await client.get("/v1/fsx")).status == 404

    with_server(test)


HOSTILE = {
    "/..": 400,
    "/../../etc/passwd": 400,
    "/a/../a": 400,
    "/%2e%2e/a": 400,
    "/%2E%2E%2Fetc%2Fpasswd": 400,
    "/..%2f..%2fetc": 400,
    "/./a": 400,
    "//a": 400,
    "/a//": 400,
    "/a%00": 400,
    "/a%00.txt": 400,
    "/a%0a": 400,
    "/a%1b[2J": 400,
    "/%ff": 400,
    "/%c0%ae%c0%ae": 400,
    "/%ed%a0%80": 400,
    "/%C2%85": 400,
    "/%E2%80%A8": 400,
    "/%": 404,
    "/%zz": 404,
    "/%252e%252e": 404,
    "/..%5c..": 404,
    "/C:%5cwindows": 404,
    "/a;b=c": 404,
    "/%F0%9F%90%8D": 404,
    "/" + "x" * 1100: 400,
    "/" + "%78" * 1100: 429,
    "/" + "/".join("d" * 40): 400,
    "/e%CC%81" * 30: 404,
}


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path[:30])
def test_hostile_paths(path: str) -> None:
    """Sent as they are, as no client library would."""

    async def test(client: Client, runtime: FakeRuntime) -> None:
        await runtime.write("/a", "text")
        for method, query in (("GET", ""), ("GET", "?tree=1"), ("DELETE", ""), ("POST", "?do=pin")):
            reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
            writer.write(
                f"{method} /v1/fs{path}{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
            )
            answer = (await reader.read()).decode()
            writer.close()
            assert answer.startswith(f"HTTP/1.1 {HOSTILE[path]}"), answer
            assert '"error":{"code":' in answer
            assert "Traceback" not in answer
        assert (await got(client, "/a"))["text"] == "text"

    with_server(test)


def test_a_name_with_odd_characters_is_found_again() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        for name, sent in (
            ("/ü ?#%&+", "/%C3%BC%20%3F%23%25%26%2B"),
            ("/🐍", "/%F0%9F%90%8D"),
            ("/e\u0301", "/%C3%A9"),
        ):
            await runtime.write(name, "x")
            reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
            writer.write(f"GET /v1/fs{sent} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            writer.close()

    with_server(test)


def test_status() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        await client.post("/v1/run", params={"detach": "1"}, data=b"wait")
        await runtime.write("/a", "x" * 40)
        status = await (await client.get("/v1/status")).json()
        assert status["processes"] == {"live": 1, "states": {"running": 1}}
        [model] = status["models"]
        assert (model["model"], model["steps"], model["files"], model["tokens"]) == ("fake", 1, 1, 40)
        assert model["pages"] == {"capacity": 255, "free": 252, "cached": 0, "used": 3, "tenants": {"local": 3}}
        assert model["slots"]["capacity"] == 64

    with_server(test)

"""Programs over HTTP: upload, list, look at, remove."""

from __future__ import annotations

import gzip

import pytest
from fake_runtime import FakeRuntime
from server_fixture import Client, error_of, with_server

from symphony import param


def test_upload_creates_and_the_same_content_again_is_the_same_program() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        first = await client.post("/v1/programs", params={"name": "hello"}, data=b"echo")
        assert first.status == 201
        program = await first.json()
        assert set(program) == {"id", "name", "kind", "size", "created", "names", "parameters"}
        assert (program["name"], program["kind"], program["size"]) == ("hello", "python", 4)
        assert first.headers["Location"] == f"/v1/programs/{program['id']}"
        again = await client.post("/v1/programs", params={"name": "hello"}, data=b"echo")
        assert again.status == 200
        assert (await again.json())["id"] == program["id"]
        listed = await (await client.get("/v1/programs")).json()
        assert listed == {"programs": [program]}
        for ref in ("hello", program["id"]):
            assert await (await client.get(f"/v1/programs/{ref}")).json() == program

    with_server(test)


def test_remove() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        await client.post("/v1/programs", params={"name": "hello"}, data=b"echo")
        gone = await client.delete("/v1/programs/hello")
        assert (gone.status, await gone.read()) == (204, b"")
        assert runtime.programs() == []
        again = await client.delete("/v1/programs/hello")
        assert again.status == 404
        assert (await error_of(again))["code"] == "not-found"

    with_server(test)


def test_name_taken_and_bad_names() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        await client.post("/v1/programs", params={"name": "hello"}, data=b"echo")
        taken = await client.post("/v1/programs", params={"name": "hello"}, data=b"fail")
        assert taken.status == 409
        assert (await error_of(taken))["code"] == "exists"
        for name in ("../../etc/passwd", "a/b", "a\x00b", "\U0001f600"):
            bad = await client.post("/v1/programs", params={"name": name}, data=b"fail")
            assert bad.status == 400
            assert (await error_of(bad))["code"] == "invalid"

    with_server(test)


def test_empty_upload_names_the_fix() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        for path in ("/v1/programs", "/v1/run"):
            empty = await client.post(path)
            assert empty.status == 400
            assert "--data-binary" in (await error_of(empty))["hint"]

    with_server(test)


def test_upload_limit_counts_what_the_program_is_decompressed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(param, "MAX_UPLOAD_BYTES", 1000)

    async def chunks() -> object:
        for _ in range(10):
            yield b"x" * 500

    async def test(client: Client, runtime: FakeRuntime) -> None:
        bodies = [
            (b"x" * 1001, {}),
            (gzip.compress(b"x" * 1_000_000), {"Content-Encoding": "gzip"}),
            (chunks(), {}),
        ]
        for body, headers in bodies:
            refused = await client.post("/v1/programs", data=body, headers=headers)
            assert refused.status == 413
            error = await error_of(refused)
            assert error["code"] == "limit-exceeded"
            assert "1000 bytes" in error["message"]
        fits = await client.post("/v1/programs", data=b"x" * 1000)
        assert fits.status == 201
        packed = await client.post("/v1/programs", data=gzip.compress(b"echo"), headers={"Content-Encoding": "gzip"})
        assert (await packed.json())["size"] == 4

    with_server(test)


def test_references_are_names_never_paths() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        for ref in ("..%2f..%2fetc%2fpasswd", "%2Fetc%2Fpasswd", "%00", "%ff%fe", "echo", "a" * 4000):
            for method, path in (("GET", f"/v1/programs/{ref}"), ("POST", f"/v1/programs/{ref}/run")):
                answer = await client.request(method, path)
                assert answer.status in (404, 405), (method, path, answer.status)
                await error_of(answer)
        assert runtime.launched == []

    with_server(test)

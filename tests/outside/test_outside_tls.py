"""Encrypted connections to pinned addresses: the name is what the certificate has to be for, not the address."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest
from aiohttp import connector
from outside_servers import Server, answer, says

from symphony.errors import Unavailable
from symphony.outside import web
from symphony.outside.places import target_of

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a.example, signed by itself; the key is in the same file."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
    ]
    rest = ["2", "-subj", "/CN=a.example", "-addext", "subjectAltName=DNS:a.example", "-keyout", file, "-out", "-"]
    made = subprocess.run([*command, *rest], capture_output=True, check=True, text=True)
    file.write_text(file.read_text() + made.stdout)
    return file


async def asked(name: str, certificate: Path) -> tuple[web.Reply | Unavailable, list[str], list[str | None]]:
    """What comes of asking the server by that name; what it was asked, and what name it was greeted with."""
    greeted: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _, greeting, __: greeted.append(greeting)
    server = Server(says(answer(b"secret")))
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context) as listener:
        target = target_of(f"https://{name}:{listener.sockets[0].getsockname()[1]}/")
        addresses = [ip_address("127.0.0.1")]
        try:
            return (
                await web.exchange("GET", target, addresses=addresses, limit=100, seconds=20.0),
                server.requests,
                greeted,
            )
        except Unavailable as error:
            return error, server.requests, greeted


def test_the_certificate_has_to_be_for_the_name(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusting = ssl.create_default_context(cafile=certificate)
    monkeypatch.setattr(connector, "_SSL_CONTEXT_VERIFIED", trusting)
    reply, (said,), greeted = asyncio.run(asked("a.example", certificate))
    assert isinstance(reply, web.Reply)
    assert reply.body == b"secret"
    assert said.splitlines()[1].startswith("Host: a.example:")
    assert greeted == ["a.example"]
    error, said_then, _ = asyncio.run(asked("b.example", certificate))
    assert "certificate" in str(error).lower()
    assert said_then == []


def test_a_certificate_of_nobody(certificate: Path) -> None:
    error, said, _ = asyncio.run(asked("a.example", certificate))
    assert isinstance(error, Unavailable)
    assert "certificate" in error.message.lower()
    assert said == []

"""Fetching: who may go where, what redirects may do, and what happens at the hands of hostile servers."""

from __future__ import annotations

import asyncio
import gzip
import resource
import threading
import zlib
from collections.abc import Sequence
from ipaddress import ip_address

import outside_servers as servers
import pytest
from outside_servers import answer, run, says, serving

from symphony.errors import Invalid, LimitExceeded, PermissionDenied, SymphonyError, TimedOut, Unavailable
from symphony.outside import fetch as fetching
from symphony.outside import resolver
from symphony.outside.addresses import Address
from symphony.outside.fetch import Answer, Browser, Internet, Request
from symphony.outside.places import place_of, target_of


class Names:
    """A resolver that counts; every name may have other addresses each time."""

    def __init__(self, **names: str | Sequence[str]) -> None:
        self.names = {
            name.replace("_", "."): [found] if isinstance(found, str) else list(found) for name, found in names.items()
        }
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int, tenant: str) -> Sequence[Address]:
        self.asked.append(host)
        answers = self.names.get(host, ["93.184.215.14"])
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [ip_address(each) for each in found.split()]


def browser(*places: str, names: Names | None = None) -> Browser:
    return Browser(Internet(names), [place_of(place) for place in places])


async def ask(client: Browser, url: str, method: str = "GET", *, seconds: float = 20.0, **options: object) -> Answer:
    request = Request(method, target_of(url), options.get("headers", ()), options.get("body"), seconds)  # type: ignore[arg-type]
    running = client.begin(request)
    try:
        return await running.task
    finally:
        running.drop()


# ---- what is granted -------------------------------------------------------------------------------------------------


def test_an_answer_comes_whole() -> None:
    async def main() -> None:
        async with serving(says(answer(b"not here", 404, X_One="1", x_ONE="2"))) as server:
            client = browser(server.url)
            got = await ask(client, f"{server.url}/a?b=c", "PUT", headers=[("X-A", "ä")], body=b"\x00\xff")
            assert (got.url, got.status, got.body) == (f"{server.url}/a?b=c", 404, b"not here")
            assert [value for name, value in got.headers if name == "x-one"] == ["1", "2"]
            (said,) = server.requests
            assert said.startswith("PUT /a?b=c HTTP/1.1\r\n")
            assert f"Host: 127.0.0.1:{server.port}\r\n" in said
            assert "X-A: \u00c3\u00a4\r\n" in said
            assert said.endswith("\r\n\r\n\x00\u00ff")

    run(main())


def test_what_is_not_granted_is_not_even_resolved() -> None:
    names = Names()
    for places in ((), ("https://a.example",), ("http://127.0.0.1:1",)):
        with pytest.raises(PermissionDenied, match="may not fetch from") as e:
            run(ask(browser(*places, names=names), "http://b.example/"))
        assert all(place in e.value.hint for place in places)
    assert names.asked == []


SPELLINGS = (
    "localhost localhost. LOCALHOST 127.1 127.0.1 0 0x0 0.0.0.0 127.0.0.1 127.127.127.127 2130706433 0x7f000001 0x7f.1 "
    "017700000001 0177.0.0.1 0x7f.0x0.0x0.0x1 127.0.0.1. 10.0.0.1 192.168.1.1 172.16.0.1 169.254.169.254 2852039166 "
    "0xa9fea9fe 0251.0376.0251.0376 100.100.100.200 192.0.0.192 168.63.129.16 [::1] [::] [::ffff:127.0.0.1] "
    "[::ffff:7f00:1] [::ffff:169.254.169.254] [::127.0.0.1] [64:ff9b::127.0.0.1] [64:ff9b::a9fe:a9fe] [64:ff9b:1::1] "
    "[2002:7f00:1::] [2001:0:7f00:1::] [fe80::1] [fc00::1] [fd00:ec2::254] [fec0::1] [ff02::1] [::ffff:0:7f00:1] "
    "①②⑦.⓪.⓪.① 127。0。0。1 ⑯⑨.254.169.254 ｌｏｃａｌｈｏｓｔ 169.254.169.254.nip.example 224.0.0.1 255.255.255.255 "
    "198.18.0.1 203.0.113.1 0.0.0.1 100.64.0.1 240.0.0.1 metadata metadata.google.internal instance-data ip6-localhost"
)
"""Of addresses that are inside, and of names that mean them."""


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", SPELLINGS.split())
def test_nothing_inside_is_reached(scheme: str, host: str) -> None:
    """By the system's own resolver where it knows the name as an address; never a connection."""
    inside = Names()
    inside.names = {name: ["127.0.0.1"] for name in ("localhost", "metadata", "metadata.google.internal")}
    inside.names |= {name: ["169.254.169.254"] for name in ("169.254.169.254.nip.example", "instance-data")}
    inside.names |= {"ip6-localhost": ["::1"]}

    async def resolve(name: str, port: int, tenant: str) -> Sequence[Address]:
        if name in inside.names:
            return await inside(name, port, tenant)
        found = await asyncio.get_running_loop().getaddrinfo(name, port, flags=4)  # AI_NUMERICHOST: no network
        return [ip_address(info[4][0]) for info in found]

    client = Browser(_NoWay(resolve), [place_of("http://*"), place_of("https://*")])
    with pytest.raises((PermissionDenied, Invalid)):
        run(ask(client, f"{scheme}://{host}/latest/meta-data/"))


class _NoWay(Internet):
    async def exchange(self, request: Request, target: object, addresses: Sequence[Address]) -> object:  # type: ignore[override]
        raise AssertionError(f"it went out to {addresses}")


@pytest.mark.parametrize(
    "addresses",
    ["127.0.0.1", "8.8.8.8 127.0.0.1", "::1", "2606:4700::1 fe80::1", "::ffff:10.0.0.1", "8.8.8.8 64:ff9b::a00:1"],
)
def test_every_address_of_a_name_is_looked_at(addresses: str) -> None:
    client = Browser(_NoWay(Names(a_example=addresses)), [place_of("a.example")])
    with pytest.raises(PermissionDenied, match="not public"):
        run(ask(client, "https://a.example/"))


def test_a_name_is_resolved_once_and_what_was_checked_is_what_is_connected_to() -> None:
    """A name that means another address a moment later: the connection goes to the first."""
    gone: list[Sequence[Address]] = []

    class Recorded(Internet):
        async def exchange(self, request: Request, target: object, addresses: Sequence[Address]) -> object:  # type: ignore[override]
            gone.append(addresses)
            raise Unavailable("as far as it goes")

    names = Names(a_example=["8.8.8.8", "127.0.0.1"])
    with pytest.raises(Unavailable):
        run(ask(Browser(Recorded(names), [place_of("a.example")]), "https://a.example/"))
    assert names.asked == ["a.example"]
    assert gone == [[ip_address("8.8.8.8")]]


def test_an_address_that_is_written_out_is_meant_and_a_name_that_means_it_is_not() -> None:
    async def main() -> None:
        async with serving(says(answer(b"inside"))) as server:
            names = Names(a_example="127.0.0.1")
            client = browser(server.url, f"http://a.example:{server.port}", f"http://*:{server.port}", names=names)
            assert (await ask(client, server.url)).body == b"inside"
            with pytest.raises(PermissionDenied, match="not public"):
                await ask(client, f"http://a.example:{server.port}/")
            assert len(server.requests) == 1

    run(main())


# ---- redirects -------------------------------------------------------------------------------------------------------


def redirects(*to: str, status: int = 302) -> servers.Handler:
    """One after the other; then `done`."""
    left = list(to)

    async def handler(request: str, writer: asyncio.StreamWriter) -> None:
        said = answer(b"", status, Location=left.pop(0)) if left else answer(b"done")
        writer.write(said.removesuffix(b"done") if request.startswith("HEAD") else said)

    return handler


def test_redirects_are_followed_where_they_may() -> None:
    async def main() -> None:
        async with serving(redirects("/b", "c?d", status=307)) as server:
            got = await ask(browser(server.url), f"{server.url}/a/", "POST", body=b"xyz")
            assert (got.body, got.url) == (b"done", f"{server.url}/c?d")
            assert [said.split(" HTTP")[0] for said in server.requests] == ["POST /a/", "POST /b", "POST /c?d"]
            assert all(said.endswith("xyz") for said in server.requests)

    run(main())


@pytest.mark.parametrize(
    ("status", "method", "becomes"),
    [(301, "POST", "GET"), (302, "POST", "GET"), (303, "PUT", "GET"), (303, "HEAD", "HEAD"), (308, "POST", "POST")],
)
def test_what_a_redirect_does_to_the_method(status: int, method: str, becomes: str) -> None:
    async def main() -> None:
        async with serving(redirects("/b", status=status)) as server:
            await ask(browser(server.url), server.url, method, body=None if method == "HEAD" else b"xyz")
            assert server.requests[1].startswith(f"{becomes} /b ")
            assert server.requests[1].endswith("xyz") == (becomes == "POST")

    run(main())


def test_another_host_does_not_learn_secrets() -> None:
    async def main() -> None:
        async with serving(says(answer(b"done"))) as other:
            async with serving(redirects("/same", f"{other.url}/x")) as server:
                headers = [("Authorization", "Bearer s3cret"), ("cookie", "s3cret"), ("X-Other", "kept")]
                got = await ask(browser(server.url, other.url), server.url, headers=headers)
            assert got.body == b"done"
            assert all("s3cret" in said for said in server.requests)
            (said,) = other.requests
            assert "s3cret" not in said
            assert "X-Other: kept" in said

    run(main())


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:1/",
        "http://10.0.0.1/",
        "http://localhost/",
        "//169.254.169.254/",
        "http://[::1]/",
        "https://b.example/",
    ],
)
def test_a_redirect_is_checked_like_a_request(location: str) -> None:
    async def main() -> None:
        async with serving(redirects(location)) as server:
            with pytest.raises(PermissionDenied):
                await ask(browser(server.url, "http://a.example"), server.url)
            assert len(server.requests) == 1

    run(main())


def test_a_redirect_to_a_public_name_with_a_private_address() -> None:
    async def main() -> None:
        async with serving(redirects("http://a.example/")) as server:
            with pytest.raises(PermissionDenied, match="not public"):
                await ask(browser(server.url, "http://a.example", names=Names(a_example="10.0.0.1")), server.url)

    run(main())


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "http://a b/", "http://[", "http://u@a.example/", "gopher://a/"]
)
def test_a_redirect_to_what_is_no_url(location: str) -> None:
    async def main() -> None:
        async with serving(redirects(location)) as server:
            with pytest.raises((Unavailable, PermissionDenied)):
                await ask(browser(server.url), server.url)

    run(main())


def test_redirects_end() -> None:
    async def main() -> None:
        async with serving(redirects(*["/again"] * 100)) as server:
            with pytest.raises(Unavailable, match="more than 5 times"):
                await ask(browser(server.url), server.url)
            assert len(server.requests) == 6

    run(main())


def test_a_redirect_without_a_place_is_an_answer() -> None:
    async def main() -> None:
        async with serving(says(answer(b"choose", 302))) as server:
            assert (await ask(browser(server.url), server.url)).status == 302

    run(main())


# ---- what a program may send -----------------------------------------------------------------------------------------

BAD_HEADERS = [
    *(
        ("Host", "evil"),
        ("content-length", "5"),
        ("Transfer-Encoding", "chunked"),
        ("connection", "upgrade"),
        ("Upgrade", "h2c"),
    ),
    *(
        ("Proxy-Authorization", "x"),
        ("Expect", "100-continue"),
        ("TE", "trailers"),
        ("", "x"),
        ("a b", "x"),
        ("a:b", "x"),
    ),
    *(("X-A", "b\r\nHost: evil"), ("X-A", "b\nc"), ("X-A", "\x00"), ("X\r\nHost", "evil"), ("X-A", "\x7f"), ("é", "x")),
]


@pytest.mark.parametrize("header", BAD_HEADERS)
def test_headers_that_are_refused(header: tuple[str, str]) -> None:
    with pytest.raises(Invalid):
        run(ask(browser("a.example", names=Names()), "https://a.example/", headers=[header]))


def test_requests_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    client = browser("a.example", names=Names())
    refused: list[dict[str, object]] = [
        {"headers": [("X", "y")] * 65},
        {"headers": [("X", "y" * 16_384)]},
        {"body": b"x" * ((1 << 20) + 1)},
    ]
    for options in refused:
        with pytest.raises(LimitExceeded):
            run(ask(client, "https://a.example/", "POST", **options))  # type: ignore[arg-type]
    for method in ("get", "TRACE", "CONNECT", "GET / HTTP/1.1\r\n", ""):
        with pytest.raises(Invalid, match="method"):
            run(ask(client, "https://a.example/", method))


# ---- hostile servers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", servers.HOSTILE)
def test_hostile_servers(server: str) -> None:
    """Each ends with one of our errors, within its time, and takes no more memory than an answer may."""
    handler, codes = servers.HOSTILE[server]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    async def main() -> tuple[SymphonyError, int]:
        async with serving(handler) as there:
            with pytest.raises(SymphonyError) as e:
                await ask(browser(there.url), there.url, seconds=0.3 if "timed-out" in codes else 20.0)
            return e.value, len(there.requests)

    error, requests = run(main())
    assert error.code in codes.split()
    assert error.message
    assert requests <= 2  # who is cut off before the first byte of an answer may ask again, by the rules of HTTP
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_what_is_packed_is_unpacked() -> None:
    text = b"packed " * 5000
    bare = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = {
        "gzip": gzip.compress(text),
        "x-gzip": gzip.compress(text[:100]) + gzip.compress(text[100:]),
        "deflate": zlib.compress(text),
        "Deflate": bare.compress(text) + bare.flush(),
        "identity": text,
    }

    async def main() -> None:
        for coding, body in packed.items():
            async with serving(says(answer(body, Content_Encoding=coding))) as server:
                assert (await ask(browser(server.url), server.url)).body == text

    run(main())


def test_the_largest_answer_comes_and_one_byte_more_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MAX_FETCH_BYTES", 100_000)

    async def main() -> None:
        for size, coming in ((100_000, True), (100_001, False)):
            for body, headers in ((b"x" * size, {}), (gzip.compress(b"x" * size), {"Content_Encoding": "gzip"})):
                async with serving(says(answer(body, **headers))) as server:
                    if coming:
                        assert len((await ask(browser(server.url), server.url)).body) == size
                    else:
                        with pytest.raises(LimitExceeded, match="more than 100000 bytes"):
                            await ask(browser(server.url), server.url)

    run(main())


def test_a_host_that_is_not_there() -> None:
    async def main() -> None:
        async with serving(servers.silent) as server:
            pass
        with pytest.raises(Unavailable, match="did not answer"):
            await ask(browser(server.url), server.url)

    run(main())


# ---- how many at once ------------------------------------------------------------------------------------------------


def test_six_at_a_time_and_an_answer_that_is_not_taken_counts() -> None:
    async def main() -> None:
        async with serving(says(answer(b"done"))) as server:
            client = browser(server.url)
            running = [client.begin(Request("GET", target_of(server.url), (), None, 20.0)) for _ in range(10)]
            await asyncio.wait([each.task for each in running[:6]])
            await asyncio.sleep(0.05)
            assert [each.task.done() for each in running] == [True] * 6 + [False] * 4
            running[0].drop()
            running[1].drop()
            running[1].drop()
            await asyncio.wait([each.task for each in running[6:8]])
            await asyncio.sleep(0.05)
            assert [each.task.done() for each in running[6:]] == [True, True, False, False]
            for each in running:
                each.drop()
            await asyncio.wait([each.task for each in running])
            assert len(server.requests) == 8
            assert (await ask(client, server.url)).body == b"done"

    run(main())


def test_who_waits_for_a_turn_has_a_time_limit() -> None:
    async def main() -> None:
        async with serving(servers.silent) as server:
            client = browser(server.url)
            running = [client.begin(Request("GET", target_of(server.url), (), None, 20.0)) for _ in range(6)]
            with pytest.raises(TimedOut, match=r"0\.05 s"):
                await ask(client, server.url, seconds=0.05)
            for each in running:
                each.drop()
            await asyncio.wait([each.task for each in running])
            assert server.most <= 6

    run(main())


def test_requests_in_flight_are_bounded() -> None:
    async def main() -> None:
        client = browser("a.example", names=Names())
        request = Request("GET", target_of("https://a.example/"), (), None, 20.0)
        running = [client.begin(request) for _ in range(64)]
        with pytest.raises(LimitExceeded, match="64 requests"):
            client.begin(request)
        for each in running:
            each.drop()
        client.begin(request).drop()
        await asyncio.sleep(0)

    run(main())


def test_all_programs_together_have_so_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MAX_OUTSIDE_CONNECTIONS", 3)

    async def slow(_: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        writer.write(answer(b"done"))

    async def main() -> None:
        async with serving(slow) as server:
            internet = Internet()
            clients = [Browser(internet, [place_of(server.url)], tenant) for tenant in "abcd"]
            await asyncio.gather(*(ask(client, server.url) for client in clients for _ in range(3)))
            assert server.most <= 3
            assert len(server.requests) == 12

    run(main())


def test_a_tenant_has_its_share_of_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MAX_OUTSIDE_PER_TENANT", 2)

    async def behaviour(request: str, writer: asyncio.StreamWriter) -> None:
        await (servers.silent if "/silent" in request else says(answer(b"done")))(request, writer)

    async def main() -> None:
        async with serving(behaviour) as server:
            internet = Internet()
            greedy = [Browser(internet, [place_of(server.url)], "greedy") for _ in range(3)]
            request = Request("GET", target_of(f"{server.url}/silent"), (), None, 20.0)
            running = [client.begin(request) for client in greedy for _ in range(6)]
            other = Browser(internet, [place_of(server.url)], "other")
            assert (await ask(other, server.url)).body == b"done"
            with pytest.raises(TimedOut):
                await ask(greedy[0], server.url, seconds=0.05)
            assert server.open == 2
            for each in running:
                each.drop()
            await asyncio.wait([each.task for each in running])
            assert (await ask(greedy[0], server.url)).body == b"done"

    run(main())


def test_a_name_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds up threads, so many for a tenant; others go on, and theirs too once it lets go."""
    release = threading.Event()

    def look_up(host: str, port: int) -> list[Address]:
        if host == "slow.example":
            release.wait(20)
        if host == "lost.example":
            raise OSError("no such host")
        return [ip_address("8.8.8.8")]

    monkeypatch.setattr(resolver, "_look_up", look_up)
    monkeypatch.setattr(resolver, "MAX_LOOKUPS_PER_TENANT", 3)

    async def main() -> None:
        find = resolver.Resolver()
        slow = [asyncio.ensure_future(find("slow.example", 80, "a")) for _ in range(3)]
        await asyncio.sleep(0.01)
        slow[0].cancel()
        with pytest.raises(Unavailable, match="3 names"):
            await find("quick.example", 80, "a")
        assert await find("quick.example", 80, "b") == [ip_address("8.8.8.8")]
        monkeypatch.setattr(resolver, "MAX_LOOKUPS", 3)
        with pytest.raises(Unavailable, match="3 names"):
            await find("quick.example", 80, "b")
        monkeypatch.setattr(resolver, "MAX_LOOKUPS", 128)
        with pytest.raises(Unavailable, match=r"no host 'lost\.example'"):
            await find("lost.example", 80, "b")
        release.set()
        await asyncio.wait(slow)
        while find._running:  # noqa: ASYNC110 - threads have no events
            await asyncio.sleep(0.001)
        assert await find("quick.example", 80, "a") == [ip_address("8.8.8.8")]

    run(main())


def test_the_system_knows_this_machine() -> None:
    found = run(resolver.Resolver()("localhost", 80, ""))
    assert {str(address) for address in found} & {"127.0.0.1", "::1"}

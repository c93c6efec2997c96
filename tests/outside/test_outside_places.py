"""Places and URLs: what is granted, what is asked for, and what is neither."""

from __future__ import annotations

import pytest

from symphony.errors import Invalid
from symphony.outside.places import place_of, target_of

COVERED = [
    ("https://api.example.com", "https://api.example.com/"),
    ("api.example.com", "https://api.example.com:443/a/b?c=d#e"),
    ("https://API.example.com", "https://api.EXAMPLE.com./x"),
    ("http://api.example.com:8080", "http://api.example.com:8080/"),
    ("https://*.example.com", "https://a.b.example.com/"),
    ("https://bücher.example", "https://xn--bcher-kva.example/"),
    ("https://xn--bcher-kva.example", "https://BÜCHER.example/"),
    ("https://example.com", "https://example。com/"),
    ("https://*", "https://anything.example/"),
    ("*:8443", "https://anything.example:8443/"),
    ("http://127.0.0.1:9000", "http://127.0.0.1:9000/x"),
    ("http://[::1]:9000", "http://[0:0::1]:9000/x"),
]
NOT_COVERED = [
    ("https://api.example.com", "http://api.example.com/"),
    ("https://api.example.com", "https://api.example.com:8443/"),
    ("https://api.example.com", "https://example.com/"),
    ("https://api.example.com", "https://api.example.com.evil.example/"),
    ("https://*.example.com", "https://example.com/"),
    ("https://*.example.com", "https://evilexample.com/"),
    ("https://*.example.com", "https://a.example.com.evil.example/"),
    ("http://127.0.0.1", "http://127.0.0.1:9000/"),
    ("http://127.0.0.1", "http://127.1/"),
    ("http://127.0.0.1", "http://[::ffff:127.0.0.1]/"),
    ("https://example.com", "https://examp1e.com/"),
    ("https://example.com", "https://exаmple.com/"),  # a Cyrillic letter
]
NO_URLS = [
    *("", "/", "example.com", "//example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://a/", "data:,a"),
    *("https:example.com", "https:/example.com", "https://", "https:///path", "https://:443/", "javascript:alert(1)"),
    *("https://user@example.com/", "https://user:secret@example.com/", "https://example.com@127.0.0.1/"),
    *("https://127.0.0.1\\@example.com/", "https://example.com\\.evil.example/", "https://exa mple.com/"),
    *("https://example.com/a b", "https://example.com/\r\nHost: evil", "https://example.com\t/", "https://a\x00b/"),
    *("https://example.com:0/", "https://example.com:65536/", "https://example.com:port/", "https://example.com:/:/"),
    *("https://example..com/", "https://.example.com/", "https://-a.example/", f"https://{'a' * 64}.example/"),
    *(
        f"https://{'a.' * 127}aaaa/",
        "https://[::1/",
        "https://::1/",
        "https://[127.0.0.1]/",
        "https://[fe80::1%25eth0]/",
    ),
    *("https://[v1.a]/", "https://%31%32%37.0.0.1/", "https://exa%6dple.com/", "https://a,b/", "https://a;b/"),
    *("https://①②⑦.⓪.⓪.①@example.com/", "https://\ud800/", f"https://example.com/{'a' * 8000}", "http+unix://a/"),
]
NO_PLACES = [
    *("", "https://example.com/path", "https://example.com?a=b", "ftp://example.com", "https://user@example.com"),
    *(
        "https://*.*.example.com",
        "https://a.*.example.com",
        "https://*example.com",
        "https://*.com",
        "https://*.10.0.0.1",
    ),
    *("http://169.254.169.254", "http://[fe80::1]", "http://0.0.0.0", "http://224.0.0.1", "example.com:99999"),
]


@pytest.mark.parametrize(("place", "url"), COVERED)
def test_covered(place: str, url: str) -> None:
    assert place_of(place).covers(target_of(url))


@pytest.mark.parametrize(("place", "url"), NOT_COVERED)
def test_not_covered(place: str, url: str) -> None:
    assert not place_of(place).covers(target_of(url))


@pytest.mark.parametrize("url", NO_URLS)
def test_no_url(url: str) -> None:
    with pytest.raises(Invalid) as e:
        target_of(url)
    assert e.value.message


@pytest.mark.parametrize("place", NO_PLACES)
def test_no_place(place: str) -> None:
    with pytest.raises(Invalid) as e:
        place_of(place)
    assert e.value.message


def test_a_url_keeps_its_path_and_query_as_they_are() -> None:
    url = "https://example.com/a/../%2e%2E/b;c?q=%zz&é=ü&x=[1]"
    assert target_of(url + "#f").url == "https://example.com/a/../%2e%2E/b;c?q=%zz&%C3%A9=%C3%BC&x=[1]"
    assert target_of("https://example.com?a").url == "https://example.com/?a"


def test_a_place_is_written_as_it_is_meant() -> None:
    for text in ("https://example.com", "http://*.example.com:8080", "https://*", "http://[::1]:9000"):
        assert str(place_of(text)) == text

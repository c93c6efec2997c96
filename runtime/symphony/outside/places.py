"""Places: what an operator lets programs fetch from, and what a URL asks for.

    https://api.example.com         that host, at the scheme's port
    http://api.example.com:8080     another scheme, another port
    https://*.example.com           every host below example.com, not itself
    https://*                       every host of the public Internet
    http://127.0.0.1:9000           an address, even one that is not public: only who writes it out means it

Hosts are compared in lower case and in ASCII (IDNA). Servers differ in what `..` and `%2e` mean in a path, so a place
is a whole host. Knows nothing of names' addresses.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple
from urllib.parse import urlsplit

from symphony.errors import Invalid
from symphony.outside.addresses import literal
from symphony.param import MAX_URL_CHARS

PORTS = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^\[\]:@%\\\s]+)(?::(?P<port>[0-9]{1,5}))?", re.IGNORECASE)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


class Target(NamedTuple):
    """Where a URL leads, and what it asks for there."""

    scheme: str
    host: str
    """In lower case and ASCII; an IPv6 address without brackets."""
    port: int
    path: str
    """With the query, percent-encoded; begins with a slash."""

    @property
    def origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    @property
    def url(self) -> str:
        return f"{self.origin}{self.path}"


class Place(NamedTuple):
    """One entry of an operator's list."""

    scheme: str
    host: str
    """A name, an address, `*.` and a name, or `*`."""
    port: int

    def covers(self, target: Target) -> bool:
        if (self.scheme, self.port) != (target.scheme, target.port):
            return False
        if self.host == "*":
            return True
        if self.host.startswith("*."):
            return target.host.endswith(self.host[1:]) and literal(target.host) is None
        return self.host == target.host

    @property
    def is_address(self) -> bool:
        """Whether it is written out as an address: then that one is meant, whatever it is."""
        return literal(self.host) is not None

    def __str__(self) -> str:
        return Target(self.scheme, self.host, self.port, "").origin


def target_of(url: str) -> Target:
    """Where `url` leads. Raises Invalid: what is wrong with it."""
    if len(url) > MAX_URL_CHARS:
        raise Invalid(f"the URL has {len(url)} characters, at most {MAX_URL_CHARS}")
    if bad := re.search(r"[\x00-\x20\x7f\\\ud800-\udfff]", url):
        raise Invalid(f"the URL has {bad[0]!r} at character {bad.start()}", "percent-encode it")
    try:
        parts = urlsplit(url)
    except ValueError as e:
        raise Invalid(f"{_short(url)} is not a URL: {e}") from None
    scheme, host, port = _authority(url, parts.scheme, parts.netloc)
    query = f"?{parts.query}" if parts.query else ""
    return Target(scheme, host, port, _quoted((parts.path or "/") + query))


def place_of(text: str) -> Place:
    """A place as an operator writes it. Raises Invalid: what is wrong with it."""
    parts = urlsplit(text if "://" in text else f"https://{text}")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise Invalid(f"{text!r} has more than a host", "a place is a scheme, a host and a port: https://example.com")
    host, star = parts.netloc, ""
    if host == "*" or host.startswith("*:"):
        host, star = f"any{host[1:]}", "*"
    elif host.startswith("*."):
        host, star = host[2:], "*."
    scheme, name, port = _authority(text, parts.scheme, host)
    address = literal(name)
    if star == "*.":
        if address is not None or "." not in name:
            raise Invalid(f"{text!r} has a star before {name}", "write *.example.com, a domain of your own choice")
        name = f"*.{name}"
    elif star:
        name = "*"
    if address is not None and (address.is_link_local or address.is_multicast or address.is_unspecified):
        raise Invalid(f"{text!r}: nobody fetches from {address}", "write a host's name, or its own address")
    return Place(scheme, name, port)


def _authority(url: str, scheme: str, netloc: str) -> tuple[str, str, int]:
    scheme = scheme.lower()
    if scheme not in PORTS:
        raise Invalid(f"{_short(url)} has the scheme {scheme!r}", "use https:// or http://")
    if "@" in netloc:
        raise Invalid(f"{_short(url)} has a user name", "send an authorization header instead")
    match = _AUTHORITY.fullmatch(netloc)
    if match is None:
        raise Invalid(f"{_short(url)} has no proper host", "write https://example.com/path")
    port = int(match["port"]) if match["port"] else PORTS[scheme]
    if not 0 < port < 1 << 16:
        raise Invalid(f"{_short(url)} has the port {port}", "use 1 to 65535")
    return scheme, _host(url, match["host"]), port


def _host(url: str, host: str) -> str:
    if host.startswith("["):
        address = literal(host[1:-1])
        if not isinstance(address, IPv6Address):
            raise Invalid(f"{_short(url)} has no proper IPv6 address in brackets")
        return str(address)
    if isinstance(literal(host), IPv4Address):
        return host
    name = (host if host.isascii() else _ascii(url, host)).lower().removesuffix(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise Invalid(f"{_short(url)} has a host that is no name", "write https://example.com/path")
    return name


def _ascii(url: str, host: str) -> str:
    import idna  # tables of half a megabyte, for few hosts

    try:
        return idna.encode(host, uts46=True).decode()
    except idna.IDNAError as e:
        raise Invalid(f"{_short(url)} has a host that is no name: {e}") from None


def _quoted(path: str) -> str:
    """What is not ASCII, as percent-encoded UTF-8; all else as it is."""
    return path if path.isascii() else "".join(c if c.isascii() else _percent(c) for c in path)


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


def _short(url: str) -> str:
    return repr(url if len(url) <= 200 else f"{url[:200]}...")

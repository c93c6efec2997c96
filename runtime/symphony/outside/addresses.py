"""Which addresses are of the public Internet. Pure; resolves nothing.

The networks are those of IANA's registries of special-purpose addresses (RFC 6890 and its successors) that are not, or
not surely, reachable by everybody, multicast (RFC 5771), and one public address that clouds answer from inside the
machine. An address that carries another one is judged by both.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

_NOT_PUBLIC_4: dict[IPv4Network, str] = {
    IPv4Network(text): why
    for text, why in {
        "0.0.0.0/8": "this network",
        "10.0.0.0/8": "private",
        "100.64.0.0/10": "shared with a provider",
        "127.0.0.0/8": "loopback",
        "168.63.129.16/32": "a cloud's metadata",
        "169.254.0.0/16": "link-local, where clouds keep their metadata",
        "172.16.0.0/12": "private",
        "192.0.0.0/24": "set aside for protocols",
        "192.0.2.0/24": "for documentation",
        "192.31.196.0/24": "set aside for name servers",
        "192.52.193.0/24": "set aside for multicast relays",
        "192.88.99.0/24": "a relay of 6to4",
        "192.168.0.0/16": "private",
        "192.175.48.0/24": "set aside for name servers",
        "198.18.0.0/15": "for benchmarks",
        "198.51.100.0/24": "for documentation",
        "203.0.113.0/24": "for documentation",
        "224.0.0.0/4": "multicast",
        "240.0.0.0/4": "reserved",
    }.items()
}
_PUBLIC_6 = IPv6Network("2000::/3")
"""All that IANA has given out so far..."""
_NOT_PUBLIC_6: dict[IPv6Network, str] = {
    IPv6Network(text): why
    for text, why in {
        "2001::/23": "set aside for protocols (Teredo among them)",
        "2001:db8::/32": "for documentation",
        "2002::/16": "6to4, which carries an IPv4 address",
        "2620:4f:8000::/48": "set aside for name servers",
        "3fff::/20": "for documentation",
    }.items()
}
"""...but for these."""
_NAT64 = IPv6Network("64:ff9b::/96")
"""How a network without IPv4 writes every IPv4 address."""
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)
"""The third quarter of an address whose last one is an IPv4 address."""


def problem(address: Address) -> str:
    """Why the address is not one of the public Internet; empty if it is."""
    if isinstance(address, IPv4Address):
        return next((why for network, why in _NOT_PUBLIC_4.items() if address in network), "")
    if address.scope_id is not None:
        return "of one link only"
    low = IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.ipv4_mapped is not None or address in _NAT64:
        return problem(low)
    if address not in _PUBLIC_6:
        return _special_6(address)
    if int(address) >> 32 & 0xFFFF_FFFF in _ISATAP and (why := problem(low)):
        return why
    return next((why for network, why in _NOT_PUBLIC_6.items() if address in network), "")


def _special_6(address: IPv6Address) -> str:
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast:
        return "multicast"
    return "private" if address.is_private else "reserved"


def literal(host: str) -> Address | None:
    """The address that `host` is, in its one canonical spelling (an IPv6 one without brackets); None if it is a name.

    Other spellings that systems take for addresses (`127.1`, `0x7f000001`) are names here: whoever resolves them gets
    addresses, and checks those.
    """
    try:
        return ip_address(host)
    except ValueError:
        return None

"""Which addresses are asked: a URL understood, and a resolved address judged.

Rules: a URL is parsed once, here, strictly, and put together anew from its parts, so that no two parsers can see two hosts in it. A host is a
name of plain labels or an address in its one canonical form; every other way to write an address (decimal, octal, hexadecimal, with a
zone) is refused. An address is judged by lists: what is not in the public part of the address space is refused, and so are the
forms that carry another address inside. Nothing is looked up here.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import AF_INET6, inet_ntop
from urllib.parse import quote, urljoin

from msgspec import Struct

from quell.core.errors import WebRefused

LONGEST = 8192
"""Characters of a URL."""

_URL = r"(?s)([A-Za-z][A-Za-z0-9+.-]*):(//)?([^/?#\\]*)([^#]*)(?:#.*)?"
_AUTHORITY = r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]{0,5}))?"
_NAME = r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*"
_NUMERIC = r"(?:[0-9]+|0x[0-9a-f]*)"
_UNSAFE = r"[\x00-\x20\x7f]"
_SAFE = "%/?:@!$&'()*+,;=~-._[]|"
_PORTS = {"http": 80, "https": 443}

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Unreachable(WebRefused):
    """No connection: another address of the same name may work."""


class Target(Struct, frozen=True):
    """A URL in its parts. `host` is without brackets, `rest` the path with its query."""

    scheme: str
    host: str
    port: int
    rest: str

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.rest}"


def parse(url: str) -> Target:
    """Raises `WebRefused`."""
    url = url.strip()
    shown = _shown(url)
    if not url:
        raise WebRefused("The URL is empty.")
    if len(url) > LONGEST:
        raise WebRefused(f"The URL is longer than {LONGEST:,} characters.")
    found = re.fullmatch(_URL, url)
    if found is None or (not found[2] and found[3].isdecimal()):  # host:port/…
        raise WebRefused(f"{shown} is not a whole URL: it has to begin with https:// or http://.")
    scheme, rest = found[1].lower(), found[4]
    if scheme not in _PORTS:
        raise WebRefused(f"{shown} is not fetched: only https:// and http:// are. For files there is `view`.")
    if not found[2] or not found[3]:
        raise WebRefused(f"{shown} names no host.")
    if re.search(_UNSAFE, url) or "\\" in found[3] + rest[:1]:
        raise WebRefused(f"{shown} has a blank, a control character or a backslash in it: percent-encode it.")
    if "@" in found[3]:
        raise WebRefused("A URL with a user name or a password in it is not fetched. Leave out what is before the `@`.")
    authority = re.fullmatch(_AUTHORITY, found[3])
    if authority is None:
        raise WebRefused(f"{shown} has no valid host and port.")
    port = int(authority[2]) if authority[2] else _PORTS[scheme]
    if not 0 < port < 65536:
        raise WebRefused(f"{shown} has no valid port.")
    return Target(scheme, _host(authority[1]), port, _rest(rest))


def follow(target: Target, location: str) -> Target:
    """Where a redirect leads. Raises `WebRefused`."""
    try:
        return parse(urljoin(target.url, location.strip().replace(" ", "%20")))
    except (WebRefused, ValueError) as refusal:
        raise WebRefused(f"{target.url} redirects to what is not asked for. {refusal}") from None


def _shown(url: str) -> str:
    return ascii(url if len(url) <= 200 else url[:200] + "...")


def _rest(rest: str) -> str:
    try:
        quoted = quote(rest, safe=_SAFE)
    except UnicodeEncodeError:
        raise WebRefused("The URL has half a character (a lone surrogate) in it.") from None
    return quoted if quoted.startswith("/") else "/" + quoted


def _host(written: str) -> str:
    if written.startswith("["):
        return _six(written[1:-1])
    name = written.lower() if written.isascii() else _encoded(written)
    name = name.removesuffix(".")
    if not re.fullmatch(_NAME, name):
        raise WebRefused(f"{_shown(written)} is not the name of a host.")
    if not re.fullmatch(_NUMERIC, name.rpartition(".")[2]):
        return name
    try:
        return str(IPv4Address(name))
    except ValueError:
        raise WebRefused(
            f"{_shown(written)} is not a name, nor an address in the usual form of four decimal numbers."
        ) from None


def _six(literal: str) -> str:
    if "%" in literal:
        raise WebRefused("An address with a zone (`%`) is of a local network and is not asked.")
    try:
        packed = IPv6Address(literal).packed
    except ValueError:
        raise WebRefused(f"{_shown(literal)} is not an IPv6 address.") from None
    return inet_ntop(AF_INET6, packed)  # one name whatever the version of Python, because rules are written with it


def _encoded(name: str) -> str:
    """As it is looked up, and as it is shown to people: letters that look like others are visible in that form."""
    import idna

    try:
        return idna.encode(name, uts46=True, std3_rules=True).decode()
    except UnicodeError:  # what idna raises is one
        raise WebRefused(f"{_shown(name)} is not the name of a host.") from None


# Which addresses are not asked

_CLOSED: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "an unspecified address"),
    ("10.0.0.0/8", "an address of a private network"),
    ("100.64.0.0/10", "an address of a carrier's network"),
    ("127.0.0.0/8", "this machine"),
    ("169.254.0.0/16", "a link-local address"),
    ("172.16.0.0/12", "an address of a private network"),
    ("192.0.0.0/24", "a reserved address"),
    ("192.0.2.0/24", "an address for documentation"),
    ("192.88.99.0/24", "a relay of 6to4"),
    ("192.168.0.0/16", "an address of a private network"),
    ("198.18.0.0/15", "an address for benchmarks"),
    ("198.51.100.0/24", "an address for documentation"),
    ("203.0.113.0/24", "an address for documentation"),
    ("224.0.0.0/4", "a multicast address"),
    ("240.0.0.0/4", "a reserved address"),
    ("::/128", "an unspecified address"),
    ("::1/128", "this machine"),
    ("::ffff:0:0/96", "an IPv4 address in another form"),
    ("64:ff9b::/96", "an IPv4 address in another form (NAT64)"),
    ("fc00::/7", "an address of a private network"),
    ("fe80::/10", "a link-local address"),
    ("ff00::/8", "a multicast address"),
    ("2001::/32", "an IPv4 address in another form (Teredo)"),
    ("2001::/23", "a reserved address"),
    ("2001:db8::/32", "an address for documentation"),
    ("2002::/16", "an IPv4 address in another form (6to4)"),
    ("3fff::/20", "an address for documentation"),
)
_CLOSED_NETWORKS = tuple((ip_network(network), what) for network, what in _CLOSED)
_SIX_NETWORK = 64
_PUBLIC_SIX = IPv6Network("2000::/3")
_METADATA = frozenset(
    ip_address(each)
    for each in (
        "169.254.169.254",
        "169.254.0.23",
        "169.254.42.42",
        "169.254.170.2",
        "169.254.170.23",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fd00:42::42",
        "fe80::a9fe:a9fe",
    )
)
"""Where clouds hand credentials to whoever asks on the machine. Some are public addresses."""


class Allowed:
    """What the settings open: host names, addresses and networks. What is none of these opens nothing."""

    def __init__(self, entries: tuple[str, ...]) -> None:
        self._names: set[str] = set()
        self._networks: set[Network] = set()
        for entry in filter(None, entries):
            text = entry.strip().lower().removeprefix("[").removesuffix("]")
            try:
                self._networks.add(ip_network(text, strict=False))
            except ValueError:
                self._names.add(text.removesuffix("."))

    def has_name(self, host: str) -> bool:
        return host in self._names

    def has(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def has_exactly(self, address: Address) -> bool:
        return ip_network(address) in self._networks


def why_not(address: str, host: str, allowed: Allowed, source: str | None = None) -> str | None:
    """What the address is that keeps `host` from being asked there; None when it may be.

    `source` is the address that this machine would ask from, if it has a way there. By that one knows its own public addresses, and in IPv6, where each
    network is a /64, those of its neighbours, which trust the network as much as if they were private.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return "no address"
    if isinstance(found, IPv6Address) and found.scope_id is not None:
        return "an address of a local network"
    inner = _inside(found)
    if any(each in _METADATA and not allowed.has_exactly(each) for each in (found, inner) if each is not None):
        return "a metadata service, which hands out credentials"
    if inner is not None:  # both have to be open: what it is, and what it leads to
        return _closed(found, None, allowed) or _closed(inner, host, allowed)
    if source is not None and not (allowed.has(found) or allowed.has_name(host)):
        from_here = ip_address(source)
        if found == from_here:
            return "this machine"
        if isinstance(found, IPv6Address) and found in ip_network((int(from_here), _SIX_NETWORK), strict=False):
            return "an address of this machine's own network"
    return _closed(found, host, allowed)


def _closed(address: Address, host: str | None, allowed: Allowed) -> str | None:
    if allowed.has(address) or (host is not None and allowed.has_name(host)):
        return None
    for network, what in _CLOSED_NETWORKS:
        if address in network:
            return what
    if isinstance(address, IPv6Address) and address not in _PUBLIC_SIX:
        return "a reserved address"
    return None


def _inside(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    low = int(address) & 0xFFFFFFFF
    prefix = int(address) >> 32
    return IPv4Address(low) if prefix == 0x0064FF9B << 64 or (prefix == 0 and low > 1) else None


def is_address(host: str) -> bool:
    """Of a parsed host."""
    return ":" in host or re.fullmatch(_NUMERIC, host.rpartition(".")[2]) is not None

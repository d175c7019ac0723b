"""URLs that are made to be misunderstood, and addresses that are not what they look like."""

from __future__ import annotations

import pytest

from quell.core.errors import WebRefused
from quell.web.addresses import Allowed, parse, why_not

# URLs


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "empty"),
        ("example.org/x", "begin with https://"),
        ("localhost:8000/x", "begin with https://"),
        ("//example.org/x", "begin with https://"),
        ("file:///etc/passwd", "only https:// and http://"),
        ("gopher://127.0.0.1:70/_x", "only https:// and http://"),
        ("ftp://example.org/", "only https:// and http://"),
        ("javascript:alert(1)", "only https:// and http://"),
        ("data:text/plain,x", "only https:// and http://"),
        ("unix:///var/run/docker.sock", "only https:// and http://"),
        ("http:///x", "names no host"),
        ("http:example.org", "names no host"),
        ("http:/example.org", "names no host"),
        ("http://user:secret@example.org/", "user name"),
        ("http://example.org@127.0.0.1/", "user name"),
        ("http://127.0.0.1:80@example.org/", "user name"),
        ("http://example.org\\@127.0.0.1/", "backslash"),
        ("http://example.org\\.evil.org/", "backslash"),
        ("http://exa mple.org/", "blank"),
        ("http://example.org/a b", "blank"),
        ("http://example.org/\r\nHost: evil.org", "control character"),
        ("http://example.org\t/", "control character"),
        ("http://exam\x00ple.org/", "control character"),
        ("http://example.org:0/", "no valid port"),
        ("http://example.org:65536/", "no valid port"),
        ("http://example.org:http/", "no valid host and port"),
        ("http://example.org:80:80/", "no valid host and port"),
        ("http://[::1/", "no valid host and port"),
        ("http://[::1]x/", "no valid host and port"),
        ("http://[fe80::1%25eth0]/", "zone"),
        ("http://[fe80::1%eth0]/", "zone"),
        ("http://[::g]/", "not an IPv6 address"),
        ("http://2130706433/", "four decimal numbers"),
        ("http://017700000001/", "four decimal numbers"),
        ("http://0177.0.0.1/", "four decimal numbers"),
        ("http://0x7f000001/", "four decimal numbers"),
        ("http://0x7f.0.0.1/", "four decimal numbers"),
        ("http://127.0.0.0x1/", "four decimal numbers"),
        ("http://127.1/", "four decimal numbers"),
        ("http://1.2.3.4.5/", "four decimal numbers"),
        ("http://127.0.0.1../", "not the name of a host"),
        ("http://127%2e0.0.1/", "not the name of a host"),
        ("http://example..org/", "not the name of a host"),
        ("http://exam!ple.org/", "not the name of a host"),
        ("http://ex\u2024\u2024ample.org/", "not the name of a host"),
        ("http://" + "a" * 64 + ".org/", "not the name of a host"),
        ("http://example.org/" + "x" * 9000, "longer than"),
        ("http://example.org/\ud800", "surrogate"),
        ("http://\ud800.org/", "not the name of a host"),
    ],
)
def test_urls_that_are_not_asked(url: str, says: str) -> None:
    with pytest.raises(WebRefused) as caught:
        parse(url)
    assert says in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("url", "host", "asked"),
    [
        ("HTTPS://Example.ORG", "example.org", "https://example.org/"),
        (" https://example.org./a/../b?q=1#part ", "example.org", "https://example.org/a/../b?q=1"),
        ("http://example.org:80?q=ü", "example.org", "http://example.org/?q=%C3%BC"),
        ("https://example.org:8443/%41", "example.org:8443", "https://example.org:8443/%41"),
        ("http://localhost./", "localhost", "http://localhost/"),
        ("https://bücher.example/", "xn--bcher-kva.example", "https://xn--bcher-kva.example/"),
        ("https://аpple.com/", "xn--pple-43d.com", "https://xn--pple-43d.com/"),  # the first letter is Cyrillic
        ("http://１２７.0.0.1/", "127.0.0.1", "http://127.0.0.1/"),
        ("http://127。0。0。1/", "127.0.0.1", "http://127.0.0.1/"),
        ("http://[0:0::1]:8080/x", "[::1]:8080", "http://[::1]:8080/x"),
        ("http://[::ffff:7f00:1]/", "[::ffff:127.0.0.1]", "http://[::ffff:127.0.0.1]/"),
        ("http://example.org/a\\b", "example.org", "http://example.org/a%5Cb"),
        (
            "https://example.org/x?u=http://user@other.org/",
            "example.org",
            "https://example.org/x?u=http://user@other.org/",
        ),
    ],
)
def test_urls_are_understood_in_one_way(url: str, host: str, asked: str) -> None:
    found = parse(url)
    assert (found.netloc, found.url) == (host, asked)
    assert parse(found.url).url == asked


# Addresses

PRIVATE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
    "100.100.100.200",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "4000::1",
    "nonsense",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public(address: str) -> None:
    assert why_not(address, "a.org", Allowed(()))
    assert why_not(address, "a.org", Allowed(("b.org", "nonsense/99", "")))


@pytest.mark.parametrize(
    ("address", "source", "is_ours"),
    [
        ("93.184.215.14", "93.184.215.14", True),
        ("93.184.215.14", "93.184.215.15", False),
        ("93.184.215.14", "192.168.0.7", False),
        ("93.184.215.14", None, False),
        ("2a00:1:2:3::9", "2a00:1:2:3::9", True),
        ("2a00:1:2:3:a:b:c:d", "2a00:1:2:3::9", True),
        ("2a00:1:2:4::9", "2a00:1:2:3::9", False),
        ("2606:4700::1111", "fd00::1", False),
    ],
)
def test_public_addresses_of_this_machine_and_its_network_are_not_public_from_here(
    address: str, source: str | None, is_ours: bool
) -> None:
    """Who answers for a name knows the address that we asked from, and could send us back to it, past the firewall."""
    assert bool(why_not(address, "a.org", Allowed(()), source)) == is_ours
    for open in (address, "a.org", "0.0.0.0/0" if "." in address else "::/0"):
        assert why_not(address, "a.org", Allowed((open,)), source) is None


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.215.14", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"]
)
def test_addresses_that_are_public(address: str) -> None:
    assert why_not(address, "a.org", Allowed(())) is None


@pytest.mark.parametrize(
    ("address", "allow", "open"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.4", False),
        ("10.1.2.3", "a.org", True),
        ("10.1.2.3", "A.org.", True),
        ("10.1.2.3", "b.org", False),
        ("::1", "[::1]", True),
        ("fd00::1", "fd00::/8", True),
        ("::ffff:10.1.2.3", "10.0.0.0/8", False),
        ("::ffff:10.1.2.3", "a.org", False),
        ("::ffff:10.1.2.3", "10.0.0.0/8 ::ffff:0:0/96", True),
        ("64:ff9b::808:808", "64:ff9b::/96", True),
        ("64:ff9b::7f00:1", "64:ff9b::/96", False),
        ("2002:7f00:1::1", "2002::/16", False),
        ("169.254.169.254", "169.254.0.0/16", False),
        ("169.254.169.254", "0.0.0.0/0", False),
        ("169.254.169.254", "a.org", False),
        ("169.254.169.254", "169.254.169.254", True),
        ("169.254.42.42", "169.254.0.0/16", False),
        ("fe80::a9fe:a9fe", "fe80::/10", False),
        ("fd00:ec2::254", "::/0", False),
        ("::ffff:169.254.169.254", "::/0 0.0.0.0/0", False),
    ],
)
def test_what_the_settings_open(address: str, allow: str, open: bool) -> None:
    assert (why_not(address, "a.org", Allowed(tuple(allow.split()))) is None) == open

"""Public IP addresses. Versions, section numbers, network addresses and reserved ranges are left alone."""

from __future__ import annotations

import ipaddress
import re

# Not the beginning of a host name (1.0.0.127.in-addr.arpa); what begins with a capital is the next sentence.
_IPV4 = re.compile(rb"(?<![\w.\-])\d{1,3}(?:\.\d{1,3}){3}(?![\w\-]|\.(?:[a-z\d_*]|IN-ADDR))")
# The blocks that are given out (IANA IPv6 unicast assignments): 2001, 2002, 2003, 2400 to 241f and so on.
_IPV6 = re.compile(
    rb"(?<![\w:.\-])(?:200[123]|24[01]\w|26[0-3]\w|28[01]\w|2a[01]\w|2c0\w):[0-9A-Fa-f:]{1,34}(?![\w:])", re.I
)
_NOT_AN_ADDRESS = re.compile(
    rb"(?:(?<![A-Za-z])(?:v|versions?|vers?|releases?|rev|revision|build|update|patch|firmware|driver|software|oid|section"
    rb"|sect?|chapter|clause|paragraph|figure|fig|table|appendix|step|item|article|rule|since|upgrad\w{1,3}|asn\.?1"
    rb"|abschnitt|kapitel|versione|versi\xc3\xb3n|secci\xc3\xb3n)(?:[ _](?:is|no|number))?[\s.:=(>_\"']{0,6}v?"
    rb"|[=~^<>!]=\s?|[<>~^\xa7]\s?)\Z",
    re.I,
)
_PRODUCT = re.compile(rb"(?:^|[\s(;,\"'])[A-Za-z][A-Za-z0-9_+\-]{0,30}/\Z")  # Chrome/120.0.6099.1
_ADDRESS_WORD = re.compile(
    rb"(?<![A-Za-z])(?:ips?|ip_?addr\w{0,4}|ipv4|addr|addresse?s?|hosts?|dns|resolvers?|nameservers?|ping|peer|gateway|whois"
    rb"|traceroute|banned|blocked|adresse?n?|direcci\xc3\xb3n)(?:[^\w\n<>\[\]{}]{1,3}(?:is|at|of|for|to|was|addresse?s?|and|ist))?"
    rb"[^\w\n<>\[\]{}]{1,4}\Z",
    re.I,
)
_RESOLVERS = frozenset(b"1.1.1.1 8.8.8.8 8.8.4.4 9.9.9.9 4.2.2.2 4.2.2.1".split())
_HEADING = re.compile(rb"(?:^|\n)[^\w\n]{0,16}\Z")  # the number of a section begins its line
_SMALL = 64  # numbers of versions and sections are small; an address with only small ones needs a word before it
_SMALL_HEADING = 100

# Not globally reachable (IANA special-purpose registries). A list of our own: Python's changes with its version.
_RESERVED_RANGES = """
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24
192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/3 2001::/23 2001:db8::/32
"""
_RESERVED = [ipaddress.ip_network(each) for each in _RESERVED_RANGES.split()]
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")


def ipv4_at(text: bytes, place: int) -> tuple[int, int] | None:
    """The address whose first group of digits is at text[place]."""
    match = _IPV4.match(text, place)
    if not match:
        return None
    groups = [int(group) for group in match[0].split(b".")]
    address = _parsed(match[0])
    if not isinstance(address, ipaddress.IPv4Address) or not _public(address) or groups[3] == 0:
        return None  # …0 names a network, or is a version
    before = text[max(0, place - 32) : place].replace(b"\xc2\xa0", b" ")
    after = text[match.end() : match.end() + 2]
    if match[0] not in _RESOLVERS and _is_numbering(groups, before, after):
        return None
    if _NOT_AN_ADDRESS.search(before) or _PRODUCT.search(before):
        return None
    return match.span()


def _is_numbering(groups: list[int], before: bytes, after: bytes) -> bool:
    """Whether four small numbers are more likely a section, a version or an object identifier than an address."""
    heading = _HEADING.search(before) is not None
    if heading and max(groups[:3]) < _SMALL_HEADING:
        return after == b". " or (after[:1] in b" \n" and max(groups) < _SMALL_HEADING) or max(groups) < _SMALL
    identifier = groups[0] < 3 and groups[1] < 40  # of an object, such as 2.5.4.97
    if max(groups) >= _SMALL and not identifier:
        return False
    port = after[:1] == b":" and after[1:].isdigit()
    return heading or not (port or before.endswith(b"//") or _ADDRESS_WORD.search(before))


def ipv6_at(text: bytes, place: int) -> tuple[int, int] | None:
    """The address that begins at text[place]."""
    match = _IPV6.match(text, place)
    address = _parsed(match[0]) if match else None
    if not match or not isinstance(address, ipaddress.IPv6Address) or not _public(address):
        return None
    if int(address) & 0xFFFF_FFFF_FFFF_FFFF == 0:
        return None  # a network
    if address in _SIX_TO_FOUR and not (address.sixtofour and _public(address.sixtofour)):
        return None
    return match.span()


def _public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return not any(address in network for network in _RESERVED)


def _parsed(address: bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(address.decode())
    except ValueError:
        return None

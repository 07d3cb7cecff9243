"""Which IP addresses are public: `ipaddress.is_global` alone lets several ways to private ones through."""

from __future__ import annotations

import ipaddress
from typing import TypeAlias

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "169.254.42.42",
            "169.254.0.23",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd00:42::42",
            "fd20:ce::254",
        ),
    )
)
"""Where clouds hand out credentials to whoever asks from inside."""

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_TEREDO = ipaddress.IPv6Network("2001::/32")
_ISATAP = (0x00005EFE, 0x02005EFE)


def is_public(text: str) -> bool:
    """Whether an address is one of the open internet, with those inside it."""
    address = _read(text)
    return address is not None and not _is_metadata(address) and _is_public(address)


def is_metadata(text: str) -> bool:
    """Whether an address, or one inside it, is a cloud's own; nobody may go there. Also true of a zone."""
    address = _read(text)
    return address is None or _is_metadata(address)


def _read(text: str) -> _Address | None:
    try:
        return None if "%" in text else ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_metadata(address: _Address) -> bool:
    return any(one in _METADATA for one in (address, *_embedded(address)))


def _is_public(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast and not address.is_reserved
    inside = _embedded(address)
    if address.ipv4_mapped or address in _NAT64:
        return all(_is_public(one) for one in inside)
    plain = address in _GLOBAL_UNICAST and address not in _TEREDO and address.is_global
    return plain and all(_is_public(one) for one in inside)


def _embedded(address: _Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address may lead to."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    number = int(address)
    found = [one for one in (address.ipv4_mapped, address.sixtofour, *(address.teredo or ())) if one]
    if address in _NAT64 or address in _NAT64_LOCAL or address in _COMPATIBLE:
        found.append(ipaddress.IPv4Address(number & 0xFFFFFFFF))
    if number >> 32 & 0xFFFFFFFF in _ISATAP:
        found.append(ipaddress.IPv4Address(number & 0xFFFFFFFF))
    if address in _NAT64_LOCAL:  # RFC 6052 leaves out bits 64 to 71 of a /48 prefix
        found.append(ipaddress.IPv4Address((number >> 64 & 0xFFFF) << 16 | (number >> 40 & 0xFFFF)))
    return found

"""Hosts, and the entries of `allowed_domains` and `blocked_domains` that cover them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

WEB_PORTS = frozenset({80, 443})
"""The ports that need not be written."""

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_WITH_PORT = re.compile(r"(.*):([0-9]{1,5})", re.DOTALL)
_MAX_HOST_CHARACTERS = 253


@dataclass(frozen=True)
class Host:
    """A host as it is looked up: in lower case, in ASCII, without a dot at its end.

    Attributes:
        name: The name, or the address in its shortest form, without brackets.
        is_address: Whether it is an IP address.
    """

    name: str
    is_address: bool = False

    def __str__(self) -> str:
        """The host as it stands in a URL."""
        return f"[{self.name}]" if ":" in self.name else self.name


@dataclass(frozen=True)
class Site:
    """An entry of `allowed_domains` or `blocked_domains`.

    Attributes:
        port: The one port that was written, or `None`.
    """

    host: Host
    port: int | None = None

    def covers(self, host: Host, port: int) -> bool:
        """Whether the entry allows a host at a port: itself and its sub-domains; an address only itself."""
        right_port = port in WEB_PORTS if self.port is None else port == self.port
        return right_port and self.includes(host)

    def includes(self, host: Host) -> bool:
        """Whether the entry speaks of a host, at whatever port."""
        if host.is_address or self.host.is_address:
            return host == self.host
        return host == self.host or host.name.endswith(f".{self.host.name}")

    def names(self, host: Host, port: int) -> bool:
        """Whether host and port are written in the entry, and not only covered by it."""
        return self.port == port and host == self.host


def read_host(text: str) -> Host:
    """Gives the host that `text` is in a URL.

    Raises:
        ValueError: If it is none, or one that parsers read in different ways.
    """
    if text.startswith("["):
        if not text.endswith("]") or "%" in text:
            raise ValueError("it is no host")
        return Host(str(ipaddress.IPv6Address(text[1:-1])), is_address=True)
    name = (text if text.isascii() else _ascii(text)).lower()
    name = name[:-1] if name.endswith(".") else name
    labels = name.split(".")
    if len(name) > _MAX_HOST_CHARACTERS or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("it is no host name")
    if _NUMBER.fullmatch(labels[-1]):  # browsers read any such host as an address: 0x7f.1 is 127.0.0.1
        if not text.isascii():
            raise ValueError("it is an address in other digits")
        return Host(str(ipaddress.IPv4Address(name)), is_address=True)
    for label in labels:
        if label.startswith("xn--"):
            _check_punycode(label)
    return Host(name)


def _ascii(text: str) -> str:
    import idna

    try:
        return idna.encode(text, uts46=True, std3_rules=True).decode()
    except (idna.IDNAError, UnicodeError) as exc:
        raise ValueError("it is no international host name") from exc


def _check_punycode(label: str) -> None:
    import idna

    try:
        again = idna.alabel(idna.ulabel(label)).decode()
    except (idna.IDNAError, UnicodeError) as exc:
        raise ValueError(f"{label!r} spells no international name") from exc
    if again != label:
        raise ValueError(f"{label!r} spells {again!r}")


def read_site(text: str) -> Site:
    """Gives the entry that `text` is: a host, or `host:port`.

    Raises:
        ValueError: If it is neither; the message says what to write.
    """
    with_port = _WITH_PORT.fullmatch(text)
    written, port = (with_port[1], int(with_port[2])) if with_port else (text, None)
    if port is not None and not 0 < port < 65536:
        raise ValueError(f"{text!r} has no port between 1 and 65535")
    try:
        host = read_host(written)
    except ValueError as exc:
        raise ValueError(
            f"{text!r} is no host; write 'example.org', which includes its sub-domains, or 'example.org:8080'"
        ) from exc
    return Site(host, port)

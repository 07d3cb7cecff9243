"""URLs as the web tools take them: one reading for each, and none for what parsers read in different ways."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote, urlsplit

from ..domains import Host, read_host
from ..texts import one_line
from .refusals import WebRefused

MAX_URL_CHARACTERS = 8_000

_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"(https?)://([^/?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]{0,5}))?")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\\\u200b-\u200f\u2028-\u202f\u2060\u3000\ufeff]")
_ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_KEPT = "/%:@!$&'()*+,;=~-._[]"


@dataclass(frozen=True)
class Target:
    """What is asked for, and of whom.

    Attributes:
        path: Path and query, in ASCII.
    """

    scheme: str
    host: Host
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The host, with the port where it is not the scheme's own."""
        return str(self.host) if self.port == _PORTS[self.scheme] else f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        """The URL without its path."""
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        """The URL, without a fragment."""
        return self.origin + self.path

    def at(self, path: str) -> Target:
        """Gives another path of the same host."""
        return Target(self.scheme, self.host, self.port, path)


def read_url(text: str) -> Target:
    """Gives what `text` asks for.

    Raises:
        WebRefused: If it is not a whole http or https URL with a plain host, or can be read in two ways.
    """
    shown = one_line(repr(text), 120)
    found = None if len(text) > MAX_URL_CHARACTERS or _FORBIDDEN.search(text) else _URL.fullmatch(text)
    if found is None:
        raise WebRefused(
            f"{shown} is not a URL that can be fetched. Give a whole one, for example https://example.org/page."
        )
    scheme, authority, path, query = found[1].lower(), found[2], found[3], found[4] or ""
    if "@" in authority:
        raise WebRefused(f"{shown} holds a user name; a URL must not.")
    parts = _AUTHORITY.fullmatch(authority)
    try:
        if parts is None:
            raise ValueError("its host cannot be read")
        host = read_host(parts[1])
        port = int(parts[2]) if parts[2] else _PORTS[scheme]
        if not 0 < port < 65536:
            raise ValueError("there is no such port")
        _refuse_other_readings(text, scheme, host, port)
        return Target(scheme, host, port, _normal_path(path) + _escaped(query, "?"))
    except ValueError as exc:
        raise WebRefused(f"{shown} is refused: {exc}.") from None


def follow(target: Target, location: str) -> Target:
    """Gives where a redirect or a link leads.

    Raises:
        WebRefused: As `read_url` does.
    """
    if _FORBIDDEN.search(location):
        raise WebRefused(f"{one_line(repr(location), 120)} is not a URL that can be followed.")
    if location.startswith("//"):
        return read_url(f"{target.scheme}:{location}")
    if _SCHEME.match(location):
        return read_url(location)
    path = target.path.partition("?")[0]
    if location.startswith("/"):
        path = location
    elif location.startswith("?"):
        path += location
    elif location and not location.startswith("#"):
        path = path.rpartition("/")[0] + "/" + location
    else:
        path = target.path
    return read_url(target.origin + path)


def _normal_path(path: str) -> str:
    """Gives the path without `.` and `..`, so that robots.txt is asked about the one that is fetched."""
    kept: list[str] = []
    segments = _escaped(path or "/", "").split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments and segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _escaped(text: str, also_kept: str) -> str:
    """Gives `text` in ASCII; escapes that nothing needs are undone."""

    def plain(found: re.Match[str]) -> str:
        character = chr(int(found[1], 16))
        return character if character in _UNRESERVED else f"%{found[1].upper()}"

    return quote(_ESCAPED.sub(plain, text), safe=_KEPT + also_kept)


def _refuse_other_readings(text: str, scheme: str, host: Host, port: int) -> None:
    """Makes sure that Python's parser and that of the HTTP library see the same host and port."""
    split = urlsplit(text)
    theirs = _library_reading(text)
    names = [(split.hostname or "", split.port), (theirs.raw_host.decode("ascii"), theirs.port)]
    for name, number in names:
        other = read_host(f"[{name}]" if ":" in name else name)
        if other != host or (number or _PORTS[scheme]) != port:
            raise ValueError("parsers disagree on its host")
    if split.username or split.password or theirs.userinfo or split.scheme != scheme != theirs.scheme:
        raise ValueError("parsers disagree on what it is")


def _library_reading(text: str) -> Any:
    """`text` as `httpx2` reads it, or `httpx` where the installed openai is older."""
    library = _library()
    try:
        return library.URL(text)
    except library.InvalidURL:
        raise ValueError("it is malformed") from None


@cache
def _library() -> Any:
    try:
        return importlib.import_module("httpx2")
    except ImportError:
        return importlib.import_module("httpx")

"""Obvious placeholders for texts of a given format: a date, an address, an identifier."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

_FIRST_DAY = date(2026, 1, 1)
_SCHEME = re.compile(r"scheme should be '([a-z0-9+.-]+)'")
_BOUND = re.compile(r"(greater|less) than (?:or equal to )?(\d{4}-\d\d-\d\d)")
_HEX = "0123456789abcdef"


def formatted_text(kind: str, shift: int, complaint: str = "") -> str | None:
    """Gives a text of the format `kind`, or `None` if the format is not known.

    Args:
        kind: The `format` of a JSON schema, for example `date-time`.
        shift: Another number gives another text.
        complaint: What was said about the text made before; a bound or a scheme named in it is kept.
    """
    day = _day(shift, complaint)
    number = shift % 250 + 1
    if kind == "date":
        return day.isoformat()
    if kind == "date-time":
        return _moment(day, complaint)
    if kind in ("uri", "multi-host-uri"):
        return _address(kind, shift, complaint)
    if kind.startswith("uuid"):
        version = kind[4:] or "4"
        return f"00000000-0000-{version}000-8000-{shift:012x}" if version in _HEX else None
    if kind == "file-path":
        return next((path.name for path in sorted(Path().iterdir()) if path.is_file()), None)
    return {
        "time": f"{shift % 24:02d}:00:00",
        "duration": f"P{40 * shift}D" if shift else "PT1H",
        "email": f"name{number if shift else ''}@example.com",
        "name-email": f"Name <name{number if shift else ''}@example.com>",
        "ipv4": f"192.0.2.{number}",
        "ipvanyaddress": f"192.0.2.{number}",
        "ipv6": f"2001:db8::{number:x}",
        "ipv4network": f"192.0.{number}.0/24",
        "ipvanynetwork": f"192.0.{number}.0/24",
        "ipv6network": f"2001:db8:{number:x}::/64",
        "ipv4interface": f"192.0.2.{number}/24",
        "ipvanyinterface": f"192.0.2.{number}/24",
        "ipv6interface": f"2001:db8::{number:x}/64",
        "hostname": "example.com",
        "zoneinfo": "UTC",
        "regex": ".*",
        "base64": "cGxhY2Vob2xkZXI=",
        "base64url": "cGxhY2Vob2xkZXI=",
        "json-string": "{}",
        "directory-path": ".",
        "fraction": f"{shift}/1",
        "color": "black",
    }.get(kind)


def _day(shift: int, complaint: str) -> date:
    if bound := _BOUND.search(complaint):
        step = timedelta(days=shift + 1)
        named = date.fromisoformat(bound[2])
        return named + step if bound[1] == "greater" else named - step
    start = _FIRST_DAY.replace(year=2126) if "in the future" in complaint else _FIRST_DAY
    return start + timedelta(days=shift)


def _moment(day: date, complaint: str) -> str:
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
    if "should not have timezone" in complaint:
        return moment.replace(tzinfo=None).isoformat()
    return moment.isoformat().replace("+00:00", "Z")


def _address(kind: str, shift: int, complaint: str) -> str:
    page = f"placeholder{shift + 1 if shift else ''}"
    scheme = _SCHEME.search(complaint)
    if scheme is None:
        return f"https://example.com/{page}" if kind == "uri" else f"postgresql://localhost/{page}"
    return f"{scheme[1]}://{'' if scheme[1] == 'file' else 'localhost'}/{page}"

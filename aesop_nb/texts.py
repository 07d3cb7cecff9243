"""Small changes to texts: cleaned on the way in, made visible and short on the way out."""

from __future__ import annotations

import difflib
import re
import traceback
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_CAMEL_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def clean_text(text: str) -> str:
    """Gives `text` with lone surrogates as U+FFFD; they break displays, widgets and SQLite."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def visible(text: str) -> str:
    """Gives `text` with control, bidirectional and other invisible characters as escapes.

    Line feeds and tabs stay. What is shown to a person can then neither clear a terminal
    nor pretend to be written in another order.
    """
    if text.isascii() and text.isprintable():
        return text
    cleaned = clean_text(text)
    shown = {character: _visible_character(character) for character in set(cleaned)}
    hidden = "".join(character for character, escape in shown.items() if character != escape)
    return re.sub(f"[{re.escape(hidden)}]", lambda found: shown[found[0]], cleaned) if hidden else cleaned


def visible_traceback(exc: BaseException) -> str:
    """Gives the traceback of `exc` for a log: what it says may come from a model, a page or a tool."""
    try:
        return visible("".join(traceback.format_exception(exc)))
    except Exception:  # noqa: BLE001  # an exception of the user's whose __str__ raises
        return type(exc).__name__


def _visible_character(character: str) -> str:
    if character in "\n\t" or (character.isprintable() and character not in _LOOKALIKE_BLANKS):
        return character
    category = unicodedata.category(character)
    if category == "Zs" or (category == "Cf" and character in _JOINERS):
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_LOOKALIKE_BLANKS = frozenset("\u115f\u1160\u3164\uffa0")
_JOINERS = frozenset("\u200c\u200d")  # Persian and emoji are spelled with them


def shorten(text: str, limit: int) -> str:
    """Gives at most `limit` characters of `text` and says how many were left out."""
    if len(text) <= limit:
        return text
    mark = f"… [shortened: {len(text):,} characters]"
    return text[: max(0, limit - len(mark))] + mark


def one_line(text: str, limit: int = 120) -> str:
    """Gives `text` on one line, visible and shortened with an ellipsis."""
    flat = visible(" ".join(text[: limit * 8].split()))
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def humanize(name: str) -> str:
    """Gives a Python name as words: `parse_page` → `Parse page`, `parseHTMLPage` → `Parse HTML page`."""
    words = _CAMEL_BORDER.sub(" ", name.replace("_", " ")).split()
    if not words:
        return name
    plain = [word if len(word) > 1 and word.isupper() else word.lower() for word in words]
    return " ".join([plain[0][:1].upper() + plain[0][1:], *plain[1:]])


def short_name(text: str) -> str:
    """Gives the first words of `text`, as a name."""
    short = " ".join(text.split()[:6])
    return short if len(short) <= 48 else short[:47] + "…"


def nearest(word: str, known: Iterable[str]) -> str:
    """Gives ` Did you mean 'x'?` for the best match, or an empty text."""
    matches = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""

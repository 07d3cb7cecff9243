"""Texts that a regular expression matches, for the expressions people write into types."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_CANDIDATES = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_. @/:,;!?#+*=%&()"
_CATEGORIES: dict[object, Callable[[str], bool]] = {
    codes.CATEGORY_DIGIT: str.isdecimal,
    codes.CATEGORY_SPACE: str.isspace,
    codes.CATEGORY_WORD: lambda character: character.isalnum() or character == "_",
    codes.CATEGORY_NOT_DIGIT: lambda character: not character.isdecimal(),
    codes.CATEGORY_NOT_SPACE: lambda character: not character.isspace(),
    codes.CATEGORY_NOT_WORD: lambda character: not (character.isalnum() or character == "_"),
}
_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)
_MAX_LENGTH = 4_000


def matching_text(
    pattern: str, *, min_length: int = 0, max_length: int | None = None, shift: int = 0
) -> str | None:
    """Gives a text in which `pattern` is found, or `None` where none could be made.

    Args:
        pattern: A regular expression; what Python's `re` cannot read gives `None`.
        min_length: Fewest characters.
        max_length: Most characters; `None` for any number.
        shift: Another number gives another text, where the pattern leaves room.
    """
    try:
        parsed, compiled = parser.parse(pattern), re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return None
    high = _MAX_LENGTH if max_length is None else max_length
    for extra in [0, 1, 2, *range(3, min(min_length, _MAX_LENGTH) + 1)]:
        for turn in (shift, 0):
            try:
                text = _Writer(extra, turn).write(parsed)
            except _Unknown:
                return None
            for candidate in (text, text.ljust(min_length, "a"), text.rjust(min_length, "a")):
                if min_length <= len(candidate) <= high and compiled.search(candidate):
                    return candidate
    return None


class _Unknown(Exception):
    """A part of the expression that this writer does not know."""


class _Writer:
    """Writes the text for a parsed expression; `extra` repeats are added where any number is allowed."""

    def __init__(self, extra: int, shift: int) -> None:
        self._extra = extra
        self._shift = shift
        self._groups: dict[int, str] = {}

    def write(self, parts: Sequence[Any]) -> str:
        return "".join(self._part(code, value) for code, value in parts)

    def _part(self, code: Any, value: Any) -> str:
        if code is codes.LITERAL:
            return chr(value)
        if code is codes.ANY:
            return "a"
        if code is codes.NOT_LITERAL:
            return self._one_of([(codes.NEGATE, None), (codes.LITERAL, value)])
        if code is codes.IN:
            return self._one_of(value)
        if code in _REPEATS:
            low, high, inner = value
            count = min(high, low + self._extra)
            return "".join(self.write(inner) for _ in range(min(count, _MAX_LENGTH)))
        if code is codes.BRANCH:
            branches = value[1]
            return self.write(branches[self._shift % len(branches)])
        if code is codes.SUBPATTERN:
            text = self.write(value[3])
            if value[0] is not None:
                self._groups[value[0]] = text
            return text
        if code is codes.GROUPREF:
            return self._groups.get(value, "")
        if code is codes.ATOMIC_GROUP:
            return self.write(value)
        if code is codes.ASSERT:
            # What is looked for ahead is written out; whether it still matches is checked at the end.
            return self.write(value[1]) if value[0] > 0 else ""
        if code in (codes.AT, codes.ASSERT_NOT):
            return ""
        raise _Unknown(str(code))

    def _one_of(self, members: Sequence[Any]) -> str:
        is_negated = members[0][0] is codes.NEGATE
        wanted = members[1:] if is_negated else members
        named = "" if is_negated else "".join(_named(code, value) for code, value in wanted)
        allowed = [
            character
            for character in dict.fromkeys(_CANDIDATES + named)
            if any(_is_in(character, code, value) for code, value in wanted) is not is_negated
        ]
        if not allowed:
            raise _Unknown("a set of unusual characters")
        return allowed[self._shift % len(allowed)]


def _named(code: Any, value: Any) -> str:
    if code is codes.LITERAL:
        return chr(value)
    return chr(value[0]) + chr(value[1]) if code is codes.RANGE else ""


def _is_in(character: str, code: Any, value: Any) -> bool:
    if code is codes.LITERAL:
        return bool(ord(character) == value)
    if code is codes.RANGE:
        return bool(value[0] <= ord(character) <= value[1])
    belongs = _CATEGORIES.get(value) if code is codes.CATEGORY else None
    return belongs is not None and belongs(character)

"""`{{column}}` in the words of a task: the cell's text stands there literally, and nothing is evaluated."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from ..errors import UsageError
from ..texts import nearest
from ..values import model_text

_HOLE = re.compile(r"(\\?)\{\{(.*?)\}\}", re.DOTALL)


def columns_in(text: str) -> list[str]:
    r"""Gives the names between `{{` and `}}`, each once, in their order; `\{{` is text."""
    return list(dict.fromkeys(name.strip() for escaped, name in _HOLE.findall(text) if not escaped))


def filled(text: str, value_of: Callable[[str], Any]) -> str:
    """Gives the text with values in the place of the names; what a value holds is not looked into."""

    def one(found: re.Match[str]) -> str:
        if found[1]:
            return found[0][1:]
        value = value_of(found[2].strip())
        return "" if value is None else model_text(value)

    return _HOLE.sub(one, text)


def column_named(name: str, columns: Sequence[Hashable], where: str) -> Hashable:
    """Gives the column that a name means, by itself or by its text.

    Raises:
        UsageError: If there is none, or several; the message names the nearest.
    """
    if name in columns:
        found: list[Hashable] = [column for column in columns if column == name]
    else:
        found = [column for column in columns if str(column) == name]
    if len(found) > 1:
        raise UsageError(f"{where} means {name!r}, and there are {len(found)} columns of that name.")
    if not found:
        known = [str(column) for column in columns]
        listed = f" There are: {', '.join(known[:20])}{' …' if known[20:] else ''}." if known else ""
        raise UsageError(f"{where} means a column {name!r} that is not there.{nearest(name, known)}{listed}")
    return found[0]

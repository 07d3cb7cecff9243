"""`%aesop memory`: what is remembered as a DataFrame, one key of it, and forgetting all of a scope."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, cast

from ..errors import UsageError
from ..remembering.memories import MemoryScope, memory
from ..texts import nearest, one_line
from .outcomes import Text
from .parsing import unquote
from .subcommands import Command, Notebook

if TYPE_CHECKING:
    import pandas as pd


def _memory(_: Notebook, rest: str) -> Any:
    words = rest.split(maxsplit=1)
    if words[:1] == ["clear"]:
        return _clear("".join(words[1:]))
    return _of_key(unquote(rest)) if rest else memory.to_frame()


def _of_key(key: str) -> pd.DataFrame:
    """Gives the rows of one key, of every scope that has it."""
    frame = memory.to_frame()
    found = frame[frame["key"] == key].reset_index(drop=True)
    if found.empty:
        close = nearest(key, frame["key"])
        raise UsageError(
            f"Nothing is remembered under {one_line(key)!r}.{close} %aesop memory shows all keys."
        )
    return found


def _clear(options: str) -> Text:
    scope = _scope(options)
    count = memory.clear(scope=cast("MemoryScope", scope))
    return Text(f"forgot {count:,} key{'' if count == 1 else 's'} of the {scope} memory")


def _scope(options: str) -> str:
    try:
        words = [part for word in shlex.split(options) for part in word.split("=", 1)]
    except ValueError:  # a quote that is not closed
        words = [options]
    if not words:
        return "session"
    if len(words) != 2 or words[0] != "--scope":
        raise UsageError(
            f"%aesop memory clear takes --scope session or --scope permanent, not {one_line(options)!r}. "
            "To see a key named 'clear', put it in quotes."
        )
    return words[1]


MEMORY = Command(
    name="memory",
    arguments="[KEY | clear [--scope SCOPE]]",
    help="What is remembered, as a DataFrame; or forget all of a scope, session if none is named.",
    example="%aesop memory clear --scope permanent",
    function=_memory,
)
"""The subcommand."""

"""The subcommands of `%aesop` that read the history: costs, replays, what was not reused, and its file."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, cast

from ..errors import UsageError
from ..history.histories import CostsBy, costs, point_of_time, replay, runs, size_warning, why_not_reused
from ..history.histories import run as kept_run
from ..history.transfer import export_history, import_history
from ..sessions import last_run
from ..store import default_store
from ..stored_runs import StoredRun
from ..tasks import Task
from ..texts import nearest, one_line
from .html import static_block
from .outcomes import Text
from .subcommands import Command, Notebook, latest, one_word
from .wording import count

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from ..recordings import Recording


def kept_or_latest(text: str) -> Recording[Any]:
    """Gives the run that `text` names, live or stored; where it is empty, the latest one."""
    if text:
        return kept_run(one_word(text))
    if last_run() is None and (stored := default_store().summaries(limit=1)):
        return kept_run(stored[0].run_id)
    return latest()


def _cost(_: Notebook, rest: str) -> pd.DataFrame:
    words = rest.split()
    if not words:
        return costs()
    if words[0] == "by" and len(words) == 2:
        return costs(cast("CostsBy", words[1]))
    frame = costs("run")
    found = kept_run(one_word(rest))
    return frame[frame["run_id"] == found.id].reset_index(drop=True)


def _replay(_: Notebook, rest: str) -> None:
    words = rest.split()
    speed = None
    if words[:-1] and words[-2] == "--speed":
        speed = _speed(words.pop())
        words.pop()
    replay(kept_or_latest(" ".join(words)).id, speed).wait_for_end()


def _speed(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--speed {one_line(text)!r} must be a number, for example 10.") from None


def _why_not_reused(notebook: Notebook, rest: str) -> Text:
    named = notebook.namespace.get(rest)
    return Text(why_not_reused(named if isinstance(named, Task) else kept_or_latest(rest)))


def show_stored_runs(shell: Any) -> None:
    """Has a stored run that is the value of a cell shown as the block that a live one leaves behind."""
    formatters = shell.display_formatter.formatters
    formatters["text/html"].for_type(StoredRun, lambda stored: static_block(stored.log, stored.children))


# The file --------------------------------------------------------------------------------------------


def _history(_: Notebook, rest: str) -> Text:
    try:
        words = shlex.split(rest)
    except ValueError as exc:
        raise UsageError(f"%aesop history {one_line(rest)}: {exc}.") from None
    if not words:
        return Text(_state())
    function = _ACTIONS.get(words[0])
    if function is None:
        raise UsageError(
            f"There is no %aesop history {one_line(words[0])!r}.{nearest(words[0], _ACTIONS)} "
            f"It takes {', '.join(_ACTIONS)}, or nothing."
        )
    return Text(function(words[1:]))


def _state() -> str:
    store = default_store()
    if store.path is None:
        return f"no history · {store.problem}"
    kept = runs()
    saved = kept[kept["saved"].fillna(False)]
    parts = [str(store.path), f"{store.size_bytes() / 1e6:,.1f} MB", count(len(saved), "run")]
    if len(saved):
        parts.append(f"the oldest of {saved['started_at'].min():%Y-%m-%d}")
    if store.problem:
        parts.append(store.problem)
    warning = size_warning()
    return " · ".join(parts) + (f"\n{warning}" if warning else "")


def _clear(words: list[str]) -> str:
    if words == ["--all"]:
        deleted = default_store().clear()
    elif len(words) == 2 and words[0] == "--before":
        deleted = default_store().clear(point_of_time(words[1]))
    else:
        raise UsageError(
            "%aesop history clear takes --before 2026-01-31, or --all for every run that has ended."
        )
    return f"deleted {count(deleted, 'run')}"


def _export(words: list[str]) -> str:
    if not words:
        raise UsageError(
            "%aesop history export takes the name of a file, and the ids of runs if not all are meant."
        )
    written = export_history(words[0], words[1:] or None)
    return f"wrote {count(written, 'run')} to {one_line(words[0])}"


def _import(words: list[str]) -> str:
    if len(words) != 1:
        raise UsageError("%aesop history import takes the name of one file.")
    return f"added {count(import_history(words[0]), 'run')}"


_ACTIONS: dict[str, Callable[[list[str]], str]] = {"clear": _clear, "export": _export, "import": _import}

HISTORY = (
    Command(
        name="cost",
        arguments="[ID | by run|task|model|day]",
        help="What the runs cost, as a DataFrame; by task unless told otherwise.",
        example="df = %aesop cost by model",
        function=_cost,
    ),
    Command(
        name="history",
        arguments="[clear --before DATE | export FILE | import FILE]",
        help="Where the history is and how large; or delete old runs, write it to a file, take in a file.",
        example="%aesop history clear --before 2026-01-31",
        function=_history,
    ),
    Command(
        name="replay",
        arguments="[ID] [--speed NUMBER]",
        help="Let a run happen again before your eyes, without a model.",
        example="%aesop replay r7 --speed 10",
        function=_replay,
    ),
    Command(
        name="why-not-reused",
        arguments="[ID|TASK]",
        help="What has changed since the last completed run of the same task.",
        function=_why_not_reused,
    ),
)
"""Their rows."""

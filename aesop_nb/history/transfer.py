"""The history as a file: JSON lines, one event each under a line that says what they are."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from .. import events as ev
from ..errors import RunStateError, StoreError, UsageError
from ..runlogs import RunLog
from ..store import default_store
from ..texts import one_line

if TYPE_CHECKING:
    from ..store import RunSummary, Store

FORMAT = "aesop_nb history"
VERSION = 1

_HEADER_CHARACTERS = 160
_UNKNOWN_RUN = "unknown"
_NOT_PART_OF_IT = {"run_id", "parent_run_id", "resumed_run_id", "reuse_parts"}


def export_history(path: str | os.PathLike[str], run_ids: Iterable[str] | None = None) -> int:
    """Writes stored runs into a file that `import_history` reads, here or elsewhere.

    Args:
        path: The file; one that is there is replaced.
        run_ids: Which runs; those they are tied to (inside them, around them, reused, resumed) come along.
            `None` is all.

    Returns:
        How many runs were written.

    Raises:
        UsageError: If one of the runs is not in the store, or the file cannot be written.
        StoreError: If there is no store, or one of the runs cannot be read.
    """
    store = _usable_store()
    known = {summary.run_id: summary for summary in store.summaries()}
    wanted = list(known) if run_ids is None else _with_ties(_given(run_ids, known), known, store)
    target = Path(path)
    draft = target.with_name(f"{target.name}.part")
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            written = _write(file, wanted, store)
        draft.replace(target)
    except OSError as exc:
        raise UsageError(f"The history cannot be written to {str(path)!r}: {exc.strerror or exc}.") from exc
    finally:
        draft.unlink(missing_ok=True)
    return written


def import_history(path: str | os.PathLike[str]) -> int:
    """Takes the runs of an exported file into the store; those that are there already are left out.

    Each gets the next id here, since its own may be taken; what ties runs to each other is kept.
    One that had not ended when it was exported is written as cancelled.

    Returns:
        How many runs were added.

    Raises:
        UsageError: If the file cannot be read, or a line of it is no event of a history; the message names the
            line, and nothing is taken in.
        StoreError: If there is no store, or it cannot be written.
    """
    store = _usable_store()
    found = _read(Path(path))
    here = _ids_by_identity(store, found)
    new_ids = {run_id: here.get(_identity(events)) for run_id, events in found.items()}
    added = [run_id for run_id, known in new_ids.items() if known is None]

    def tell(free_ids: list[str]) -> Iterator[list[ev.Event]]:
        new_ids.update(zip(added, free_ids, strict=True))
        for run_id in added:
            yield list(_renamed(_ended(found[run_id]), new_ids))

    if added:
        try:
            store.add_runs(len(added), tell)
        except StoreError as exc:
            raise StoreError(f"{exc} Nothing was imported.") from exc
    return len(added)


def _usable_store() -> Store:
    store = default_store()
    if store.path is None:
        raise StoreError(f"There is no history to work on. {store.problem}")
    store.flush()
    return store


# Out -------------------------------------------------------------------------------------------------


def _write(file: TextIO, run_ids: Sequence[str], store: Store) -> int:
    """Writes the runs that are still there when it is their turn, and gives how many."""
    file.write(_header(0, 0))
    runs = lines = 0
    for run_id in run_ids:
        events = store.events(run_id)
        file.writelines(f"{event.model_dump_json()}\n" for event in events)
        runs, lines = runs + bool(events), lines + len(events)
    file.seek(0)
    file.write(_header(runs, lines))
    return runs


def _header(runs: int, events: int) -> str:
    """The first line, of the same length whatever the numbers, since they are known last."""
    told = {
        "format": FORMAT,
        "version": VERSION,
        "events_version": ev.EVENTS_VERSION,
        "runs": runs,
        "events": events,
    }
    return json.dumps(told).ljust(_HEADER_CHARACTERS) + "\n"


def _given(run_ids: Iterable[str], known: dict[str, RunSummary]) -> list[str]:
    wanted = [run_ids] if isinstance(run_ids, str) else list(run_ids)
    for run_id in wanted:
        if run_id not in known:
            raise UsageError(f"There is no stored run {run_id!r} to export.")
    return wanted


def _with_ties(wanted: list[str], known: dict[str, RunSummary], store: Store) -> list[str]:
    inside: dict[str, list[str]] = {}
    for summary in known.values():
        inside.setdefault(summary.parent_run_id or "", []).append(summary.run_id)
    found: dict[str, None] = {}
    while wanted:
        run_id = wanted.pop()
        if run_id in found or run_id not in known:
            continue
        found[run_id] = None
        created = next((event for event in store.events(run_id) if isinstance(event, ev.RunCreated)), None)
        ties = (known[run_id].parent_run_id, known[run_id].reused_from, created and created.resumed_run_id)
        wanted += [*inside.get(run_id, ()), *(tie for tie in ties if tie)]
    return [run_id for run_id in known if run_id in found]


# In --------------------------------------------------------------------------------------------------


def _read(path: Path) -> dict[str, list[ev.Event]]:
    """Gives the events of each run of a file, all of which were checked."""
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            return _checked(_events(path, file))
    except OSError as exc:
        raise UsageError(f"The history cannot be read from {str(path)!r}: {exc.strerror or exc}.") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"{str(path)!r} is no exported history: it is not UTF-8 text.") from exc


def _events(path: Path, lines: Iterable[str]) -> Iterator[tuple[str, ev.Event]]:
    """Gives each event with the words that name its line."""
    numbered = enumerate(lines, 1)
    _, first = next(numbered, (1, ""))
    missing = _events_said(f"Line 1 of {str(path)!r}", first)
    for number, line in numbered:
        where = f"Line {number} of {str(path)!r}"
        if line.strip():
            missing -= 1
            try:
                yield where, ev.event_from_json(line)
            except ValueError as exc:
                reason = one_line(str(exc).split("For further information")[0], 300)
                raise UsageError(f"{where} is no event: {reason} Nothing was imported.") from None
    if missing:
        raise UsageError(
            f"{str(path)!r} is not whole: the number of its events is not the one in its first line. "
            "Nothing was imported."
        )


def _events_said(where: str, line: str) -> int:
    """Gives how many events the first line tells of."""
    try:
        header: Any = json.loads(line)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UsageError(f"{where} does not begin an exported history. Nothing was imported.")
    if header.get("version") != VERSION or header.get("events_version") != ev.EVENTS_VERSION:
        raise UsageError(f"{where} says that another version of aesop_nb wrote it. Nothing was imported.")
    return said if isinstance(said := header.get("events"), int) else 0


def _checked(events: Iterable[tuple[str, ev.Event]]) -> dict[str, list[ev.Event]]:
    """Gives the events by run, after each run was told from its beginning without a contradiction."""
    runs: dict[str, list[ev.Event]] = {}
    logs: dict[str, RunLog] = {}
    for where, event in events:
        begins = isinstance(event, ev.RunCreated)
        before = runs.get(event.run_id)
        if (
            not event.run_id
            or begins == (before is not None)
            or (before and before[-1].number >= event.number)
        ):
            raise UsageError(
                f"{where} does not follow from those before it: a {event.type!r} of run {event.run_id!r}. "
                "Nothing was imported."
            )
        try:
            logs.setdefault(event.run_id, RunLog()).apply(event)
        except (RunStateError, LookupError) as exc:
            raise UsageError(
                f"{where} does not fit its run: {one_line(str(exc), 200)} Nothing was imported."
            ) from None
        runs.setdefault(event.run_id, []).append(event)
    return runs


def _identity(events: Sequence[ev.Event]) -> str:
    """Tells a run from all others wherever it is: what it was about, and the microsecond in which it was made."""
    return hashlib.sha256(events[0].model_dump_json(exclude=_NOT_PART_OF_IT).encode()).hexdigest()


def _ids_by_identity(store: Store, found: dict[str, list[ev.Event]]) -> dict[str, str]:
    """The ids of those runs of the store that could be among `found`."""
    seconds = {int(events[0].at.timestamp()) for events in found.values()}
    kept = {
        summary.run_id: store.events(summary.run_id)[:1]
        for summary in store.summaries()
        if {int(summary.created_at.timestamp() + error) for error in (-0.001, 0.001)} & seconds
    }
    return {_identity(events): run_id for run_id, events in kept.items() if events}


def _ended(events: list[ev.Event]) -> list[ev.Event]:
    last = events[-1]
    if isinstance(last, (ev.RunCompleted, ev.RunFailed, ev.RunCancelled)):
        return events
    end = ev.RunCancelled(
        reason="it had not ended when it was exported", run_id=last.run_id, number=last.number + 1, at=last.at
    )
    return [*events, end]


def _renamed(events: Iterable[ev.Event], new_ids: dict[str, str | None]) -> Iterator[ev.Event]:
    """Gives the events under the ids that the runs have here; a tie to a run that is not here is loosened."""
    for event in events:
        changes: dict[str, Any] = {"run_id": new_ids[event.run_id]}
        if isinstance(event, ev.RunCreated):
            changes["parent_run_id"] = new_ids.get(event.parent_run_id or "")
            changes["resumed_run_id"] = new_ids.get(event.resumed_run_id or "")
        elif isinstance(event, ev.ResultReused):
            changes["source_run_id"] = new_ids.get(event.source_run_id) or _UNKNOWN_RUN
        yield event.model_copy(update=changes)

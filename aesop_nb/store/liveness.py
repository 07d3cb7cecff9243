"""Which processes live: each writes a row with a heartbeat, and runs of those that died are ended by others."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .. import events as ev
from .run_rows import end

if TYPE_CHECKING:
    from .connections import Connection, Row

HEARTBEAT_SECONDS = 5.0
"""How often a process with runs under way says that it lives."""

STALE_SECONDS = 60.0
"""After this long without a heartbeat a process is dead, where nothing better can be known."""


@dataclass(slots=True)
class Myself:
    """This process in the table of processes.

    Attributes:
        process_id: Its name there; another one in every process, and after a fork.
        heartbeat_at: When it last said that it lives, by the wall clock, which goes on while a laptop sleeps.
    """

    process_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    heartbeat_at: float = 0.0

    def is_due(self) -> bool:
        """Whether it should say again that it lives."""
        return not 0 <= time.time() - self.heartbeat_at < HEARTBEAT_SECONDS

    def beat(self, connection: Connection) -> None:
        """Says that it lives; takes its runs back if others took it for dead meanwhile."""
        now = time.time()
        known = connection.change(
            "UPDATE processes SET heartbeat_at = :now WHERE process_id = :me", now=now, me=self.process_id
        )
        if not known:
            connection.change(
                "INSERT INTO processes (process_id, machine, pid, started, heartbeat_at) "
                "VALUES (:me, :machine, :pid, :started, :now)",
                me=self.process_id,
                machine=machine(),
                pid=os.getpid(),
                started=start_of(os.getpid()) or "",
                now=now,
            )
            self._take_back(connection)
        self.heartbeat_at = now

    def _take_back(self, connection: Connection) -> None:
        buried = connection.rows(
            "SELECT run_id, buried_number FROM runs "
            "WHERE status = 'cancelled' AND process_id = :me AND buried_number IS NOT NULL",
            me=self.process_id,
        )
        for run in buried:
            connection.change(
                "DELETE FROM events WHERE run_id = :run_id AND number = :number",
                run_id=run["run_id"],
                number=run["buried_number"],
            )
            connection.change(
                "UPDATE runs SET status = CASE WHEN started_at IS NULL THEN 'pending' ELSE 'running' END, "
                "ended_at = NULL, error = NULL, buried_number = NULL WHERE run_id = :run_id",
                run_id=run["run_id"],
            )

    def leave(self, connection: Connection) -> None:
        """Takes its row out if none of its runs is under way."""
        connection.change(
            "DELETE FROM processes WHERE process_id = :me AND NOT EXISTS (SELECT 1 FROM runs "
            "WHERE process_id = :me AND status IN ('pending', 'running'))",
            me=self.process_id,
        )


def dead_processes(connection: Connection, me: str) -> list[Row]:
    """Gives the processes that have runs under way and live no more."""
    rows = connection.rows(
        "SELECT DISTINCT runs.process_id, machine, pid, started, heartbeat_at FROM runs "
        "LEFT JOIN processes ON processes.process_id = runs.process_id "
        "WHERE status IN ('pending', 'running') AND runs.process_id <> :me",
        me=me,
    )
    return [row for row in rows if not is_alive(row)]


def bury(connection: Connection, dead: list[Row]) -> int:
    """Ends the runs of dead processes as cancelled, and gives how many there were."""
    count = 0
    for process in dead:
        runs = connection.rows(
            "SELECT run_id FROM runs WHERE process_id = :process AND status IN ('pending', 'running')",
            process=process["process_id"],
        )
        for run in runs:
            _cancel(connection, run["run_id"], process)
        count += len(runs)
        connection.change("DELETE FROM processes WHERE process_id = :process", process=process["process_id"])
    return count


def _cancel(connection: Connection, run_id: str, process: Row) -> None:
    last = connection.row(
        "SELECT number, body FROM events WHERE run_id = :run_id ORDER BY number DESC LIMIT 1", run_id=run_id
    )
    last_at = process["heartbeat_at"] or 0.0
    if last is not None:
        with contextlib.suppress(ValueError):
            last_at = max(last_at, ev.event_from_json(last["body"]).at.timestamp())
    who = f"process {process['pid']}" if process["pid"] else "its process"
    event = ev.RunCancelled(
        run_id=run_id,
        number=last["number"] + 1 if last else 0,
        at=datetime.fromtimestamp(min(last_at, time.time()) or time.time(), UTC),
        reason=f"the kernel ended ({who})",
    )
    connection.change(
        "INSERT INTO events (run_id, number, type, body) VALUES (:run_id, :number, :type, :body)",
        run_id=run_id,
        number=event.number,
        type=event.type,
        body=event.model_dump_json(),
    )
    end(connection, run_id, event)
    connection.change(
        "UPDATE runs SET buried_number = :number WHERE run_id = :run_id", number=event.number, run_id=run_id
    )


def is_alive(process: Row) -> bool:
    """Whether a process of the table lives, as far as can be known from here."""
    if process["machine"] is None:
        return False  # it left, or its row is gone with a damaged file
    age = time.time() - process["heartbeat_at"]
    if process["machine"] != machine():
        return bool(-STALE_SECONDS < age < STALE_SECONDS)
    if process["pid"] == os.getpid():
        return bool(process["started"] == (start_of(os.getpid()) or ""))
    if process["started"] and can_tell_starts():
        return bool(start_of(process["pid"]) == process["started"])
    return bool(_may_exist(process["pid"]) and age < STALE_SECONDS)


@cache
def machine() -> str:
    """Names what process numbers are unique in: the host, since it was started, and the container."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return "/".join(parts)


@cache
def can_tell_starts() -> bool:
    """Whether this system says when a process was started."""
    return Path("/proc/self/stat").exists()


def start_of(pid: int) -> str | None:
    """Gives what tells a process from an earlier one with its number; `None` if there is none or none can tell."""
    try:
        # The name, which is in brackets, may hold spaces and brackets; field 22 is the start in ticks.
        after_name = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if after_name[0] in "ZX" else after_name[19]  # a zombie has ended


def _may_exist(pid: int) -> bool:
    if sys.platform == "win32":
        return True  # signal 0 would be Ctrl-C there; the heartbeat decides
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True

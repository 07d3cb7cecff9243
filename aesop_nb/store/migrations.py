"""The tables of the store, as numbered steps from each format to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .faults import Fault

if TYPE_CHECKING:
    from .connections import Connection

MARK = "aesop_format"
"""The table that holds the number of the format; its name tells our files from those of others."""

_FIRST = (
    f"CREATE TABLE {MARK} (version INTEGER NOT NULL)",
    f"INSERT INTO {MARK} (version) VALUES (0)",  # noqa: S608
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value BIGINT NOT NULL)",
    "INSERT INTO counters (name, value) VALUES ('runs', 0)",
    """CREATE TABLE processes (
        process_id TEXT PRIMARY KEY, machine TEXT NOT NULL, pid BIGINT NOT NULL, started TEXT NOT NULL,
        heartbeat_at DOUBLE PRECISION NOT NULL)""",
    """CREATE TABLE runs (
        run_id TEXT PRIMARY KEY, sequence BIGINT NOT NULL, process_id TEXT NOT NULL, buried_number BIGINT,
        task TEXT NOT NULL, objective TEXT NOT NULL, status TEXT NOT NULL, model TEXT NOT NULL,
        agents TEXT NOT NULL,
        notebook TEXT NOT NULL, is_rehearsal INTEGER NOT NULL, parent_run_id TEXT, reused_from TEXT,
        reuse_key TEXT, reuse_parts TEXT NOT NULL, created_at DOUBLE PRECISION NOT NULL,
        started_at DOUBLE PRECISION, ended_at DOUBLE PRECISION, requests BIGINT NOT NULL,
        input_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL, cached_tokens BIGINT NOT NULL,
        cost_usd DOUBLE PRECISION, tool_calls BIGINT NOT NULL, error TEXT)""",
    "CREATE INDEX runs_by_time ON runs (created_at, sequence)",
    "CREATE INDEX runs_by_status ON runs (status, process_id)",
    "CREATE INDEX runs_by_task ON runs (task, created_at)",
    "CREATE INDEX runs_by_key ON runs (reuse_key)",
    """CREATE TABLE events (
        run_id TEXT NOT NULL, number BIGINT NOT NULL, type TEXT NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (run_id, number))""",
    """CREATE TABLE memories (
        namespace TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
        changed_at DOUBLE PRECISION NOT NULL, PRIMARY KEY (namespace, name))""",
)

_SECOND = (
    """CREATE TABLE map_rows (
        run_id TEXT PRIMARY KEY, map_id TEXT NOT NULL, row_key TEXT, status TEXT NOT NULL, result TEXT,
        error TEXT, seconds DOUBLE PRECISION NOT NULL, input_tokens BIGINT NOT NULL,
        output_tokens BIGINT NOT NULL, cost_usd DOUBLE PRECISION, ended_at DOUBLE PRECISION NOT NULL,
        events TEXT NOT NULL)""",
    "CREATE INDEX map_rows_by_key ON map_rows (row_key)",
    "CREATE INDEX map_rows_by_map ON map_rows (map_id)",
    """CREATE TABLE map_claims (
        row_key TEXT PRIMARY KEY, process_id TEXT NOT NULL, map_id TEXT NOT NULL)""",
)

MIGRATIONS: list[tuple[str, ...]] = [_FIRST, _SECOND]
"""The statements that lead from format n to n + 1 stand at place n."""


def format_of(connection: Connection) -> int:
    """Gives the number of the file's format; 0 for an empty file.

    Raises:
        Fault: If the file belongs to another program, or was written by a newer version.
    """
    tables = {row["name"] for row in connection.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return 0
    row = connection.row(f"SELECT version FROM {MARK}") if MARK in tables else None  # noqa: S608
    if row is None or not isinstance(row["version"], int):
        raise foreign(connection)
    if row["version"] > len(MIGRATIONS):
        raise Fault(
            "newer",
            f"The store {str(connection.path)!r} has format {row['version']}; this version of aesop_nb reads "
            f"formats up to {len(MIGRATIONS)}. Upgrade aesop_nb, or set AESOP_HOME to another folder.",
        )
    return row["version"]


def foreign(connection: Connection) -> Fault:
    """Gives the fault for a database of somebody else's."""
    return Fault(
        "foreign",
        f"{str(connection.path)!r} is a database of another program and is left alone. "
        "Move it away, or set AESOP_HOME to another folder.",
    )


def migrate(connection: Connection) -> None:
    """Brings the file to the newest format, each step in a transaction of its own.

    Raises:
        Fault: If the file is not ours, or newer than this version.
    """
    while format_of(connection) < len(MIGRATIONS):
        with connection.transaction():
            version = format_of(connection)  # another process may have done the step meanwhile
            if version == len(MIGRATIONS):
                return
            for statement in MIGRATIONS[version]:
                connection.change(statement)
            connection.change(f"UPDATE {MARK} SET version = :version", version=version + 1)  # noqa: S608

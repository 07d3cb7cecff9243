"""Permanent memory: texts by namespace and key, of which a deletion leaves nothing on the disk."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from ..texts import clean_text
from .event_rows import MAX_VALUE_BYTES
from .faults import Fault

if TYPE_CHECKING:
    from .connections import Connection
    from .databases import Database

T = TypeVar("T")


class Memories:
    """What agents and people keep between runs; values are JSON as text.

    Namespaces and keys are compared as they are, letter by letter; a lone surrogate counts as U+FFFD.
    All methods may be called from any thread, write at once, and raise `StoreError` if the store on disk
    cannot be used. Without a store nothing is found, and `set` raises.
    """

    def __init__(self, database: Database | None) -> None:
        self._database = database

    def get(self, namespace: str, key: str) -> str | None:
        """Gives one value, or `None`."""
        return dict(self._select(namespace, key)).get(clean_text(key))

    def keys(self, namespace: str) -> list[str]:
        """Gives the keys of a namespace, sorted."""

        def read(connection: Connection) -> list[str]:
            rows = connection.rows(
                "SELECT name FROM memories WHERE namespace = :namespace ORDER BY name",
                namespace=clean_text(namespace),
            )
            return [row["name"] for row in rows]

        return [] if self._database is None else self._database.read(read, [])

    def items(self, namespace: str) -> list[tuple[str, str]]:
        """Gives keys and values of a namespace, sorted by key."""
        return self._select(namespace)

    def entries(self, namespace: str) -> list[tuple[str, str, float]]:
        """Gives keys, values and the times of the last change (seconds since 1970), sorted by key."""

        def read(connection: Connection) -> list[tuple[str, str, float]]:
            rows = connection.rows(
                "SELECT name, value, changed_at FROM memories WHERE namespace = :namespace ORDER BY name",
                namespace=clean_text(namespace),
            )
            return [(row["name"], row["value"], row["changed_at"]) for row in rows]

        return [] if self._database is None else self._database.read(read, [])

    def set(self, namespace: str, key: str, json_text: str) -> None:
        """Keeps a value, in place of the one before.

        Raises:
            StoreError: If it cannot be kept, or is longer than 16 MiB.
        """
        if len(json_text.encode("utf-8", "replace")) > MAX_VALUE_BYTES:
            raise Fault("refused", f"The value of {key!r} is longer than {MAX_VALUE_BYTES:,} bytes.")
        if self._database is None:
            raise Fault("off", f"{key!r} cannot be kept: there is no store. See settings.store.")
        parameters = {"namespace": clean_text(namespace), "name": clean_text(key)}
        value, now = clean_text(json_text), time.time()

        def write(connection: Connection) -> None:
            connection.change(
                "INSERT INTO memories (namespace, name, value, changed_at) "
                "VALUES (:namespace, :name, :value, :now) ON CONFLICT (namespace, name) "
                "DO UPDATE SET value = excluded.value, changed_at = excluded.changed_at",
                **parameters,
                value=value,
                now=now,
            )

        self._database.write(write)

    def delete(self, namespace: str, key: str) -> bool:
        """Deletes one value; `False` if there was none."""
        return self._delete(namespace, key) > 0

    def clear(self, namespace: str) -> int:
        """Deletes all values of a namespace and gives how many there were."""
        return self._delete(namespace)

    def _select(self, namespace: str, key: str | None = None) -> list[tuple[str, str]]:
        condition, parameters = _which(namespace, key)

        def read(connection: Connection) -> list[tuple[str, str]]:
            rows = connection.rows(
                f"SELECT name, value FROM memories WHERE {condition} ORDER BY name",  # noqa: S608
                **parameters,
            )
            return [(row["name"], row["value"]) for row in rows]

        return [] if self._database is None else self._database.read(read, [])

    def _delete(self, namespace: str, key: str | None = None) -> int:
        condition, parameters = _which(namespace, key)

        def is_there(connection: Connection) -> bool:
            return bool(connection.rows(f"SELECT 1 FROM memories WHERE {condition} LIMIT 1", **parameters))  # noqa: S608

        def write(connection: Connection) -> int:
            return connection.change(f"DELETE FROM memories WHERE {condition}", **parameters)  # noqa: S608

        if self._database is None or not self._database.read(is_there, False):
            return 0
        deleted = self._database.write(write)
        self._database.erase_traces()
        return deleted


def _which(namespace: str, key: str | None) -> tuple[str, dict[str, str]]:
    """Gives the condition, which is a text of this module and lets the index be used, and its parameters."""
    parameters = {"namespace": clean_text(namespace)}
    if key is None:
        return "namespace = :namespace", parameters
    return "namespace = :namespace AND name = :name", {**parameters, "name": clean_text(key)}

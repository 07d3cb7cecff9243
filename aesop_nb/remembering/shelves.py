"""Where what is remembered lies: in this process, or in the store. Keys are exact texts, values JSON texts."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from ..errors import StoreError

if TYPE_CHECKING:
    from ..store.memories import Memories


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that is remembered; `json` is its value as JSON text."""

    key: str
    json: str
    updated_at: datetime


class Shelf(Protocol):
    """One scope's keys and values; any thread may use it."""

    def get(self, key: str) -> str | None:
        """The JSON text under `key`, or `None`."""
        ...

    def set(self, key: str, json: str) -> None:
        """Puts it there, in place of what there was."""
        ...

    def delete(self, key: str) -> bool:
        """Takes it away; `False` if there was nothing."""
        ...

    def keys(self) -> list[str]:
        """The keys, in order."""
        ...

    def entries(self) -> list[Entry]:
        """All there is, in the order of the keys."""
        ...

    def clear(self) -> list[str]:
        """Takes everything away, and gives the keys of what there was, in order."""
        ...


class OwnShelf:
    """A shelf that lives as long as this object does."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> str | None:
        """The JSON text under `key`, or `None`."""
        entry = self._entries.get(key)
        return entry.json if entry else None

    def set(self, key: str, json: str) -> None:
        """Puts it there, in place of what there was."""
        with self._lock:
            self._entries[key] = Entry(key, json, datetime.now(UTC))

    def delete(self, key: str) -> bool:
        """Takes it away; `False` if there was nothing."""
        with self._lock:
            return self._entries.pop(key, None) is not None

    def keys(self) -> list[str]:
        """The keys, in order."""
        with self._lock:
            return sorted(self._entries)

    def entries(self) -> list[Entry]:
        """All there is, in the order of the keys."""
        with self._lock:
            return [self._entries[key] for key in sorted(self._entries)]

    def clear(self) -> list[str]:
        """Takes everything away, and gives the keys of what there was, in order."""
        with self._lock:
            gone, self._entries = self._entries, {}
        return sorted(gone)


class StoredShelf:
    """A shelf in the store, one for each namespace; what cannot be done is a `StoreError`."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def get(self, key: str) -> str | None:
        """The JSON text under `key`, or `None`."""
        return self._memories().get(self._namespace, key)

    def set(self, key: str, json: str) -> None:
        """Puts it there, in place of what there was."""
        self._memories().set(self._namespace, key, json)

    def delete(self, key: str) -> bool:
        """Takes it away; `False` if there was nothing."""
        return self._memories().delete(self._namespace, key)

    def keys(self) -> list[str]:
        """The keys, in order."""
        return self._memories().keys(self._namespace)

    def entries(self) -> list[Entry]:
        """All there is, in the order of the keys."""
        return [
            Entry(key, json, datetime.fromtimestamp(changed_at, UTC))
            for key, json, changed_at in self._memories().entries(self._namespace)
        ]

    def clear(self) -> list[str]:
        """Takes everything away, nothing of it stays on the disk; gives the keys of what there was, in order."""
        memories = self._memories()
        gone = memories.keys(self._namespace)
        memories.clear(self._namespace)
        return gone

    def _memories(self) -> Memories:
        from ..store import default_store

        store = default_store()
        if store.path is None:
            raise StoreError(
                f"Permanent memory needs the store. {store.problem} "
                "scope='session' lasts as long as this process and needs none."
            )
        return store.memory


def permanence_problem() -> str | None:
    """Says in one line why nothing can be kept for good; `None` if it can."""
    from ..store import default_store

    return default_store().problem

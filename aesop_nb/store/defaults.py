"""The store that the settings name: one per file and process, also after a fork and at the end of the process."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
from pathlib import Path

from ..config import settings
from ..errors import UsageError
from ..project_settings import use_project_settings
from .faults import Fault
from .files import FILE_NAME, home_of
from .stores import Store, all_stores

_stores: dict[Path, Store] = {}
_lock = threading.Lock()
_said: set[str] = set()
_LOGGER = logging.getLogger("aesop_nb")


def default_store() -> Store:
    """Gives the store that `settings.home` and `settings.store` name at this moment; never raises."""
    with contextlib.suppress(UsageError):  # the next run says it
        use_project_settings()
    if settings.store == "off":
        return Store(None, reason="Nothing is saved: settings.store is 'off'.")
    if settings.store != "on":
        kind = settings.store.split(":", 1)[0]  # the rest may hold a password
        return _unusable(f"settings.store must be 'on' or 'off'; {kind!r} is no store I know.")
    try:
        path = home_of(settings.home) / FILE_NAME
    except Fault as fault:
        return _unusable(str(fault))
    with _lock:
        store = _stores.get(path)
        if store is None:
            store = _stores[path] = Store(path)
        return store


def close_stores() -> None:
    """Writes what waits and closes all stores of this process; the next use begins with new ones."""
    with _lock:
        stores = list(_stores.values())
        _stores.clear()
    for store in stores:
        store.close()


def _unusable(why: str) -> Store:
    """Gives no store, and says so once: that nothing is saved is not what the setting was for."""
    reason = f"Nothing is saved: {why}"
    with _lock:
        is_new = reason not in _said
        _said.add(reason)
    if is_new:
        _LOGGER.warning("%s", reason)
    return Store(None, reason=reason)


def _settle_all() -> None:
    for store in list(all_stores):
        store.settle()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    for store in list(all_stores):
        store.leave_to_parent()


atexit.register(_settle_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

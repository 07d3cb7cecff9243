"""`[tool.aesop_nb]` of the nearest pyproject.toml: settings that a project's notebooks share."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from .config import Settings, settings
from .errors import UsageError
from .texts import nearest, one_line

_TABLE = "[tool.aesop_nb]"
_LOCAL = ("localhost", "127.0.0.1", "::1")
_OF_THE_PERSON = (
    "home",
    "project",
)  # a cloned repository must not bring memories, nor read another project's
_lock = threading.Lock()
_is_read = False


def use_project_settings() -> None:
    """Reads the file that belongs to the current folder into `settings`, once a process.

    What was assigned in this process goes before it, and it goes before `AESOP_*`. After an error the next
    call reads again, so that the file can be mended.

    Raises:
        UsageError: If the file cannot be read, or something in the table does not fit; nothing was taken.
    """
    global _is_read
    if _is_read:
        return
    with _lock:
        if not _is_read:
            settings.take_project(project_settings(_working_folder()))
            _is_read = True


def project_settings(folder: Path | None) -> dict[str, Any]:
    """Gives what the nearest pyproject.toml in `folder` or above it sets; empty where there is none.

    Raises:
        UsageError: If the file cannot be read, a key is unknown, or a value has the wrong type.
    """
    path = _nearest_file(folder) if folder else None
    if path is None:
        return {}
    table = _table(path)
    return {key: _checked(key, value, path) for key, value in table.items()}


def project_file() -> Path | None:
    """Gives the pyproject.toml with settings for the current folder, or `None` if there is none.

    Raises:
        UsageError: If the file cannot be read.
    """
    folder = _working_folder()
    path = _nearest_file(folder) if folder else None
    return path if path and _table(path) else None


def _working_folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it was deleted
        return None


def _nearest_file(folder: Path) -> Path | None:
    candidates = (above / "pyproject.toml" for above in (folder, *folder.parents))
    return next((path for path in candidates if path.is_file()), None)


def _table(path: Path) -> dict[str, Any]:
    import tomllib  # here, since only a run needs it

    try:
        table: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        for name in ("tool", "aesop_nb"):
            table = table.get(name, {})
    except (OSError, ValueError) as exc:
        raise UsageError(f"{path} cannot be read: {one_line(str(exc), 200)}.") from exc
    except AttributeError:
        table = None
    if not isinstance(table, dict):
        raise UsageError(f"{path}: {_TABLE} must be a table of settings.")
    return table


def _checked(key: str, value: Any, path: Path) -> Any:
    where = f"{path}: {_TABLE}"
    if key not in Settings.model_fields:
        raise UsageError(f"{where} has no setting {one_line(key)!r}.{nearest(key, Settings.model_fields)}")
    try:
        checked = getattr(Settings.model_validate({key: value}, strict=True), key)
    except ValidationError as exc:
        reason = exc.errors()[0]["msg"]
        raise UsageError(f"{where} {key} = {one_line(repr(value))} does not fit: {reason}.") from exc
    refused = (
        "where your key and your texts are sent"
        if _sends_elsewhere(key, checked)
        else "which history and memory are read"
        if key in _OF_THE_PERSON
        else None
    )
    if refused:
        raise UsageError(
            f"{where} {key} = {one_line(repr(value))}: a project's file cannot say {refused}. "
            f"Set aesop_nb.settings.{key}, or AESOP_{key.upper()}."
        )
    return checked


def _sends_elsewhere(key: str, value: Any) -> bool:
    """Whether it names another machine: a folder that somebody was given must not redirect what they send."""
    if key == "store":
        return value not in ("on", "off")
    return key == "base_url" and value is not None and _host(value) not in _LOCAL


def _host(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None

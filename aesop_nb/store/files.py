"""The file of the store and its folder: whose they are, who may read them, and how a damaged one is put aside."""

from __future__ import annotations

import contextlib
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

from .faults import Fault, fault_of_system
from .migrations import MARK

FILE_NAME = "aesop.sqlite"
_MAGIC = b"SQLite format 3\x00"
_SIDES = ("-wal", "-shm", "-journal")
_LOOKED_AT_BYTES = 65_536


def home_of(setting: str | None) -> Path:
    """Gives the folder of the store: the setting, or the user's data folder.

    Raises:
        Fault: If the setting names none, or the user has none.
    """
    if setting is not None:
        try:
            if "\0" in setting:
                raise ValueError("there is a NUL in it")
            return Path(setting).expanduser().absolute()
        except (RuntimeError, ValueError, OSError) as exc:  # such as ~ and the name of nobody
            raise Fault(
                "denied", f"settings.home {setting!r} names no folder: {exc}. Set AESOP_HOME to one of yours."
            ) from exc
    from platformdirs import user_data_path

    folder = user_data_path("aesop_nb", appauthor=False)
    if not folder.is_absolute():  # ~ stays as it is where the user has no home
        raise Fault("denied", "This user has no folder for data. Set AESOP_HOME to one that may be written.")
    return folder


def prepare(path: Path) -> None:
    """Makes folder and file for the user alone, or refuses those that are not theirs.

    Raises:
        Fault: If they cannot be made, belong to somebody else, or are not what they should be.
    """
    try:
        check(path)
        folder = path.parent
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _keep_to_oneself(folder)
        for side in ("", *_SIDES):
            _restrict(Path(f"{path}{side}"), is_made=not side)
    except OSError as exc:
        raise fault_of_system(path, exc) from exc


def check(path: Path) -> None:
    """Refuses what the store must not touch; makes and opens nothing but an existing file, to look at it.

    Raises:
        Fault: If the folder or the file is somebody else's, a link, or no store.
    """
    folder = path.parent
    if folder.exists() and not _is_ours(folder.stat()):
        raise Fault(
            "denied", f"The folder {str(folder)!r} belongs to another user. Set AESOP_HOME to one of yours."
        )
    for side in ("", *_SIDES):
        found = _status(Path(f"{path}{side}"))
        if found is not None and not stat.S_ISREG(found.st_mode):
            kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "not a file"
            raise Fault(
                "denied", f"The store {f'{path}{side}'!r} is {kind} and is not followed. Move it away."
            )
        if found is not None and not _is_ours(found):
            raise Fault(
                "denied",
                f"The store {f'{path}{side}'!r} belongs to another user. Set AESOP_HOME to a folder of yours.",
            )


def check_contents(path: Path) -> None:
    """Refuses a file that is no SQLite database, without changing a byte of it or beside it.

    Must not be called while this process has the file open: closing any handle gives up SQLite's locks,
    https://www.sqlite.org/howtocorrupt.html.

    Raises:
        Fault: `foreign` if it is somebody else's, `corrupt` if it was a store and its beginning is damaged.
    """
    found = _status(path)
    if found is None or found.st_size == 0:
        return
    with path.open("rb") as file:
        beginning = file.read(_LOOKED_AT_BYTES)
    if beginning.startswith(_MAGIC):
        return
    if MARK.encode() in beginning or not any(beginning[:100]):
        raise Fault("corrupt", f"The store {str(path)!r} cannot be used: its beginning is damaged.")
    raise Fault(
        "foreign",
        f"{str(path)!r} is no store of aesop_nb and is left alone. "
        "Move it away, or set AESOP_HOME to another folder.",
    )


def check_room(path: Path) -> None:
    """Refuses a place where no file could be written.

    Raises:
        Fault: If the folder, or the nearest one that exists, or the file is read-only.
    """
    nearest = next(folder for folder in path.parents if folder.exists())
    if not nearest.is_dir():
        raise Fault("denied", f"The store {str(path)!r} cannot be made: {str(nearest)!r} is not a folder.")
    for place in (nearest, path):
        if place.exists() and not os.access(place, os.W_OK):
            raise Fault("read_only", f"The store {str(path)!r} cannot be used: {str(place)!r} is read-only.")


def set_aside(path: Path) -> Path:
    """Renames a damaged store with what belongs to it, and gives the new name; nothing is deleted."""
    time = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    target = Path(f"{path}.corrupt-{time}")
    try:
        path.rename(target)
    except OSError as exc:
        raise fault_of_system(path, exc) from exc
    for side in _SIDES:
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{side}").rename(f"{target}{side}")
    return target


def identity(path: Path) -> tuple[int, int] | None:
    """Tells one file at this path from another that takes its place; `None` where there is none."""
    found = _seen(path)
    return None if found is None else (found.st_dev, found.st_ino)


def size_bytes(path: Path) -> int:
    """Gives the bytes on disk, the write-ahead log included."""
    sizes = (_seen(Path(f"{path}{side}")) for side in ("", "-wal"))
    return sum(found.st_size for found in sizes if found is not None)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _seen(path: Path) -> os.stat_result | None:
    """Gives the same; `None` also where it cannot be known, as in a folder that may not be searched."""
    try:
        return path.lstat()
    except OSError:
        return None


def _is_ours(found: os.stat_result) -> bool:
    return not hasattr(os, "getuid") or found.st_uid == os.getuid()


def _keep_to_oneself(folder: Path) -> None:
    """Takes the rights of others from a folder that holds nothing but the store."""
    if not stat.S_IMODE(folder.stat().st_mode) & 0o077:
        return
    if all(entry.name.startswith(FILE_NAME) for entry in folder.iterdir()):
        folder.chmod(0o700)


def _restrict(path: Path, *, is_made: bool) -> None:
    """Takes the rights of others from a file, which is made first if need be."""
    found = _status(path)
    if found is None and is_made:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        os.close(os.open(path, flags, 0o600))
    elif found is not None and stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o600)

"""What can be wrong with the store on disk, as one exception with a kind; raw SQLite errors end here."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Literal, TypeAlias

from ..errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FaultKind: TypeAlias = Literal[
    "busy", "full", "read_only", "io", "corrupt", "foreign", "newer", "denied", "refused", "off"
]

# The primary result codes of SQLite, https://www.sqlite.org/rescode.html; the low byte of an extended one.
_KINDS: dict[int, FaultKind] = {
    1: "foreign",
    3: "denied",
    5: "busy",
    6: "busy",
    8: "read_only",
    10: "io",
    11: "corrupt",
    13: "full",
    14: "denied",
    15: "busy",
    22: "io",
    23: "denied",
    26: "corrupt",
}

_SAID: dict[FaultKind, str] = {
    "busy": "another process holds it for too long",
    "full": "there is no room left on the disk",
    "read_only": "it is read-only",
    "io": "the disk reports an error",
    "corrupt": "it is damaged",
    "foreign": "it does not hold the tables that it should",
    "denied": "it cannot be opened; check that its folder exists and may be written",
    "refused": "a value does not fit into it",
}


class Fault(StoreError):
    """The store cannot be read or written; `kind` says why."""

    def __init__(self, kind: FaultKind, message: str) -> None:
        super().__init__(message)
        self.kind: FaultKind = kind


def not_understood(run_id: str) -> StoreError:
    """Gives the error for events that are none of ours, or of a version that knows others."""
    return StoreError(
        f"An event of run {run_id!r} in the store cannot be understood; another version of aesop_nb may "
        "have written it. Other runs can still be read."
    )


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns what SQLite and the system raise in the block into a `Fault` that names the file."""
    try:
        yield
    except OSError as exc:
        raise fault_of_system(path, exc) from exc
    except OverflowError as exc:
        raise Fault("refused", f"The store {str(path)!r}: {_SAID['refused']} ({exc}).") from exc
    except Exception as exc:
        if type(exc).__module__ != "sqlite3":  # which need not be loaded
            raise
        kind = _KINDS.get((getattr(exc, "sqlite_errorcode", None) or 0) & 0xFF, "refused")
        raise Fault(kind, f"The store {str(path)!r} cannot be used: {_SAID[kind]} ({exc}).") from exc


def fault_of_system(path: Path, exc: OSError) -> Fault:
    """Gives the fault that stands for what the system refused."""
    import errno

    kinds: dict[int | None, FaultKind] = {
        errno.ENOSPC: "full",
        errno.EDQUOT: "full",
        errno.EROFS: "read_only",
        errno.EACCES: "denied",
        errno.EPERM: "denied",
        errno.ENOENT: "denied",
        errno.ENOTDIR: "denied",
    }
    kind = kinds.get(exc.errno, "io")
    return Fault(kind, f"The store {str(path)!r} cannot be used: {_SAID[kind]} ({exc.strerror or exc}).")

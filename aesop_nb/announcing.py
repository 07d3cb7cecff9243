"""Says once per process that no model is connected, and how to connect one."""

from __future__ import annotations

import sys
from collections.abc import Callable

from .config import settings
from .models.choosing import HOW_TO_CONNECT

TEXT = (
    "No model is connected, so this is a rehearsal with placeholders, not a language model. "
    f"To connect one, {HOW_TO_CONNECT}."
)

_is_said = False


def announce_rehearsal(show: Callable[[str], object] | None = None) -> None:
    """Shows the announcement, on stderr unless told otherwise; only once, and not without `settings.banner`."""
    global _is_said
    if _is_said or not settings.banner:
        return
    _is_said = True
    if show is not None:
        show(TEXT)
    elif sys.stderr is not None:
        sys.stderr.write(f"aesop_nb: {TEXT}\n")

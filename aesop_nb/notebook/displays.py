"""Puts something into the output of a cell: a bundle of forms, which may stand for one that was there before."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from .markup import escape


def show(bundle: dict[str, Any], display_id: str | None = None, *, update: bool = False) -> None:
    """Displays a bundle, or puts it in the place of the one with that id."""
    from IPython.display import display

    options = {} if display_id is None else {"display_id": display_id}
    display(bundle, raw=True, update=update, **options)


def show_announcement(text: str) -> None:
    """Shows a sentence to the person who has run the cell."""
    show({"text/html": f'<p style="margin:0 0 .4em;opacity:.8">{escape(text)}</p>', "text/plain": text})


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)

"""Which notebook or script a run is started from."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from .texts import clean_text

notebook_finders: list[Callable[[], str | None]] = []
"""Asked in turn, in the thread that starts a run, before the environment and the script are looked at."""


def find_notebook() -> str:
    """Gives the notebook or script that this process runs, relative to the working folder; empty if unknown.

    Of a file elsewhere it is the name alone: the folders of a machine are nobody's business.
    """
    for finder in notebook_finders:
        if found := finder():
            return _relative(found)
    return _relative(os.environ.get("JPY_SESSION_NAME") or _script())


def _script() -> str:
    """The file that Python was called with; not a module called by its name, such as a kernel."""
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    if not isinstance(path, str) or not path.endswith(".py") or getattr(main, "__spec__", None) is not None:
        return ""
    return os.path.abspath(path)


def _relative(path: str) -> str:
    if os.path.isabs(path):
        here = os.path.join(os.getcwd(), "")
        path = path[len(here) :] if path.startswith(here) else os.path.basename(path)
    return clean_text(path)

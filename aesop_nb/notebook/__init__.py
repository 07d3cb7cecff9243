"""The Jupyter face: magics, live view, questions."""

from __future__ import annotations

import contextlib
from typing import Any

from .. import asking, background, running
from . import magics, view
from .frontends import audience
from .pump import CellPump

_loaded = contextlib.ExitStack()
_is_loaded = False


def load(shell: Any) -> None:
    """Adds the magics to `shell`, and the live view and the form for questions to all runs; twice is harmless."""
    global _is_loaded
    magics.register(shell)
    if _is_loaded:
        return
    _is_loaded = True
    _loaded.callback(background.add_blocker(CellPump()))
    _loaded.callback(running.on_run_start(view.begin))
    for finder in (audience, view.audience_inside_a_run):
        asking.audience_finders.insert(0, finder)
        _loaded.callback(asking.audience_finders.remove, finder)


def unload(shell: Any) -> None:
    """Takes out what `load` has added; views that are open stay until their runs have ended."""
    global _is_loaded
    magics.unregister(shell)
    _loaded.close()
    _is_loaded = False

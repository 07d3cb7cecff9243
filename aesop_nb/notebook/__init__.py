"""The Jupyter face: magics, live view, questions."""

from __future__ import annotations

import contextlib
from typing import Any

from ..project_settings import use_project_settings

_loaded = contextlib.ExitStack()
_is_loaded = False


def load(shell: Any) -> None:
    """Adds the magics to `shell`, and the live view and the form for questions to all runs; twice is harmless."""
    global _is_loaded
    from . import (  # here, for scripts use the words of this package and have no IPython
        history_commands,
        magics,
    )

    magics.register(shell)
    history_commands.show_stored_runs(shell)
    if not _is_loaded:
        _is_loaded = True
        _add()
    with magics.one_line_errors():
        use_project_settings()


def _add() -> None:
    from .. import background, places, running
    from ..console import following
    from ..engine import asking
    from ..mapping import map_runs
    from . import frontends, headless, map_view, view
    from .pump import CellPump

    _loaded.callback(background.add_blocker(CellPump()))
    _loaded.callback(following.leave_ends_to_others())
    for begin in (view.begin, headless.begin):
        _loaded.callback(running.on_run_start(begin))
    for begin_map in (map_view.begin, headless.begin):
        _loaded.callback(map_runs.on_map_start(begin_map))
    places.notebook_finders.append(frontends.notebook_of_vs_code)
    _loaded.callback(places.notebook_finders.remove, frontends.notebook_of_vs_code)
    for finder in (frontends.audience, view.audience_inside_a_run):
        asking.audience_finders.insert(0, finder)
        _loaded.callback(asking.audience_finders.remove, finder)


def unload(shell: Any) -> None:
    """Takes out what `load` has added; views that are open stay until their runs have ended."""
    global _is_loaded
    from . import magics

    magics.unregister(shell)
    _loaded.close()
    _is_loaded = False

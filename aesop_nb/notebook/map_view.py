"""What a map shows in the notebook: a live view while it goes on, one static block when it has ended."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from .. import background
from .. import events as ev
from ..announcing import announce_rehearsal
from . import map_html, map_wording
from .displays import now, show, show_announcement
from .frontends import front_end
from .pacing import cost_seconds, pace
from .view import WIDGETS_AFTER_SECONDS

if TYPE_CHECKING:
    from ..mapping.map_runs import MapRun
    from .map_panel import MapPanel
    from .panel import View

_FIRST_TICKS_SECONDS = 0.25
_TICK_SHARE = 1 / 40
_LAST_TICKS_SECONDS = 10.0


def begin(run: MapRun) -> None:
    """Gives a map that begins its view; to be called in the thread that starts it.

    A map inside a run has none of its own: it is one of the runs inside that one.
    """
    where = front_end()
    if run.parent is not None or where == "none":
        return
    if run.is_rehearsal:
        announce_rehearsal(show_announcement)
    if run.view == "off":
        return
    if where == "widgets":
        MapView(run, cast("View", run.view))
    else:
        _record_at_end(run)


def tick_seconds(passed_seconds: float) -> float:
    """Gives the time between two updates of a map that has taken so long, however many rows it has.

    It is a share of that time: in the first minute each second counts, and after half an hour it does not.
    """
    return min(_LAST_TICKS_SECONDS, max(_FIRST_TICKS_SECONDS, _TICK_SHARE * passed_seconds))


class MapView:
    """The view of one map, from its start to its end; made in the thread of the cell, so that it shows there.

    It begins as plain HTML and gets its widgets a moment later, so that a map that is done by then, because its
    rows are in the store, costs two messages and not thirty.
    """

    def __init__(self, run: MapRun, view: View) -> None:
        from .map_panel import placeholder  # here, so that the loop's thread need not import ipywidgets

        self._run = run
        self._view = view
        self._is_shown = False
        self._panel: MapPanel | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._display_id = f"aesop-{uuid4().hex}"
        # What is shown from the loop's thread lands in the cell whose context variables it has.
        self._context = copy_context()
        self._show({"text/html": placeholder(run, now(), view)})
        run.listen(self._on_event, watches=False)
        background.call_soon(self._begin)

    # On the loop's thread ----------------------------------------------------------------------------

    def flush(self) -> float:
        """Sends what is new and sees to the next tick."""
        if self._run.status.is_final:
            return 0.0
        self._tick_after(tick_seconds(self._run.log.duration_seconds(now())))
        return self._context.copy().run(self._update)

    def _update(self) -> float:
        cost = 0.0
        if self._panel is None:
            from .map_panel import MapPanel

            self._panel = MapPanel(self._run, now(), cancel=self._cancel, view=self._view)
            record = map_html.static_block(self._run)  # for whoever opens the notebook as it is saved now
            self._show({**self._panel.root._repr_mimebundle_(), "text/html": record})
            cost = cost_seconds(10, 8_000 + len(record))
        return cost + self._panel.show(now())

    def _cancel(self) -> None:
        """Called where the click is heard, which is another thread."""
        self._run.cancel()
        background.call_soon(lambda: pace.hurry(self))

    def _begin(self) -> None:
        if not self._run.status.is_final:
            self._tick_after(WIDGETS_AFTER_SECONDS)

    def _on_event(self, _: ev.Event) -> None:
        if self._run.status.is_final:
            self._end()

    def _tick_after(self, seconds: float) -> None:
        if self._tick is None:
            self._tick = asyncio.get_running_loop().call_later(seconds, self._ticked)

    def _ticked(self) -> None:
        self._tick = None
        pace.ask(self)

    def _end(self) -> None:
        """Replaces the live view by what is saved; called before those who wait for the map go on."""
        if self._tick:
            self._tick.cancel()
        pace.leave(self)
        self._context.copy().run(self._replace)

    def _replace(self) -> None:
        panel, self._panel = self._panel, None
        try:
            self._show({"text/html": map_html.static_block(self._run)})
        finally:
            if panel is not None:
                panel.close()

    def _show(self, bundle: dict[str, Any]) -> None:
        plain = map_wording.plain_line(self._run)
        show({**bundle, "text/plain": plain}, self._display_id, update=self._is_shown)
        self._is_shown = True


def _record_at_end(run: MapRun) -> None:
    """Shows the static block when the map has ended, and nothing before."""
    context = copy_context()

    def on_event(_: ev.Event) -> None:
        if run.status.is_final:
            html = map_html.static_block(run)
            context.copy().run(show, {"text/html": html, "text/plain": map_wording.plain_line(run)})

    run.listen(on_event, watches=False)

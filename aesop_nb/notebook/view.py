"""What a run shows in the notebook: a live view while it runs, one static block when it has ended."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from .. import background, scopes
from .. import events as ev
from ..announcing import announce_rehearsal
from ..config import settings
from . import html
from .displays import now, show, show_announcement
from .frontends import front_end
from .pacing import cost_seconds, pace

if TYPE_CHECKING:
    from ..engine.asking import Audience
    from ..runlogs import Approval, Exchange
    from ..running import Run
    from .asked import Asked
    from .panel import Panel, View

WIDGETS_AFTER_SECONDS = 0.1
MAX_VIEWS_WITH_WIDGETS = 12
PROMPT_VIEWS = 3
"""So many views get their widgets at once, whatever was sent before; more take their turn."""

_ENDS = (ev.RunCompleted, ev.RunFailed, ev.RunCancelled)
_OF_THE_PERSON = (ev.UserAsked, ev.UserAnswered, ev.ApprovalAsked, ev.ApprovalDecided)

_views: dict[str, LiveView] = {}  # by the ids of their runs and of the runs inside these
_with_widgets: set[LiveView] = set()


def begin(run: Run[Any]) -> None:
    """Gives a run that begins its view. Here, and only here, is decided which runs get one.

    To be called in the thread that starts the run. A run inside another one has none of its own: its questions
    show in the view of the outermost.
    """
    if run.parent is not None:
        if outer := _views.get(run.parent.id):
            outer.adopt(run)
        return
    where = front_end()
    if where == "none":
        return
    view = cast("View", scopes.view_level())
    if run.is_rehearsal:
        announce_rehearsal(show_announcement)
    if where == "widgets":
        LiveView(run, view)
    elif view != "off":
        _record_at_end(run)


def audience_inside_a_run() -> Audience | None:
    """Says that a question can be shown in the view of the run inside which this thread starts another."""
    parent = scopes.parent_run.get()
    outer = _views.get(parent.id) if parent is not None else None
    return "widget" if outer and outer.can_ask else None


class LiveView:
    """The view of one run, from its start to its end; made in the thread of the cell, so that it shows there.

    It begins as plain HTML and gets its widgets a moment later, so that a run that is done by then costs two
    messages and not thirty. Of many runs at a time only some get widgets, and those that ask.

    With `view="off"` it is there for questions alone: it shows the form while one is open, then what was said.

    Attributes:
        can_ask: Whether clicks in it are heard while the cell runs.
    """

    def __init__(self, run: Run[Any], view: View) -> None:
        from .looks import is_captured
        from .panel import placeholder  # here, so that the loop's thread need not import ipywidgets

        self._run = run
        self._view = view
        self._is_shown = False
        self._inside: dict[str, Run[Any]] = {}
        self._panel: Panel | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._display_id = f"aesop-{uuid4().hex}"
        # What is shown from the loop's thread lands in the cell whose context variables it has.
        self._context = copy_context()
        self._max_seconds = run.task.config.max_duration_seconds
        self.can_ask = run.audience == "widget"
        self._is_captured = is_captured()
        _views[run.id] = self
        if view != "off" and self._is_captured:
            self._open_panel()
        elif view != "off":
            self._show({"text/html": placeholder(run.log, now(), self._max_seconds, view)})
        run.listen(self._on_event, watches=True)
        background.call_soon(self._begin)

    def adopt(self, run: Run[Any]) -> None:
        """Shows the questions of a run inside this one."""
        self._inside[run.id] = run
        _views[run.id] = self
        run.listen(self._on_inner_event, watches=False)

    # On the loop's thread ----------------------------------------------------------------------------

    def flush(self) -> float:
        """Sends what is new and sees to the next tick."""
        if self._run.status.is_final:
            return 0.0
        if not self._run.is_parked and (self._view != "off" or self._panel is not None):
            self._tick_after(self._seconds_to_tick())
        return self._context.copy().run(self._update)

    def _update(self) -> float:
        question = self._open_question()
        cost = 0.0
        if self._panel is None:
            if question is None and (self._view == "off" or len(_with_widgets) >= MAX_VIEWS_WITH_WIDGETS):
                return 0.0
            cost = self._open_panel()
            assert self._panel is not None
        elif question is None and self._view == "off" and not self._panel.is_page_new():
            self._replace()
            return cost_seconds(10, 8_000)
        return cost + self._panel.show(self._run.log, now(), question, self._run.children)

    def _open_panel(self) -> float:
        from .panel import Panel

        _with_widgets.add(self)
        run = self._run
        self._panel = Panel(
            run.log,
            now(),
            cancel=run.cancel,
            max_seconds=self._max_seconds,
            may_ask=_may_ask(run),
            view=self._view,
            stays=self._is_captured,
        )
        record = html.static_block(run.log)  # for whoever opens the notebook as it is saved now
        self._show({**self._panel.root._repr_mimebundle_(), "text/html": record})
        return cost_seconds(10, 8_000 + len(record))

    def _begin(self) -> None:
        if not self._run.status.is_final and self._view != "off":
            self._tick_after(WIDGETS_AFTER_SECONDS)

    def _on_event(self, event: ev.Event) -> None:
        if self._run.status.is_final:
            self._end()
        elif isinstance(event, (*_OF_THE_PERSON, ev.CancelRequested)):
            pace.hurry(self)
        elif self._panel is not None:
            pace.ask(self)

    def _on_inner_event(self, event: ev.Event) -> None:
        if isinstance(event, _ENDS):
            self._inside.pop(event.run_id, None)
        if self._run.status.is_final:
            return
        if isinstance(event, _OF_THE_PERSON):
            pace.hurry(self)
        elif self._panel is not None:
            pace.ask(self)

    def _tick_after(self, seconds: float) -> None:
        if self._tick is None:
            self._tick = asyncio.get_running_loop().call_later(seconds, self._ticked)

    def _ticked(self) -> None:
        self._tick = None
        if self._panel is None and len(_with_widgets) < PROMPT_VIEWS:
            pace.hurry(self)
        else:
            pace.ask(self)

    def _seconds_to_tick(self) -> float:
        if asked := self._open_question():
            return 5.0 if asked.waiting.time_limit_seconds is None else 1.0
        return 0.25 if self._run.duration_seconds < 2 else 1.0

    def _open_question(self) -> Asked | None:
        """Gives the first open question of this run and those inside it, if it can be answered here."""
        for run in (self._run, *list(self._inside.values())):
            if run.audience == "widget" and (waiting := run.log.waiting_for):
                return _asked(run, waiting, asker=run.task.name if run is not self._run else "")
        return None

    def _end(self) -> None:
        """Replaces the live view by what is saved; called before those who wait for the run go on."""
        if self._tick:
            self._tick.cancel()
        pace.leave(self)
        _with_widgets.discard(self)
        for known in [name for name, view in _views.items() if view is self]:
            del _views[known]
        self._context.copy().run(self._replace)

    def _replace(self) -> None:
        """Takes the widgets away and shows in their place what is to stay."""
        panel, self._panel = self._panel, None
        _with_widgets.discard(self)
        record = ""
        try:
            record = html.conversation(self._run.log) if self._view == "off" else _record(self._run)
            if self._view != "off" or self._is_shown:
                self._show({"text/html": record})
        finally:
            if panel is not None:
                panel.close(record)

    def _show(self, bundle: dict[str, Any]) -> None:
        show(
            {**bundle, "text/plain": html.plain_line(self._run.log)}, self._display_id, update=self._is_shown
        )
        self._is_shown = True


def _asked(run: Run[Any], waiting: Exchange | Approval, *, asker: str) -> Asked:
    from .asked import Asked

    return Asked((run.id, type(waiting).__name__, waiting.name), waiting, run, asker)


def _may_ask(run: Run[Any]) -> bool:
    return run.audience == "widget" and run.may_ask


# Without widgets --------------------------------------------------------------------------------------


def _record_at_end(run: Run[Any]) -> None:
    """Shows the static block when the run has ended, and nothing before."""
    context = copy_context()

    def on_event(_: ev.Event) -> None:
        if run.status.is_final:
            bundle = {"text/html": _record(run), "text/plain": html.plain_line(run.log)}
            context.copy().run(show, bundle)

    run.listen(on_event, watches=False)


def _record(run: Run[Any]) -> str:
    # Who has switched the store off knows that nothing is kept.
    problem = run.store.problem if settings.store != "off" else None
    return html.static_block(run.log, run.children, problem=problem or "")

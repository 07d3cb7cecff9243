"""What a run shows in the notebook: a live view while it runs, one static block when it has ended."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from .. import background, scopes
from .. import events as ev
from ..announcing import announce_rehearsal
from . import html
from .frontends import front_end
from .pacing import Pace, cost_seconds

if TYPE_CHECKING:
    from ..asking import Audience
    from ..runlogs import Exchange
    from ..running import Run
    from .panel import OpenQuestion, Panel

WIDGETS_AFTER_SECONDS = 0.1
MAX_VIEWS_WITH_WIDGETS = 12
PROMPT_VIEWS = 3
"""So many views get their widgets at once, whatever was sent before; more take their turn."""

_pace = Pace()
_views: dict[str, LiveView] = {}  # by the ids of their runs and of the runs inside these
_with_widgets: set[LiveView] = set()


def begin(run: Run[Any]) -> None:
    """Gives a run that begins its view. Here, and only here, is decided which runs get one.

    To be called in the thread that starts the run. A run inside another one has none of its own: its questions
    show in the view of the outermost.
    """
    parent = run.log.created.parent_run_id if run.log.created else None
    if parent is not None:
        if outer := _views.get(parent):
            outer.adopt(run)
        return
    where = front_end()
    if where == "none":
        return
    if run.is_rehearsal:
        announce_rehearsal(_show_announcement)
    if where == "widgets":
        LiveView(run)
    else:
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

    Attributes:
        can_ask: Whether clicks in it are heard while the cell runs.
    """

    def __init__(self, run: Run[Any]) -> None:
        from .panel import placeholder  # here, so that the loop's thread need not import ipywidgets

        self._run = run
        self._inside: list[Run[Any]] = []
        self._panel: Panel | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._display_id = f"aesop-{uuid4().hex}"
        # What is shown from the loop's thread lands in the cell whose context variables it has.
        self._context = copy_context()
        self._max_seconds = run.task.config.max_duration_seconds
        self.can_ask = run.audience == "widget"
        _views[run.id] = self
        self._show({"text/html": placeholder(run.log, _now(), self._max_seconds)})
        run.listen(self._on_event, watches=True)
        background.call_soon(self._begin)

    def adopt(self, run: Run[Any]) -> None:
        """Shows the questions of a run inside this one."""
        self._inside.append(run)
        _views[run.id] = self
        run.listen(self._on_inner_event, watches=False)

    # On the loop's thread ----------------------------------------------------------------------------

    def flush(self) -> float:
        """Sends what is new and sees to the next tick."""
        if self._run.status.is_final:
            return 0.0
        if not self._run.is_parked:
            self._tick_after(self._seconds_to_tick())
        return self._context.copy().run(self._update)

    def _update(self) -> float:
        question = self._open_question()
        cost = 0.0
        if self._panel is None:
            if question is None and len(_with_widgets) >= MAX_VIEWS_WITH_WIDGETS:
                return 0.0
            self._panel = self._new_panel()
            self._show(self._panel.root._repr_mimebundle_(), update=True)
            cost = cost_seconds(10, 8_000)
        return cost + self._panel.show(self._run.log, _now(), question)

    def _new_panel(self) -> Panel:
        from .panel import Panel

        _with_widgets.add(self)
        run = self._run
        return Panel(run.log, _now(), cancel=run.cancel, max_seconds=self._max_seconds, may_ask=_may_ask(run))

    def _begin(self) -> None:
        if not self._run.status.is_final:
            self._tick_after(WIDGETS_AFTER_SECONDS)

    def _on_event(self, event: ev.Event) -> None:
        if self._run.status.is_final:
            self._end()
        elif isinstance(event, (ev.UserAsked, ev.UserAnswered, ev.CancelRequested)):
            _pace.hurry(self)
        elif self._panel is not None:
            _pace.ask(self)

    def _on_inner_event(self, event: ev.Event) -> None:
        if isinstance(event, (ev.UserAsked, ev.UserAnswered, ev.RunFailed, ev.RunCancelled)):
            _pace.hurry(self)

    def _tick_after(self, seconds: float) -> None:
        if self._tick is None:
            self._tick = asyncio.get_running_loop().call_later(seconds, self._ticked)

    def _ticked(self) -> None:
        self._tick = None
        if self._panel is None and len(_with_widgets) < PROMPT_VIEWS:
            _pace.hurry(self)
        else:
            _pace.ask(self)

    def _seconds_to_tick(self) -> float:
        if self._run.log.question:
            return 5.0
        return 0.25 if self._run.duration_seconds < 2 else 1.0

    def _open_question(self) -> OpenQuestion | None:
        """Gives the first open question of this run and those inside it, if it can be answered here."""
        for run in (self._run, *self._inside):
            if run.audience == "widget" and (asked := run.log.question):
                return _question(run, asked, asker=run.task.name if run is not self._run else "")
        return None

    def _end(self) -> None:
        """Replaces the live view by what is saved; called before those who wait for the run go on."""
        if self._tick:
            self._tick.cancel()
        _pace.leave(self)
        _with_widgets.discard(self)
        for run in (self._run, *self._inside):
            _views.pop(run.id, None)
        self._context.copy().run(self._replace)

    def _replace(self) -> None:
        try:
            self._show({"text/html": html.static_block(self._run.log)}, update=True)
        finally:
            if self._panel is not None:
                self._panel.close()

    def _show(self, bundle: dict[str, Any], *, update: bool = False) -> None:
        _display({**bundle, "text/plain": html.plain_line(self._run.log)}, self._display_id, update=update)


def _question(run: Run[Any], exchange: Exchange, *, asker: str) -> OpenQuestion:
    from .panel import OpenQuestion

    def send(text: str) -> None:
        run.answer(text, question_id=exchange.question_id, source="widget")

    return OpenQuestion(
        (run.id, exchange.question_id), exchange.question, exchange.choices, asker=asker, send=send
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _may_ask(run: Run[Any]) -> bool:
    task = run.task
    return run.audience == "widget" and (task.user_access or any(agent.user_access for agent in task.agents))


# Without widgets --------------------------------------------------------------------------------------


def _record_at_end(run: Run[Any]) -> None:
    """Shows the static block when the run has ended, and nothing before."""
    context = copy_context()

    def on_event(_: ev.Event) -> None:
        if run.status.is_final:
            context.copy().run(_display, _record(run))

    run.listen(on_event, watches=False)


def _record(run: Run[Any]) -> dict[str, str]:
    return {"text/html": html.static_block(run.log), "text/plain": html.plain_line(run.log)}


def _show_announcement(text: str) -> None:
    _display(
        {"text/html": f'<p style="margin:0 0 .4em;opacity:.8">{html.escape(text)}</p>', "text/plain": text}
    )


def _display(bundle: dict[str, Any], display_id: str | None = None, *, update: bool = False) -> None:
    from IPython.display import display

    options = {} if display_id is None else {"display_id": display_id}
    display(bundle, raw=True, update=update, **options)

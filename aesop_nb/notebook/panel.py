"""The widgets of one live view: a header, the finished steps, what goes on now, and the open question.

A stock `HTML` widget writes its whole text anew at each update, and a line that a person has opened closes.
So each part that changes at a pace of its own is a widget of its own, and finished steps stand in chunks: a
chunk takes the steps that have ended within some time and is then left alone, all but the last one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import ipywidgets

from ..texts import one_line
from . import ask, lines, pump
from .finished import Finished, Row
from .inside import Nested, under_way
from .looks import Look
from .markup import escape
from .pacing import cost_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from ..runlogs import RunLog
    from .asked import Asked

View: TypeAlias = Literal["full", "compact", "off"]
"""How much is shown: all; one line and the form; the form alone."""

MAX_MODELS = 14
"""Widget models of one view, layouts and styles included, however many steps there are."""

_BASE_MODELS = 8  # box, two layouts, two styles, header, Cancel, what goes on now

CHUNK_SECONDS = 0.5
"""The first chunk takes what has ended first, the second what ends in so long, each following one twice as long.

A chunk is written once, all but the last one. What ends meanwhile stands below in lines that do not open, so
that nothing a person reads is closed.
"""

CALM_SECONDS = 5.0
CALM_SHARE = 0.2
"""The last chunk is written anew after so long, or after this share of the time since the begin if it is more."""

MAX_CHUNK_ROWS = 12
MAX_CHUNK_CHARACTERS = 30_000
"""What a chunk shows at most; what was before is counted."""

_MAX_RUNNING_ROWS = 5
_CALM_LINES = 3
_FORM_LINES = 2  # what every form takes of the height that is kept
_TEXT_LINES = 6.6  # what `answer_text` gives at most, with its margins
LIVE_CLASS = "aesop-nb-live"
# Cancel stands beside the header, at the right edge of what is below, in narrow pages, too.
_TOP = f".{LIVE_CLASS}>:has(.aesop-nb-here){{flex:1 1 70%!important}}"
# A choice may be long: stock buttons are one line high, and what does not fit is cut off.
_LONG_CHOICES = (
    f"<style>.{LIVE_CLASS} .jupyter-button{{max-width:100%;height:auto;min-height:28px;padding:4px 10px;"
    "line-height:20px;white-space:normal;overflow-wrap:anywhere;text-align:left;align-self:flex-start;"
    "margin-bottom:4px}</style>"
)
# Once the kernel is gone nobody can change the view: the page itself, which marks widgets whose kernel does not
# answer any more, shows this in place of what would go on saying "running".
_DEAD = f".{LIVE_CLASS}.jupyter-widgets-disconnected"
_GONE = (
    f"<style>{_TOP}{_DEAD} :is(.widget-button,.aesop-nb-here){{display:none!important}}"
    f"{_DEAD} .jupyter-widgets-disconnected::before{{content:none}}"  # one mark is enough
    f'{_DEAD} .aesop-nb-gone{{display:block}}</style><div class="aesop-nb-gone" hidden>'
)
_QUIET_LINE = '<div style="opacity:.7;line-height:1.5">{}</div>'


@dataclass
class _Chunk:
    widget: Any
    rows: list[Row] = field(default_factory=list)
    height: float = 0.0


def placeholder(log: RunLog, now: datetime, max_seconds: float | None, view: View) -> str:
    """What a view shows before it has widgets; as high as they are, so that the page does not jump."""
    return header(log, now, max_seconds, view) + ("" if view == "compact" else _calm("", _CALM_LINES))


def header(log: RunLog, now: datetime, max_seconds: float | None, view: View) -> str:
    """The ticking lines, beside which Cancel stays where it is whatever they say."""
    return beside_cancel(lines.header(log, now, max_seconds, is_compact=view == "compact"), lines.gone(log))


def beside_cancel(shown: str, gone: str) -> str:
    """Gives `shown` with room for Cancel beside it, and `gone` in its place once the kernel is gone."""
    return f'<div class="aesop-nb-here">{shown}</div>{_GONE}{gone}</div>'


def _calm(shown: str, height: float, asked: str = "") -> str:
    """Gives what goes on now, at least so many lines high: what is below does not move up and down."""
    kept = f"min-height:{1.5 * height:g}em"
    if not asked:
        return f'<div style="{kept}">{shown}</div>'
    column = f"{kept};display:flex;flex-direction:column"
    return f'<div style="{column}">{shown}<div style="margin-top:auto">{asked}</div></div>'


class Panel:
    """Shows a `RunLog` with widgets. All methods but the constructor belong to the loop's thread.

    Attributes:
        root: The widget to display.
    """

    def __init__(
        self,
        log: RunLog,
        now: datetime,
        *,
        cancel: Callable[[], None],
        max_seconds: float | None,
        may_ask: bool,
        view: View = "full",
        stays: bool = False,
    ) -> None:
        self._look = Look()
        self._stays = stays
        self._max_seconds = max_seconds
        self._view = view
        self._free_models = MAX_MODELS - _BASE_MODELS - (ask.MAX_MODELS if may_ask else 0)
        self._header = self._look.html(header(log, now, max_seconds, view), is_tight=True)
        self._cancel = self._look.button("Cancel", cancel, tooltip="Stop this run; finished steps are kept")
        self._now = self._look.html(_calm("", _CALM_LINES) if view == "full" else "")
        self._chunks: list[_Chunk] = []
        self._finished = Finished()
        self._held: list[Row] = []
        self._began = self._next_chunk_at = time.monotonic()
        self._height: float = _CALM_LINES
        self._form: ask.Form | None = None
        self._form_key: tuple[str, ...] | None = None
        self._form_closed_at = 0.0
        self._messages = self._characters = 0
        self._top = () if view == "off" else (self._header, self._cancel)
        self.root = ipywidgets.Box([*self._top, self._now], layout=self._look.full)
        self.root.add_class(LIVE_CLASS)
        self._unserve = [pump.serve_widgets(self.root)]

    def show(
        self,
        log: RunLog,
        now: datetime,
        question: Asked | None = None,
        children: Sequence[Nested] = (),
    ) -> float:
        """Brings the widgets up to date; gives what `cost_seconds` says of the messages it took."""
        self._messages = self._characters = 0
        if self._top:
            self._set(self._header, header(log, now, self._max_seconds, self._view))
        if log.cancel_reason is not None and not self._cancel.disabled:
            self._cancel.disabled = True
            self._count(1, 0)
        self._ask(question)
        asked = f"{_LONG_CHOICES}{question.html(now)}" if question else ""
        if self._view == "full":
            self._append([*self._finished.take(log, children)])
            self._show_now(log, children, asked)
        else:
            self._set(self._now, asked)
        return cost_seconds(self._messages, self._characters)

    def is_page_new(self) -> bool:
        """Whether a page was loaded since this was shown, which hears of these widgets and of nothing else."""
        return self._look.is_page_new()

    def close(self, record: str = "") -> None:
        """Closes all widgets and stops listening to them.

        Args:
            record: What stands in their place now; empty if nothing does. A page that was loaded again
                meanwhile drops what is put in the place of an output, and it would be left with an empty one,
                so for such a page, and where `stays` was given, it is put into one of the widgets, which stays.
        """
        for unserve in self._unserve:
            unserve()
        shown = self.root.children
        kept: set[Any] = set()
        if record and (self._stays or self.is_page_new()):
            kept = {self.root, self._header}
            self.root.remove_class(LIVE_CLASS)
            self._header.layout = self._look.full
            self._header.value = record
            self.root.children = (self._header,)
        if self._form:
            self._form.close()
        for widget in {self._header, self._cancel, *shown, self.root} - kept:
            widget.close()
        self._look.close(keeps_html=bool(kept))

    # The parts ---------------------------------------------------------------------------------------

    def _show_now(self, log: RunLog, children: Sequence[Nested], asked: str) -> None:
        """Shows the lines that are held and those of what goes on, and keeps the height that was reached."""
        inside = [*self._finished.waiting, *under_way(children)]
        going = _now(log, inside)
        text = lines.answer_text(log)
        height = sum(row.height for row in self._held[-MAX_CHUNK_ROWS:]) + len(going)
        height += min(len(inside), lines.MAX_INSIDE_ROWS) + (_TEXT_LINES if text else 0.0)
        above = sum(chunk.height for chunk in self._chunks)
        self._height = max(self._height, above + height)
        held = _last_rows([row.plain for row in self._held])
        shown = "".join([held, *going, text])
        form = _FORM_LINES if asked else 0
        self._set(self._now, _calm(shown, max(0, self._height - above - form), asked))

    def _append(self, rows: list[Row]) -> None:
        """Puts finished lines into a chunk; until it is time for that they are held and shown with `_now`."""
        self._held += rows
        now = time.monotonic()
        if not self._held or now < self._next_chunk_at:
            return
        if not self._form and self._free_models:
            self._begin_chunk()
        if not self._chunks:
            return
        if self._free_models and not self._form:
            wait = CHUNK_SECONDS * 2 ** (len(self._chunks) - 1)
        else:
            wait = max(CALM_SECONDS, CALM_SHARE * (now - self._began))
        self._next_chunk_at = now + wait
        chunk = self._chunks[-1]
        chunk.rows += self._held
        self._held = []
        chunk.height = sum(row.height for row in chunk.rows[-MAX_CHUNK_ROWS:])
        self._set(chunk.widget, _last_rows([row.opening for row in chunk.rows]))

    def _begin_chunk(self) -> None:
        """Lets the last widget become a chunk and puts a new one behind it: so nothing is drawn anew.

        Not to be called while a form is open, which stands behind it and would be drawn anew, the text a
        person is typing lost.
        """
        self._chunks.append(_Chunk(self._now))
        self._now = self._look.html()
        self._free_models -= 1
        self._count(1, 500)
        self._arrange()
        self._unserve.append(pump.serve_widgets(self._now))

    def _ask(self, question: Asked | None) -> None:
        if question is None and self._form is None:
            return
        if question is not None and question.key == self._form_key:
            return
        before, self._form, self._form_key = self._form, None, None
        if before:
            self._form_closed_at = time.monotonic()
        if question is not None:
            self._form_key = question.key
            deaf_until = self._form_closed_at + ask.DOUBLE_CLICK_SECONDS
            self._form = ask.form_for(question, self._look, deaf_until=deaf_until)
            self._unserve.append(pump.serve_widgets(*self._form.widgets))
            self._count(4, 4_000)
        self._arrange()
        if before:
            before.close()

    def _arrange(self) -> None:
        form = self._form.widgets if self._form else ()
        chunks = [chunk.widget for chunk in self._chunks]
        self.root.children = (*self._top, *chunks, self._now, *form)
        self._count(1, 500)

    def _set(self, widget: Any, value: str) -> None:
        if widget.value != value:
            widget.value = value
            self._count(1, len(value))

    def _count(self, messages: int, characters: int) -> None:
        self._messages += messages
        self._characters += characters


def _last_rows(rows: list[str]) -> str:
    """Gives the last of these lines, as many as one message may well carry."""
    shown = len(rows)
    characters = 0
    for count, row in enumerate(reversed(rows), 1):
        characters += len(row)
        if count > MAX_CHUNK_ROWS or (characters > MAX_CHUNK_CHARACTERS and count > 1):
            shown = count - 1
            break
    hidden = len(rows) - shown
    before = _QUIET_LINE.format(f"… {hidden:,} more before these")
    return (before if hidden else "") + "".join(rows[hidden:])


def _now(log: RunLog, inside: Sequence[Nested]) -> list[str]:
    """Gives the lines of what goes on: running calls, runs inside them, the last notice."""
    running = [step for step in log.steps if step.state == "running"]
    # The lines of the runs inside change all the time, and what is opened beside them would be closed.
    shown = [lines.step_row(step, opens=not inside) for step in running[:_MAX_RUNNING_ROWS]]
    if (more := len(running) - _MAX_RUNNING_ROWS) > 0:
        shown.append(_QUIET_LINE.format(f"… {more:,} more running"))
    if inside:
        shown.append(lines.inside_rows(inside, log, opens=False))
    if log.notices:
        shown.append(_QUIET_LINE.format(escape(one_line(log.notices[-1], 300))))
    return shown

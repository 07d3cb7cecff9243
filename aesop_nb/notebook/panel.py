"""The widgets of one live view: a header, the finished steps, what goes on now, and the open question.

A stock `HTML` widget writes its whole text anew at each update, and a line that a person has opened closes.
So each part that changes at a pace of its own is a widget of its own, and finished steps stand in chunks: a
chunk takes the steps that end within a short time and is then never touched again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ipywidgets

from ..texts import one_line
from . import html, pump
from .ask import QuestionForm, answered_row, question_html
from .looks import Look
from .pacing import cost_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from ..runlogs import RunLog

MAX_MODELS = 14
"""Widget models of one view, layouts and styles included, however many steps there are."""

_BASE_MODELS = 8  # box, two layouts, two styles, header, Cancel, what goes on now
_FORM_MODELS = 3  # field with its style, Send; or three choices

CHUNK_SECONDS = 0.5
"""The second chunk takes steps for so long, each following one twice as long, the last one for ever.

The first takes only what has ended together, so that the first line that can be opened stays open.
"""

MAX_CHUNK_ROWS = 12
MAX_CHUNK_CHARACTERS = 30_000
"""What a chunk shows at most; what was before is counted."""

_MAX_RUNNING_ROWS = 5
_CALM = '<div style="min-height:{}em">{}</div>'
_CALM_LINES = 3
_QUIET_LINE = '<div style="opacity:.7">{}</div>'


@dataclass
class _Chunk:
    widget: Any
    until: float
    rows: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class OpenQuestion:
    """A question to show: its name, its texts, and what takes the answer."""

    key: tuple[str, str]
    text: str
    choices: list[str]
    asker: str
    send: Callable[[str], None]


def placeholder(log: RunLog, now: datetime, max_seconds: float | None) -> str:
    """What a view shows before it has widgets; as high as they are, so that the page does not jump."""
    return header(log, now, max_seconds) + _calm("", 0)


def header(log: RunLog, now: datetime, max_seconds: float | None) -> str:
    """The ticking lines, as wide whatever they say: Cancel beside them stays where it is."""
    # A grid, because its column is 60em wide where there is room, and shrinks where there is not.
    lines = html.header(log, now, max_seconds)
    return f'<div style="display:grid;grid-template-columns:minmax(0,60em)">{lines}</div>'


def _calm(lines: str, finished: int) -> str:
    """Gives what goes on now, with room so that the whole begins as high as it will soon be."""
    return _CALM.format(1.5 * max(0, _CALM_LINES - finished), lines)


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
    ) -> None:
        self._look = Look()
        self._max_seconds = max_seconds
        self._free_models = MAX_MODELS - _BASE_MODELS - (_FORM_MODELS if may_ask else 0)
        self._header = self._look.html(header(log, now, max_seconds), is_tight=True)
        self._cancel = self._look.button("Cancel", cancel, tooltip="Stop this run; finished steps are kept")
        self._now = self._look.html(_calm("", 0))
        self._chunks: list[_Chunk] = []
        self._taken: set[int] = set()
        self._first_open = 0
        self._answered = 0
        self._held: list[str] = []
        self._form: QuestionForm | None = None
        self._form_key: tuple[str, str] | None = None
        self._messages = self._characters = 0
        self.root = ipywidgets.Box([self._header, self._cancel, self._now], layout=self._look.full)
        self._unserve = [pump.serve_widgets(self.root)]

    def show(self, log: RunLog, now: datetime, question: OpenQuestion | None = None) -> float:
        """Brings the widgets up to date; gives what `cost_seconds` says of the messages it took."""
        self._messages = self._characters = 0
        self._set(self._header, header(log, now, self._max_seconds))
        if log.cancel_reason is not None and not self._cancel.disabled:
            self._cancel.disabled = True
            self._count(1, 0)
        self._ask(question)
        rows = [*self._fresh_rows(log)]
        if rows or (self._held and not self._form):
            self._append(rows)
        asked = question_html(question.text, question.asker) if question else ""
        lines = "".join([*self._held, *_now(log), asked])
        self._set(self._now, _calm(lines, sum(len(chunk.rows) for chunk in self._chunks)))
        return cost_seconds(self._messages, self._characters)

    def close(self) -> None:
        """Closes all widgets and stops listening to them."""
        for unserve in self._unserve:
            unserve()
        if self._form:
            self._form.close()
        for widget in (*self.root.children, self.root):
            widget.close()
        self._look.close()

    # The parts ---------------------------------------------------------------------------------------

    def _fresh_rows(self, log: RunLog) -> Iterator[str]:
        """Gives the lines of what has ended since the last time, in the order in which it began."""
        steps = log.steps
        for place in range(self._first_open, len(steps)):
            if place not in self._taken and steps[place].state in ("done", "failed"):
                self._taken.add(place)
                yield html.step_row(steps[place])
        while self._first_open in self._taken:
            self._taken.discard(self._first_open)
            self._first_open += 1
        for exchange in log.exchanges[self._answered :]:
            if exchange.answer is None:
                break
            self._answered += 1
            yield answered_row(exchange)

    def _append(self, rows: list[str]) -> None:
        """Puts finished lines into a chunk; what cannot stand in one yet is held and shown with `_now`."""
        now = time.monotonic()
        self._held += rows
        if not self._chunks or now >= self._chunks[-1].until:
            self._begin_chunk(now)
        if not self._chunks or not self._held:
            return
        self._chunks[-1].rows += self._held
        self._held = []
        self._set(self._chunks[-1].widget, _last_rows(self._chunks[-1].rows))

    def _begin_chunk(self, now: float) -> None:
        """Lets the last widget become a chunk and puts a new one behind it: so nothing is drawn anew.

        Not while a form is open, which stands behind it and would be drawn anew, the text a person is typing
        lost; and not when there are enough models.
        """
        if self._form or not self._free_models:
            return
        seconds = CHUNK_SECONDS * 2 ** (len(self._chunks) - 1) if self._chunks else 0.0
        self._chunks.append(_Chunk(self._now, now + seconds))
        self._now = self._look.html()
        self._free_models -= 1
        self._count(1, 500)
        self._arrange()
        self._unserve.append(pump.serve_widgets(self._now))

    def _ask(self, question: OpenQuestion | None) -> None:
        if question is None and self._form is None:
            return
        if question is not None and question.key == self._form_key:
            return
        before, self._form, self._form_key = self._form, None, None
        if question is not None:
            self._form_key = question.key
            self._form = QuestionForm(question.choices, question.send, self._look)
            self._unserve.append(pump.serve_widgets(*self._form.widgets))
            self._count(4, 4_000)
        self._arrange()
        if before:
            before.close()

    def _arrange(self) -> None:
        form = self._form.widgets if self._form else ()
        chunks = [chunk.widget for chunk in self._chunks]
        self.root.children = (self._header, self._cancel, *chunks, self._now, *form)
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
    before = _QUIET_LINE.format(f"… {hidden:,} more before these; the record at the end tells of them")
    return (before if hidden else "") + "".join(rows[hidden:])


def _now(log: RunLog) -> Iterator[str]:
    """Gives the lines of what goes on: running calls, the last notice, the text being written."""
    running = [step for step in log.steps if step.state == "running"]
    for step in running[:_MAX_RUNNING_ROWS]:
        yield html.step_row(step)
    if (more := len(running) - _MAX_RUNNING_ROWS) > 0:
        yield _QUIET_LINE.format(f"… {more:,} more running")
    if log.notices:
        yield _QUIET_LINE.format(html.escape(one_line(log.notices[-1], 300)))
    yield html.answer_text(log)

"""The widgets of the live view of a map: what ticks, Cancel, the first results and the last errors."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import ipywidgets

from ..mapping.map_logs import KEPT_RESULTS
from . import map_html, pump
from .looks import Look
from .pacing import cost_seconds
from .panel import CALM_SECONDS, CALM_SHARE, LIVE_CLASS, beside_cancel

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from ..mapping.map_runs import MapRun
    from .panel import View


def placeholder(run: MapRun, now: datetime, view: View) -> str:
    """What a view shows before it has widgets; as high as they are, so that the page does not jump."""
    return _header(run, now, view) + ("" if view == "compact" else map_html.preview(run))


def _header(run: MapRun, now: datetime, view: View) -> str:
    return beside_cancel(map_html.header(run, now, is_compact=view == "compact"), map_html.gone(run))


class MapPanel:
    """Shows where a map stands. All methods but the constructor belong to the loop's thread.

    What ticks is one widget, written at each update. The first results are written until they are all there.
    The last errors are written seldom: a line that a person has opened closes then.

    Attributes:
        root: The widget to display.
    """

    def __init__(self, run: MapRun, now: datetime, *, cancel: Callable[[], None], view: View) -> None:
        self._look = Look()
        self._run = run
        self._view = view
        self._header = self._look.html(_header(run, now, view), is_tight=True)
        self._cancel = self._look.button(
            "Cancel", cancel, tooltip="Stop this map; rows that are done are kept"
        )
        self._preview = self._look.html(map_html.preview(run) if view == "full" else "")
        self._errors = self._look.html()
        self._previewed = len(run.map_log.results)
        self._began = time.monotonic()
        self._errors_at = 0.0
        self._errors_wait = 0.5
        self._failed = 0
        self._messages = self._characters = 0
        below = (self._preview, self._errors) if view == "full" else ()
        self.root = ipywidgets.Box([self._header, self._cancel, *below], layout=self._look.full)
        self.root.add_class(LIVE_CLASS)
        self._unserve = pump.serve_widgets(self.root)

    def show(self, now: datetime) -> float:
        """Brings the widgets up to date; gives what `cost_seconds` says of the messages it took."""
        self._messages = self._characters = 0
        self._set(self._header, _header(self._run, now, self._view))
        if self._run.is_cancelling and not self._cancel.disabled:
            self._cancel.disabled = True
            self._messages += 1
        if self._view == "full":
            self._show_results()
            self._show_errors()
        return cost_seconds(self._messages, self._characters)

    def close(self) -> None:
        """Closes all widgets and stops listening to them."""
        self._unserve()
        for widget in (self._header, self._cancel, self._preview, self._errors, self.root):
            widget.close()
        self._look.close()

    def _show_results(self) -> None:
        found = len(self._run.map_log.results)
        if self._previewed < found <= KEPT_RESULTS:
            self._previewed = found
            self._set(self._preview, map_html.preview(self._run))

    def _show_errors(self) -> None:
        failed, now = self._run.map_log.failed, time.monotonic()
        if failed == self._failed or now < self._errors_at:
            return
        self._failed = failed
        self._errors_wait = min(CALM_SECONDS, 2 * self._errors_wait)
        self._errors_at = now + max(self._errors_wait, CALM_SHARE * (now - self._began))
        self._set(self._errors, map_html.last_errors(self._run.map_log, self._run.log.task))

    def _set(self, widget: Any, value: str) -> None:
        if widget.value != value:
            widget.value = value
            self._messages += 1
            self._characters += len(value)

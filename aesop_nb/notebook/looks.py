"""The layouts and styles that the widgets of one run share: each is a model of its own, and models are few."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import comm
import ipywidgets

from . import pump

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class _Heard:
    """A widget that tells the front end of itself only when its messages are listened to.

    A stock widget does so first and listens then: what a quick front end sends in between is lost.
    """

    is_ready = False

    def open(self: Any) -> None:
        if not self.is_ready or self.comm is not None:
            return
        model_id = uuid4().hex
        pump.serve(model_id)
        line = comm.create_comm(target_name="jupyter.widget", comm_id=model_id, primary=False)
        self.comm = line
        line.open(
            data={"state": self.get_state(), "buffer_paths": []},
            metadata={"version": ipywidgets.__protocol_version__},
        )


class _Button(_Heard, ipywidgets.Button):
    pass


class _Textarea(_Heard, ipywidgets.Textarea):
    pass


class _Select(_Heard, ipywidgets.Select):
    pass


def _ready(widget: Any) -> Any:
    widget.is_ready = True
    widget.open()
    return widget


class Look:
    """Makes the widgets of one run.

    The row wraps: what is `full` has a row of its own, what is `tight` stands beside its neighbours.
    """

    def __init__(self) -> None:
        self.full = ipywidgets.Layout(
            display="flex", flex_flow="row wrap", flex="1 1 100%", min_width="0", width="auto", margin="0"
        )
        self.tight = ipywidgets.Layout(flex="0 1 auto", min_width="0", width="auto", margin="2px 8px 2px 0")
        self._html_style = ipywidgets.HTML.style.klass()
        self._button_style = ipywidgets.ButtonStyle()

    def html(self, value: str = "", *, is_tight: bool = False) -> Any:
        """Shows `value`, which is HTML: every text in it must be escaped."""
        layout = self.tight if is_tight else self.full
        return ipywidgets.HTML(value, layout=layout, style=self._html_style)

    def button(
        self, text: str, on_click: Callable[[], None], *, kind: str = "", tooltip: str | None = None
    ) -> Any:
        """A button that hears clicks from its first moment; `text` is shown as it is."""
        button = _Button(
            description=text,
            button_style=kind,
            tooltip=tooltip,
            layout=self.tight,
            style=self._button_style,
        )
        button.on_click(lambda _: on_click())
        return _ready(button)

    def text_area(self, placeholder: str) -> Any:
        """A field for a text, which the front end sends as one message when the field is left.

        Letters that it sends one by one arrive late and in pieces.
        """
        return _ready(_Textarea(placeholder=placeholder, continuous_update=False, rows=2, layout=self.full))

    def choice_list(self, options: Sequence[tuple[str, str]]) -> Any:
        """A list of labels, of which none is chosen at first; its `value` is that of the chosen one."""
        return _ready(_Select(options=options, value=None, rows=min(8, len(options)), layout=self.full))

    def close(self) -> None:
        """Closes the shared models."""
        for model in (self.full, self.tight, self._html_style, self._button_style):
            model.close()

"""The layouts and styles that the widgets of one run share: each is a model of its own, and models are few."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import comm
import ipywidgets
import traitlets

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


class _Text(_Heard, ipywidgets.Text):
    pass


class _Password(_Heard, ipywidgets.Password):
    # A stock widget tells all front ends what one of them has sent.
    value = traitlets.Unicode("").tag(sync=True, echo_update=False)


class _Choices(_Heard, ipywidgets.ToggleButtons):
    pass


def _ready(widget: Any) -> Any:
    widget.is_ready = True
    widget.open()
    return widget


def _page() -> Any:
    """Gives the comm over which the page that was loaded last has asked for all widgets; `None` if none has.

    The name is private; it was seen in `ipywidgets` 8.0 to 8.1.
    """
    return getattr(ipywidgets.Widget, "_control_comm", None)


def is_captured() -> bool:
    """Whether an `Output` widget takes what this cell shows; it drops what is to stand in the place of that."""
    widgets = ipywidgets.widgets.widget._instances.values()
    return any(isinstance(each, ipywidgets.Output) and each.msg_id for each in list(widgets))


class Look:
    """Makes the widgets of one run.

    The row wraps: what is `full` has a row of its own, what is `tight` stands beside its neighbours.
    """

    def __init__(self) -> None:
        self.full = ipywidgets.Layout(
            display="flex", flex_flow="row wrap", flex="1 1 100%", min_width="0", width="auto", margin="0"
        )
        self.tight = ipywidgets.Layout(flex="0 1 auto", min_width="0", width="auto", margin="2px 8px 2px 0")
        self._page = _page()
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

    def line(self, placeholder: str, on_enter: Callable[[], None], *, is_secret: bool = False) -> Any:
        """A field of one line, sent when it is left; `on_enter` is called at the Enter key."""
        kind = _Password if is_secret else _Text
        made = kind(placeholder=placeholder, continuous_update=False, layout=self.full)

        def on_message(_: Any, content: Any, __: Any) -> None:
            if isinstance(content, dict) and content.get("event") == "submit":
                on_enter()

        made.on_msg(on_message)
        return _ready(made)

    def choice_list(self, options: Sequence[tuple[str, str]]) -> Any:
        """Labels of which none is chosen at first; its `value` is that of the chosen one.

        They are buttons, because JupyterLab takes the keys of a list for its own: an arrow goes to the next
        cell, and `1` makes the cell a heading.
        """
        style = {"button_width": "auto"}
        return _ready(_Choices(options=options, value=None, style=style, layout=self.full))

    def is_page_new(self) -> bool:
        """Whether a page was loaded since these widgets were made."""
        return _page() is not self._page

    def close(self, *, keeps_html: bool = False) -> None:
        """Closes the shared models, but those of HTML in a row of its own if that is to stay."""
        kept = () if keeps_html else (self.full, self._html_style)
        for model in (self.tight, self._button_style, *kept):
            model.close()

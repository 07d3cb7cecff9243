"""A page in front of the notebook, without a browser: it keeps what is displayed and every widget's state."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import comm
from comm.base_comm import BaseComm
from helping import eventually
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell

from aesop_nb import notebook, scopes
from aesop_nb.engine import asking

if TYPE_CHECKING:
    from aesop_nb.engine.asking import Audience

WIDGET = "application/vnd.jupyter.widget-view+json"


class Page:
    """What a person sees, and what they click.

    Attributes:
        messages: Time, type and data of each message about a widget, in order.
        displays: Each display and each update of one: its id, and its bundle.
    """

    def __init__(self) -> None:
        self.messages: list[tuple[float, str, dict[str, Any]]] = []
        self.displays: list[tuple[str | None, dict[str, Any]]] = []
        self.models: dict[str, dict[str, Any]] = {}
        self.opened = 0
        self.most_models = 0
        self._comms: dict[str, BaseComm] = {}
        self._lock = threading.Lock()

    def take(self, sender: BaseComm, msg_type: str, data: dict[str, Any]) -> None:
        with self._lock:
            self.messages.append((time.monotonic(), msg_type, data))
            if msg_type == "comm_open":
                self._comms[sender.comm_id] = sender
                self.models[sender.comm_id] = dict(data["state"])
                self.opened += 1
                self.most_models = max(self.most_models, len(self.models))
            elif msg_type == "comm_close":
                del self.models[sender.comm_id]
            elif data["method"] == "update":
                self.models[sender.comm_id].update(data["state"])

    def send(self, comm_id: str, data: dict[str, Any]) -> None:
        handler = self._comms[comm_id]._msg_callback
        assert handler is not None
        handler({"content": {"data": data}, "buffers": []})

    def find(self, name: str, **state: Any) -> str | None:
        """The id of the first widget of this kind with this state."""
        with self._lock:
            for comm_id, model in self.models.items():
                if model["_model_name"] == name and state.items() <= model.items():
                    return comm_id
        return None

    def wait_for(self, name: str, **state: Any) -> str:
        assert eventually(lambda: self.find(name, **state) is not None), f"no {name} with {state}"
        found = self.find(name, **state)
        assert found is not None
        return found

    def click(self, text: str) -> None:
        """Clicks the button with this text when it is there."""
        self.send(self.wait_for("ButtonModel", description=text), CLICK)

    def type_text(self, text: str) -> None:
        """Types into the text area when it is there."""
        self.send(self.wait_for("TextareaModel"), {"method": "update", "state": {"value": text}})

    def load_again(self, monkeypatch: Any) -> None:
        """Loads the page anew: it opens a comm to ask for all widgets, as JupyterLab does."""
        monkeypatch.setattr("ipywidgets.Widget._control_comm", object())

    @property
    def html(self) -> str:
        """The HTML of all widgets that are open."""
        with self._lock:
            models = [model for model in self.models.values() if model["_model_name"] == "HTMLModel"]
        return "".join(str(model.get("value", "")) for model in models)

    def updates(self) -> list[float]:
        """When widgets were updated."""
        return [at for at, msg_type, data in self.messages if msg_type == "comm_msg"]

    def shown(self, display_id: str | None = None) -> dict[str, Any]:
        """What stands in the output now, under that id or under the first that has one."""
        ids = [known for known, _ in self.displays if known is not None]
        wanted = display_id or ids[0]
        return [bundle for known, bundle in self.displays if known == wanted][-1]


CLICK = {"method": "custom", "content": {"event": "click"}}


class _Comm(BaseComm):
    page: Page

    def publish_msg(self, msg_type: str, data: Any = None, *_: Any, **__: Any) -> None:
        self.page.take(self, msg_type, data or {})


class _Publisher(DisplayPublisher):
    page: Page

    def publish(self, data: Any, metadata: Any = None, *, transient: Any = None, **_: Any) -> None:
        self.page.displays.append(((transient or {}).get("display_id"), data))


@contextlib.contextmanager
def open_page(monkeypatch: Any, *, person: bool = True, can_click: bool = True) -> Iterator[Page]:
    """A shell with a kernel and the extension loaded; `person` is whether somebody sits in front of it."""
    page = Page()
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    publisher = _Publisher(shell=shell)
    publisher.page = page
    monkeypatch.setattr(shell, "display_pub", publisher)
    request = {"content": {"allow_stdin": person}}
    shell.add_traits()
    object.__setattr__(shell, "kernel", SimpleNamespace(get_parent=lambda channel: request))
    monkeypatch.setattr(comm, "create_comm", type("Comm", (_Comm,), {"page": page}))
    # In place of a kernel that feeds this thread; runs inside others are for the extension to tell.
    finder: Callable[[], Audience | None] = lambda: (  # noqa: E731
        "widget" if person and can_click and scopes.parent_run.get() is None else None
    )
    notebook.load(shell)
    asking.audience_finders.insert(0, finder)
    try:
        yield page
    finally:
        asking.audience_finders.remove(finder)
        notebook.unload(shell)
        InteractiveShell.clear_instance()

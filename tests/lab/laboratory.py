"""A person in front of a real JupyterLab: the page that the browser tests drive."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Literal

import nbformat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lab_server import LabServer
    from playwright.sync_api import Browser, Locator, Page

CommsOverSubshells = Literal["disabled", "perCommTarget", "perComm"]

_COMMS_SETTINGS = "@jupyterlab/apputils-extension/kernels-settings"
_KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}
_PANEL = "window.jupyterapp.shell.currentWidget"
_CELLS = f"{_PANEL}.content.widgets"
_KERNEL = f"{_PANEL}?.sessionContext?.session?.kernel"


class Laboratory:
    """One notebook in one page, and what a person does with it.

    Cells are counted from 0. Everything that waits polls, and raises with the page's text when its time
    is over. `page` is the Playwright page, for whatever is not here; give its methods time only through
    `wait_until`, because `time.sleep` stops the page's events from arriving.

    Attributes:
        page: The Playwright page.
        page_errors: Uncaught JavaScript errors since the notebook was opened.
    """

    def __init__(self, server: LabServer, browser: Browser) -> None:
        self.server = server
        self._browser = browser
        self._comms: CommsOverSubshells | None = None
        self._path = ""
        self._count = 0
        self._new_page()

    # -- opening and closing -------------------------------------------------------------------------

    def start(self, comms_over_subshells: CommsOverSubshells) -> None:
        """Loads an empty JupyterLab; keeps the one that is there if it has the same setting.

        The setting is that of the front end: how it sends the messages of widgets. `"disabled"`: on the
        main shell channel, `"perCommTarget"` (JupyterLab's default): all widgets of a notebook over one
        subshell, `"perComm"`: every widget over its own. A kernel without subshells (ipykernel 6) gets
        them on the main shell channel in all three cases.
        """
        if self.page.is_closed():
            self._new_page()
            self._comms = None
        if self._comms != comms_over_subshells:
            self.server.reset_settings()
            self.server.write_settings(_COMMS_SETTINGS, {"commsOverSubshells": comms_over_subshells})
            self._comms = comms_over_subshells
            try:
                self._load("/lab?reset")
                self._wait_for_launcher()
            except BaseException:
                self.abandon()  # else the next test would take this page for a good one
                raise

    def open(self, cells: Sequence[str] | nbformat.NotebookNode) -> None:
        """Opens a new notebook and waits for its kernel; nothing is run. Takes 1 to 2 s.

        Args:
            cells: The sources of its code cells, or a whole notebook. The working directory of its kernel
                is `server.notebooks`: files put there can be read by the cells.
        """
        notebook = cells
        if not isinstance(notebook, nbformat.NotebookNode):
            notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = _KERNELSPEC
        # A new name each time: for some seconds JupyterLab would attach an old one to its dead kernel.
        self._count += 1
        self._path = f"notebook_{self._count}.ipynb"
        nbformat.write(notebook, self.server.notebooks / self._path)
        self._open_document(kernel=True)

    def reload(self) -> None:
        """Loads the page again, as F5 does: the kernel goes on, what was not saved is lost.

        Returns when the page is connected to the kernel, which may be busy. Takes about 4 s.
        """
        # Without `?reset` JupyterLab would open again whatever its workspace remembers, on top of ours.
        self._load(f"/lab/tree/{self._path}?reset")
        self._wait_for_document()
        connected = f"() => {_KERNEL}?.connectionStatus === 'connected'"
        self.wait_until(lambda: self.page.evaluate(connected), "the kernel")

    def reopen(self, *, kernel: bool = False, trusted: bool = True) -> None:
        """Opens the *saved* notebook as on another day: its kernel is gone, the page is fresh.

        Args:
            kernel: Whether to start a fresh kernel, in which a saved widget shows "Error displaying widget:
                model not found"; without one, as with JupyterLab's "Notebook (no kernel)", it shows
                "Loading widget..." for ever.
            trusted: Whether this server signed the outputs. Outputs of another person's notebook are not
                trusted: JupyterLab sanitises their HTML and shows the `text/plain` of widgets. To test this
                needs no kernel, and running a cell makes its outputs trusted again.
        """
        self.server.shut_kernels_down()
        if not trusted:
            notebook = self.saved_notebook()
            for cell in notebook.cells:
                cell.metadata["changed_by_another_person"] = True  # the signature does not fit any more
            nbformat.write(notebook, self.server.notebooks / self._path)
        self._load("/lab?reset")
        self._wait_for_launcher()
        self._open_document(kernel=kernel)

    def close(self) -> None:
        """Closes all notebooks unsaved and ends their kernels; the page stays, as it was at first."""
        if not self.page.is_closed():
            self.set_width(1280)
            self.set_theme("light")
            self.page.evaluate(
                """() => {
                    for (const widget of [...window.jupyterapp.shell.widgets('main')]) {
                        if (!widget.context) continue;
                        widget.context.model.dirty = false;
                        widget.close();
                    }
                }"""
            )
            self._wait_for_launcher()
        self.server.shut_kernels_down()

    def abandon(self) -> None:
        """Throws the page away, whatever state it is in; `start` makes a new one."""
        self.page.context.close()
        self.server.shut_kernels_down()

    # -- running -------------------------------------------------------------------------------------

    def run_all(self) -> None:
        """Run All Cells; returns when the first cell has started."""
        self._run("notebook:run-all-cells", 0)

    def run_cell(self, i: int) -> None:
        """Runs cell `i`; returns when it has started, or waits in the kernel's queue."""
        self._run("notebook:run-cell", i)

    def prompt(self, i: int) -> str:
        """The prompt of cell `i`: `[ ]` not run (or cancelled), `[*]` running or queued, `[3]` done."""
        return self.cell(i).locator(".jp-InputPrompt").inner_text().strip().rstrip(":")

    def is_done(self, i: int) -> bool:
        """Whether cell `i` has run, well or badly, and all its outputs have arrived."""
        return re.fullmatch(r"\[\d+\]", self.prompt(i)) is not None

    def wait_until_done(self, i: int, *, seconds: float = 20) -> None:
        """Waits for the end of cell `i`."""
        self.wait_until(lambda: self.is_done(i), f"the end of cell {i}", seconds=seconds)

    def interrupt(self) -> None:
        """Clicks ■ in the toolbar."""
        self._panel().locator('.jp-Toolbar [data-jp-item-name="interrupt"]').click()

    def kernel_status(self) -> str:
        """`idle`, `busy`, ...; empty without a kernel. Never take `idle` for the end of a cell."""
        return str(self.page.evaluate(f"() => {_KERNEL}?.status ?? ''"))

    # -- looking -------------------------------------------------------------------------------------

    def outputs(self, i: int) -> list[dict[str, Any]]:
        """The outputs of cell `i` in the notebook's model: what would be saved now, as nbformat dicts."""
        return list(self.page.evaluate(f"i => {_CELLS}[i].model.outputs.toJSON()", i))

    def stdout(self, i: int) -> str:
        """All that cell `i` printed."""
        streams = [output for output in self.outputs(i) if output["output_type"] == "stream"]
        return "".join(stream["text"] for stream in streams if stream["name"] == "stdout")

    def cell(self, i: int) -> Locator:
        """The element of cell `i`."""
        return self._panel().locator(".jp-Notebook .jp-Cell").nth(i)

    def output(self, i: int) -> Locator:
        """The output area of cell `i`, widgets included; scope every selector with it.

        A `Button` is `button.widget-button`, an `HTML` widget's value stands unsanitised in
        `div.widget-html-content`, `Textarea` is `textarea`, `Text` is `input[type=text]`, with their
        `description` as label. An element may be there before its widget has its final text: wait.
        """
        return self.cell(i).locator(".jp-Cell-outputArea")

    def text(self, i: int) -> str:
        """What a person reads in the output of cell `i`: without closed `<details>`, with prompts."""
        area = self.output(i)
        return area.inner_text() if area.count() else ""

    def page_text(self) -> str:
        """What a person reads in the whole page."""
        return self.page.locator("body").inner_text()

    def wait_for_text(self, i: int, text: str, *, seconds: float = 10) -> None:
        """Waits until a person reads `text` in the output of cell `i`."""
        self.wait_until(lambda: text in self.text(i), f"{text!r} in cell {i}", seconds=seconds)

    def wait_until(self, condition: Callable[[], object], what: str, *, seconds: float = 10) -> None:
        """Waits until `condition()` is true; it is asked about 20 times a second.

        Raises:
            AssertionError: After `seconds`, with `what`, the page's text, its errors and the server's log.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {seconds} s in vain for {what}\n{self.describe()}")
            self.page.wait_for_timeout(50)

    def describe(self) -> str:
        """The state of the page in words, for a failure's report."""
        parts = {"page": self.page_text(), "page errors": "\n".join(self.page_errors)}
        parts["server"] = self.server.log()
        return "\n".join(f"--- {title} ---\n{text}" for title, text in parts.items())

    def screenshot(self, path: Path, *, cell: int | None = None) -> Path:
        """Writes a PNG of the page, or of one cell with its output, and gives back its path."""
        splash = self.page.locator("#jupyterlab-splash")  # covers the page while a theme is loaded
        self.wait_until(lambda: splash.count() == 0, "the end of the splash screen")
        target = self.page if cell is None else self.cell(cell)
        target.screenshot(path=path)
        return path

    # -- acting --------------------------------------------------------------------------------------

    def click(self, i: int, button: str) -> None:
        """Clicks the button with exactly this text in the output of cell `i`, when it can be clicked.

        Returns when the browser has the click, not when Python has heard it.
        """
        self.output(i).get_by_role("button", name=button, exact=True).click()

    def fill(self, i: int, text: str, *, field: int | str = 0) -> None:
        """Types `text` in place of what stands in a text field in the output of cell `i`, key by key.

        Args:
            i: The cell.
            text: A newline is the Enter key.
            field: Which one: its place among the text fields of the output, or its label.
        """
        area = self.output(i)
        fields = area.locator("textarea, input[type=text], input[type=number]")
        box = area.get_by_label(field, exact=True) if isinstance(field, str) else fields.nth(field)
        box.click()
        box.press("ControlOrMeta+a")
        box.press("Delete")
        box.press_sequentially(text)

    def open_details(self, i: int, summary: str) -> None:
        """Opens or closes the `<details>` whose summary contains this text, in the output of cell `i`."""
        self.output(i).locator("summary").filter(has_text=summary).click()

    def set_theme(self, theme: Literal["light", "dark"]) -> None:
        """Switches to JupyterLab's light or dark theme and waits until its colours are set."""
        light = "true" if theme == "light" else "false"
        if self._theme_is_light() == light:
            return
        self.page.evaluate(
            "name => { window.jupyterapp.commands.execute('apputils:change-theme', {theme: name}); }",
            f"JupyterLab {theme.capitalize()}",
        )
        self.wait_until(lambda: self._theme_is_light() == light, f"the {theme} theme")

    def set_width(self, pixels: int) -> None:
        """Makes the page this wide; the notebook fills all but about 100 px of it."""
        self.page.set_viewport_size({"width": pixels, "height": 800})

    # -- saving --------------------------------------------------------------------------------------

    def save(self) -> None:
        """Saves the notebook and returns when it is on disk."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")

    def saved_notebook(self) -> nbformat.NotebookNode:
        """The notebook on disk, as of the last `save`: nothing is saved on its own."""
        return nbformat.read(self.server.notebooks / self._path, as_version=4)

    # -- within --------------------------------------------------------------------------------------

    def _new_page(self) -> None:
        self.page: Page = self._browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        self.page_errors: list[str] = []
        self.page.on("pageerror", lambda error: self.page_errors.append(str(error)))
        # "Leave the page? Changes may not be saved" would hold a reload up.
        self.page.on("dialog", lambda dialog: dialog.accept())

    def _load(self, address: str) -> None:
        self.page.goto(self.server.url + address)
        comms = "window.jupyterapp?.serviceManager.kernels.commsOverSubshells"
        self.page.wait_for_function(f"wanted => {comms} === wanted", arg=self._comms, timeout=60_000)
        # The setting may be JupyterLab's default, so it does not say that the application has started.
        self.page.evaluate(
            "() => window.jupyterapp.restored.then(() => window.jupyterapp.shell.collapseLeft())"
        )

    def _open_document(self, *, kernel: bool) -> None:
        self.page_errors.clear()
        # As the context menu's "Open With > Notebook (no kernel)" does it.
        preference = {} if kernel else {"shouldStart": False, "shouldReuse": False}
        self.page.evaluate(
            """([path, preference]) => window.jupyterapp.commands.execute(
                'docmanager:open', {path, factory: 'Notebook', kernelPreference: preference}
            ).then(() => null)""",
            [self._path, preference],
        )
        self._wait_for_document()
        if kernel:
            self.wait_until(lambda: self.kernel_status() == "idle", "an idle kernel", seconds=60)

    def _wait_for_document(self) -> None:
        shown = f"path => {_PANEL}?.context?.path === path && {_PANEL}.context.isReady"
        self.wait_until(lambda: self.page.evaluate(shown, self._path), f"{self._path} in front", seconds=30)

    def _wait_for_launcher(self) -> None:
        # An empty JupyterLab opens its launcher by and by, and would put it in front of a notebook.
        launcher = self.page.locator(".jp-Launcher")
        self.wait_until(lambda: launcher.count() > 0, "the launcher", seconds=30)

    def _run(self, command: str, i: int) -> None:
        # Forgetting the old count first tells the end of this execution from that of the one before.
        # The promise is not returned: it ends with the cells.
        self.page.evaluate(
            """([command, i]) => {
                const notebook = window.jupyterapp.shell.currentWidget.content;
                notebook.deselectAll();
                notebook.activeCellIndex = i;
                const cells = command.endsWith('all-cells') ? notebook.widgets : [notebook.widgets[i]];
                for (const cell of cells) cell.model.executionCount = null;
                window.jupyterapp.commands.execute(command);
            }""",
            [command, i],
        )
        self.wait_until(lambda: self.prompt(i) != "[ ]", f"the start of cell {i}")

    def _panel(self) -> Locator:
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    def _theme_is_light(self) -> str | None:
        return self.page.locator("body").get_attribute("data-jp-theme-light")

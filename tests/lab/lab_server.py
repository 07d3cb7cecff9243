"""A JupyterLab of its own for the browser tests, apart from whatever the machine has configured."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import site
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, NoReturn

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# All that is taken over from the environment the tests run in: no keys, no proxies, no Jupyter paths.
_ENVIRONMENT_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")

_SETTINGS: dict[str, dict[str, Any]] = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
    # Every cell is in the page, so that the i-th cell is the i-th element, on screen or not.
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}
_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
_LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def cannot_run(reason: str) -> NoReturn:
    """Fails in CI, where these tests must run; skips elsewhere."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason} The browser tests must run in CI.", pytrace=False)
    pytest.skip(reason)


def chromium_path() -> str:
    """The path of the machine's Chromium; ends the test when there is none."""
    for name in _CHROMIUM_NAMES:
        if path := shutil.which(name):
            return path
    cannot_run("No Chromium found: `apt-get install chromium` on Debian.")


class LabServer:
    """A JupyterLab of its own on a free port, with nothing of the person's configuration.

    Its kernel `python3` is the running interpreter, with the repository importable.
    Kernels find a fresh `HOME`, and no `AESOP_*` or `OPENAI_*` variable.

    Attributes:
        notebooks: The folder that the server shows.
        settings: The folder of the user's settings.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.notebooks = self._subfolder("notebooks")
        self.settings = self._subfolder("settings")
        self.reset_settings()
        self._write_kernelspec()

    def start(self, *, seconds: float = 60) -> None:
        """Starts the server and returns when it answers; tries again when somebody took its port."""
        deadline = time.monotonic() + seconds
        for _ in range(3):
            self._launch()
            while self._process is not None and self._process.poll() is None:
                with contextlib.suppress(OSError):
                    self.request("GET", "/api/status")
                    return
                if time.monotonic() > deadline:
                    self.stop()
                    raise AssertionError(f"JupyterLab did not answer in {seconds} s:\n{self.log()}")
                time.sleep(0.05)
        raise AssertionError(f"JupyterLab did not start:\n{self.log()}")

    def stop(self) -> None:
        """Ends the kernels, the server and whatever else is left in its process group."""
        if self._process is None:
            return
        # Kernels are leaders of groups of their own: only the server can end them for us.
        with contextlib.suppress(OSError):
            self.shut_kernels_down()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def request(self, method: str, path: str) -> Any:
        """The JSON that the server's REST interface answers, `None` for an empty answer."""
        request = urllib.request.Request(self.url + path, method=method)
        with _LOCAL.open(request, timeout=30) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def kernels(self) -> list[dict[str, Any]]:
        """The running kernels, as the server lists them."""
        return list(self.request("GET", "/api/kernels"))

    def shut_kernels_down(self) -> None:
        """Ends every kernel; a busy one is interrupted first, else the server would wait 5 s for it."""
        for kernel in self.kernels():
            if kernel["execution_state"] != "idle":
                self.request("POST", f"/api/kernels/{kernel['id']}/interrupt")
            self.request("DELETE", f"/api/kernels/{kernel['id']}")

    def reset_settings(self) -> None:
        """Forgets the user's settings, those that a page wrote (its theme) too, and writes ours again."""
        shutil.rmtree(self.settings)
        for plugin, values in _SETTINGS.items():
            self.write_settings(plugin, values)

    def write_settings(self, plugin: str, values: dict[str, Any]) -> None:
        """Writes the user's settings of `plugin`; a page reads them when it is loaded."""
        path = self.settings / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))

    def environment(self) -> dict[str, str]:
        """All the environment variables that the server starts with; its kernels inherit them."""
        kept = {name: os.environ[name] for name in _ENVIRONMENT_KEPT if name in os.environ}
        return kept | {
            "HOME": str(self._subfolder("home")),
            # A fresh HOME hides packages installed with `pip install --user`.
            "PYTHONUSERBASE": site.getuserbase(),
            "PYTHONPATH": str(REPOSITORY),
            "IPYTHONDIR": str(self._subfolder("ipython")),
            "JUPYTER_CONFIG_DIR": str(self._subfolder("config")),
            "JUPYTER_DATA_DIR": str(self._subfolder("data")),
            "JUPYTER_RUNTIME_DIR": str(self._subfolder("runtime")),
            # Without these two a configuration or a kernel of the machine would win over ours.
            "JUPYTER_NO_CONFIG": "1",
            "JUPYTER_PREFER_ENV_PATH": "0",
            "JUPYTERLAB_SETTINGS_DIR": str(self.settings),
            "JUPYTERLAB_WORKSPACES_DIR": str(self._subfolder("workspaces")),
        }

    def log(self) -> str:
        """The last lines that the server and its kernels wrote."""
        path = self._folder / "server.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def _launch(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
            *("--expose-app-in-browser", "--LabApp.extension_manager=readonly"),
            *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
            *("--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True"),
            f"--ServerApp.root_dir={self.notebooks}",
        ]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=self.environment(),
                cwd=self.notebooks,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _write_kernelspec(self) -> None:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec = {"argv": argv, "display_name": "Python 3", "language": "python"}
        (self._subfolder("data/kernels/python3") / "kernel.json").write_text(json.dumps(spec))

    def _subfolder(self, name: str) -> Path:
        path = self._folder / name
        path.mkdir(parents=True, exist_ok=True)
        return path

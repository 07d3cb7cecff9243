"""The doctor says what is set up, what to do where it is not well, and nothing that is secret."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from openai_answers import says

from aesop_nb import settings, temporary_settings
from aesop_nb.notebook.doctor import doctor
from aesop_nb.testing import ScriptedModel

if TYPE_CHECKING:
    from openai_server import OpenAIServer, Script


def test_the_doctor_shows_no_part_of_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-sentinel-0123456789abcdef")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://llm.example:8443/v1/sentinel")
    monkeypatch.setenv("AESOP_MODEL", "sk-sentinel-0123456789abcdef")
    text = doctor()
    assert "OPENAI_API_KEY is set" in text
    assert (
        "(from AESOP_MODEL) at https://llm.example:8443/v1/…; not contacted, %aesop doctor --check does"
        in text
    )
    monkeypatch.setenv("OPENAI_BASE_URL", "https://user:sentinel@llm.example:8443/v1?key=sentinel")
    text += doctor()
    assert "none that can be used" in text
    assert "sentinel" not in text
    assert "0123" not in text


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"OPENAI_BASE_URL": "http://localhost:11434/v1"}, "no model is named"),
        ({"OPENAI_API_KEY": "two words"}, "set, but cannot be used"),
        ({"AESOP_MODEL": "gpt-5"}, "needs a key"),
    ],
)
def test_the_doctor_names_what_is_wrong(
    environment: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (line,) = [line for line in doctor().splitlines() if message in line]
    assert line.startswith(("!", " " * 13 + "→"))


def test_the_doctor_warns_of_kernels_that_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    class Package:
        __version__ = "7.2.0"
        version_info = (7, 2, 0)

    monkeypatch.setitem(sys.modules, "ipykernel", Package)  # type: ignore[arg-type]
    base = sys.modules.get("ipykernel.kernelbase", Package)
    monkeypatch.setitem(sys.modules, "ipykernel.kernelbase", base)  # type: ignore[arg-type]
    monkeypatch.setattr("aesop_nb.notebook.doctor.find_audience", lambda: "nobody")
    monkeypatch.setattr("aesop_nb.notebook.doctor.front_end", lambda: "widgets")
    monkeypatch.setattr("aesop_nb.notebook.pump.kernel_line", lambda: "ipykernel 7.2.0: clicks reach it")
    assert (
        "! kernel     ipykernel 7.2.0: clicks reach it\n             → ipykernel 7.2.0 can hang in Run All"
    ) in doctor()


def test_a_model_that_was_not_contacted_has_no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:11434/v1")
    monkeypatch.setenv("AESOP_MODEL", "llama")
    (line,) = [line for line in doctor().splitlines() if "llama" in line]
    assert line.startswith(
        "· model      llama (from AESOP_MODEL) at http://localhost:11434/v1; not contacted"
    )


# The store and the settings --------------------------------------------------------------------------


def line_of(report: str, about: str) -> str:
    """A finding with its advice, on one line."""
    lines = report.replace("\n             → ", " → ").splitlines()
    return next(line for line in lines if line[2:].startswith(f"{about} "))


def test_the_store_is_shown_without_the_name_of_the_person(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    with temporary_settings(home=str(tmp_path / "data")):
        line = line_of(doctor(), "store")
    assert line.startswith("✓ store      ~/data/")
    assert " MB, durability normal" in line
    assert str(tmp_path) not in line
    assert not (tmp_path / "data").exists()


def test_a_store_that_cannot_be_written_is_a_finding_with_advice(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with temporary_settings(home=str(blocked)):
        line = line_of(doctor(), "store")
    assert line.startswith("! store ")
    assert "AESOP_HOME" in line


def test_a_store_that_is_switched_off_is_no_fault() -> None:
    with temporary_settings(store="off"):
        assert line_of(doctor(), "store").startswith("· store      Nothing is saved")


def test_a_store_that_nothing_names_is_a_finding_with_advice_that_fits() -> None:
    with temporary_settings(store="banana"):
        assert line_of(doctor(), "store").endswith("settings.store = 'on' saves runs and memory.")
    with temporary_settings(home="~nobody-at-all/x"):
        assert "names no folder" in line_of(doctor(), "store")
        assert "give another folder" in line_of(doctor(), "store")


def test_the_file_of_the_project_is_named_or_what_is_wrong_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "pyproject.toml"
    file.write_text("[tool.aesop_nb]\nbanner = false\n")
    assert line_of(doctor(), "settings").startswith("✓ settings   [tool.aesop_nb] in ~/pyproject.toml")
    file.write_text("[tool.aesop_nb\n")
    assert line_of(doctor(), "settings").startswith("! settings   the project's file cannot be used → ")


def test_a_variable_that_is_no_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AESOP_MODLE", "sentinel")
    line = line_of(doctor(), "settings")
    assert line.startswith("! settings ")
    assert "AESOP_MODLE is no setting. Did you mean 'AESOP_MODEL'?" in line
    assert "sentinel" not in line


# With --check ----------------------------------------------------------------------------------------


def test_nothing_is_contacted_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.create_connection", refuse)
    for name, value in (("OPENAI_BASE_URL", "http://localhost:11434/v1"), ("AESOP_MODEL", "llama")):
        monkeypatch.setenv(name, value)
    doctor()


def test_the_check_sends_one_tiny_request(
    monkeypatch: pytest.MonkeyPatch, openai_server: Callable[[Script], OpenAIServer]
) -> None:
    server = openai_server([says("ok")])
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("AESOP_MODEL", "llama")
    report = doctor(check=True)
    assert "; not contacted" not in report
    assert line_of(report, "model").startswith("✓ model      llama")
    assert line_of(report, "answer").startswith("✓ answer     it answers: ")
    assert len(server.requests) == 1


def test_the_check_says_why_no_answer_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:  # bound and not listening: nobody answers at this port
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}/v1")
        monkeypatch.setenv("AESOP_MODEL", "llama")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-sentinel-0123456789abcdef")
        report = doctor(check=True)
    assert line_of(report, "answer").startswith("! answer     none: ModelUnavailable → ")
    assert "sentinel" not in report


def test_the_check_gives_a_model_little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aesop_nb.notebook.checking.MODEL_SECONDS", 0.05)
    monkeypatch.setattr(
        "aesop_nb.notebook.doctor.choose_model", lambda: ScriptedModel("late", delay_seconds=60)
    )
    assert line_of(doctor(check=True), "answer").startswith("! answer     none within 0.05 s → ")


class _Models(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"data": [{"id": name} for name in ('x"; import os', "qwen3:8b", 7)]}).encode()
        self.send_response(200 if self.path == "/v1/models" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_the_check_finds_servers_on_this_machine_and_gives_the_line_to_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Models) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        monkeypatch.setattr("aesop_nb.notebook.checking.LOCAL_SERVERS", {port: "a server"})
        report = doctor(check=True)
        server.shutdown()
    line = line_of(report, "server")
    assert f"one at port {port} (a server?) offers qwen3:8b" in line
    typed = line.split("Use it: ")[1]
    with temporary_settings(base_url=None, model=None):
        exec(typed, {})  # the line is meant to be typed
        assert (settings.base_url, settings.model) == (f"http://localhost:{port}/v1", "qwen3:8b")


def test_the_check_says_that_no_server_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setattr("aesop_nb.notebook.checking.LOCAL_SERVERS", {nobody.getsockname()[1]: "x"})
        assert "none on this machine answers" in line_of(doctor(check=True), "servers")

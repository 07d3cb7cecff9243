"""The doctor says what is set up, what to do where it is not well, and nothing that is secret."""

from __future__ import annotations

import sys

import pytest

from aesop_nb.notebook.doctor import doctor


def test_the_doctor_shows_no_part_of_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-sentinel-0123456789abcdef")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://llm.example:8443/v1/sentinel")
    monkeypatch.setenv("AESOP_MODEL", "sk-sentinel-0123456789abcdef")
    text = doctor()
    assert "OPENAI_API_KEY is set" in text
    assert "(from AESOP_MODEL) at https://llm.example:8443/v1/…; not contacted" in text
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
    monkeypatch.setitem(sys.modules, "ipykernel.kernelbase", sys.modules.get("ipykernel.kernelbase", Package))  # type: ignore[arg-type]
    monkeypatch.setattr("aesop_nb.notebook.doctor.find_audience", lambda: "nobody")
    monkeypatch.setattr("aesop_nb.notebook.doctor.front_end", lambda: "widgets")
    assert "! kernel     ipykernel 7.2.0\n             → ipykernel 7.2.0 can hang in Run All" in doctor()


def test_a_model_that_was_not_contacted_has_no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:11434/v1")
    monkeypatch.setenv("AESOP_MODEL", "llama")
    (line,) = [line for line in doctor().splitlines() if "llama" in line]
    assert line == "· model      llama (from AESOP_MODEL) at http://localhost:11434/v1; not contacted"

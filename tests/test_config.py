"""Limits and settings: what is accepted, what is refused and how, and where settings come from."""

from __future__ import annotations

from typing import Any

import pytest
from helping import run_python, said_by

import aesop_nb
from aesop_nb import Settings, TaskConfig, UsageError, settings, temporary_settings


def test_the_defaults_are_those_that_are_documented() -> None:
    config = TaskConfig()
    assert (config.max_duration_seconds, config.max_turns, config.max_retries) == (300, 20, 2)
    unlimited = (
        "max_tool_calls",
        "max_tokens",
        "max_cost_usd",
        "max_pages",
        "allowed_domains",
        "requests_per_second",
        "concurrent_requests",
        "tool_timeout_seconds",
    )
    assert {getattr(config, name) for name in unlimited} == {None}
    assert config.require_https is True


def test_only_what_was_set_counts_as_given() -> None:
    config = TaskConfig(max_pages=10, max_duration_seconds=300, allowed_domains=["wikipedia.org"])
    assert config.given() == {
        "max_pages": 10,
        "max_duration_seconds": 300,
        "allowed_domains": ["wikipedia.org"],
    }


@pytest.mark.parametrize(
    "limits",
    [
        {"max_turns": 0},
        {"max_turns": "many"},
        {"max_duration_seconds": 0},
        {"max_duration_seconds": float("inf")},
        {"max_duration_seconds": float("nan")},
        {"max_duration_seconds": None},
        {"max_tool_calls": -1},
        {"max_tokens": 0},
        {"max_pages": -1},
        {"max_retries": 11},
        {"max_retries": -1},
        {"retry_delay_seconds": 0},
        {"requests_per_second": 0},
        {"concurrent_requests": 0},
        {"tool_timeout_seconds": 0},
        {"allowed_domains": "wikipedia.org"},
    ],
)
def test_a_limit_that_is_none_is_refused_by_name(limits: dict[str, Any]) -> None:
    (name,) = limits
    with pytest.raises(UsageError, match=f"TaskConfig: {name}="):
        TaskConfig(**limits)


def test_a_misspelt_limit_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"no field 'max_turn'. Did you mean 'max_turns'"):
        TaskConfig(max_turn=3)


def test_a_config_does_not_change() -> None:
    config = TaskConfig()
    with pytest.raises(Exception, match="frozen"):
        config.max_turns = 3  # type: ignore[misc]


# Settings ---------------------------------------------------------------------------------------------


def test_temporary_settings_are_put_back_also_after_an_error() -> None:
    with temporary_settings(eager_mode=False, model="rehearsal") as inside:
        assert inside is settings
        assert (settings.eager_mode, settings.model) == (False, "rehearsal")
        with temporary_settings(eager_mode=True):
            assert settings.eager_mode is True
        assert settings.eager_mode is False
    with pytest.raises(ZeroDivisionError), temporary_settings(require_model=True):
        1 / 0  # noqa: B018
    assert (settings.eager_mode, settings.model, settings.require_model) == (True, None, False)


def test_an_unknown_setting_is_an_attribute_error_and_changes_nothing() -> None:
    with pytest.raises(AttributeError, match=r"'eager'. Did you mean 'eager_mode'"):
        settings.eager = False
    with pytest.raises(AttributeError, match="'nope'"), temporary_settings(eager_mode=False, nope=1):
        pass
    with pytest.raises(AttributeError):
        _ = settings.nope  # type: ignore[attr-defined]
    assert settings.eager_mode is True


@pytest.mark.parametrize(
    "change", [{"eager_mode": "perhaps"}, {"api": "soap"}, {"idle_timeout_seconds": 0}, {"model": 3}]
)
def test_a_value_that_does_not_fit_is_refused_and_changes_nothing(change: dict[str, Any]) -> None:
    (name,) = change
    before = getattr(settings, name)
    with pytest.raises(UsageError, match=f"settings: {name}="):
        setattr(settings, name, change[name])
    with pytest.raises(UsageError), temporary_settings(banner=False, **change):
        pass
    assert getattr(settings, name) == before
    assert settings.banner is True


def test_an_empty_model_or_address_is_none() -> None:
    with temporary_settings(model="", base_url=""):
        assert (settings.model, settings.base_url) == (None, None)


def test_settings_come_from_the_environment_when_the_package_is_first_used() -> None:
    code = """
import json, aesop_nb
s = aesop_nb.settings
print(json.dumps([s.eager_mode, s.model, s.require_model, s.idle_timeout_seconds, s.api]))
"""
    environment = {
        "AESOP_EAGER_MODE": "0",
        "AESOP_MODEL": "gpt-x",
        "AESOP_REQUIRE_MODEL": "1",
        "AESOP_IDLE_TIMEOUT_SECONDS": "2.5",
        "AESOP_HOME": "/nowhere",
    }
    assert said_by(code, environment=environment) == [False, "gpt-x", True, 2.5, "auto"]
    assert said_by(code) == [True, None, False, 60.0, "auto"]


def test_an_environment_that_does_not_fit_is_an_error_that_names_the_variables() -> None:
    done = run_python("import aesop_nb; aesop_nb.settings", environment={"AESOP_API": "soap"})
    assert done.returncode == 1
    assert "UsageError: environment AESOP_*: api='soap' does not fit" in done.stderr


def test_settings_read_the_environment_each_time_they_are_made_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AESOP_BANNER", "no")
    assert Settings.from_environment().banner is False
    assert aesop_nb.settings.banner is True


def test_a_required_model_that_is_not_there_is_an_error_and_not_a_rehearsal() -> None:
    with (
        temporary_settings(require_model=True),
        pytest.raises(aesop_nb.ModelNotConfigured, match="require_model"),
    ):
        aesop_nb.Task("Say").start()

"""How far a task may go (`TaskConfig`), and what holds for all of them (`settings`)."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from .errors import UsageError
from .texts import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

_Count = Annotated[int, Field(ge=1)]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class TaskConfig(BaseModel):
    """The limits of one task; a limit that is reached ends the run as failed and is named.

    Attributes:
        max_duration_seconds: Time for the whole run, without the time a person takes to answer.
        max_turns: Replies of the model.
        max_tool_calls: Tool calls, those that fail included; `None` is no limit.
        max_tokens: Input and output tokens together, as the service counts them; `None` is no limit.
        max_cost_usd: US dollars. Refused at the start of a run whose model has no known price.
        max_pages: Web pages that may be fetched; `None` is no limit.
        allowed_domains: Hosts, with their sub-domains, that web tools may read; `None` is any, `[]` is none.
        blocked_domains: Hosts that web tools may not read.
        require_https: Whether web tools refuse plain HTTP.
        user_agent: How web tools name themselves; `None` is the package's own name.
        max_retries: How often a failed request to the model is sent again.
        retry_delay_seconds: The first wait before that; it doubles each time, up to 8 seconds.
        requests_per_second: How fast the run may send requests to the model; `None` is no limit.
        concurrent_requests: How many requests to the model its runs may have under way; `None` is no limit.
        tool_timeout_seconds: Time for one tool call; `None` is what is left of the run's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_duration_seconds: _Seconds = 300.0
    max_turns: _Count = 20
    max_tool_calls: Annotated[int, Field(ge=0)] | None = None
    max_tokens: _Count | None = None
    max_cost_usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    max_pages: Annotated[int, Field(ge=0)] | None = None
    allowed_domains: tuple[str, ...] | None = None
    blocked_domains: tuple[str, ...] = ()
    require_https: bool = True
    user_agent: str | None = None
    max_retries: Annotated[int, Field(ge=0, le=10)] = 2
    retry_delay_seconds: _Seconds = 0.5
    requests_per_second: _Seconds | None = None
    concurrent_requests: _Count | None = None
    tool_timeout_seconds: _Seconds | None = None

    def __init__(self, **limits: Any) -> None:
        try:
            super().__init__(**limits)
        except ValidationError as exc:
            raise UsageError(_explain(exc, "TaskConfig", type(self).model_fields)) from exc

    def given(self) -> dict[str, Any]:
        """The limits that were set, by name; JSON values."""
        return self.model_dump(mode="json", exclude_unset=True)


class Settings(BaseModel):
    """What holds for all tasks of this process; every field can also come from `AESOP_<NAME>`.

    Attributes:
        eager_mode: Whether calling a `@task` function runs it; otherwise it gives a `Task`.
        model: The model where task, agent and flow name none, for example `"gpt-5-mini"`.
        base_url: An OpenAI-compatible service; `None` leaves it to `OPENAI_BASE_URL`.
        api: Which of OpenAI's wires: `"auto"`, `"responses"` or `"chat"`.
        require_model: Whether running without a model is an error, instead of a rehearsal.
        tools_raise_on_error: Whether a tool that raises ends the run, instead of being told to the model.
        idle_timeout_seconds: How long the model's service may send nothing before a request has failed.
        banner: Whether the first rehearsal of a kernel says how to connect a model.
        view: How much the live view shows: `"full"`, `"compact"` (its first line) or `"off"`.
        reuse: Whether a completed run with the same key gives its result without asking a model.
        home: The folder of the store; `None` is the user's data folder.
        store: `"on"`, `"off"`, or the address of a shared store.
        durability: `"normal"` survives the death of the process, `"full"` also a loss of power.
        project: The namespace of permanent memory; `None` is the folder the project lives in.
    """

    model_config = ConfigDict(validate_assignment=True, extra="forbid")

    eager_mode: bool = True
    model: str | None = None
    base_url: str | None = None
    api: Annotated[str, Field(pattern="^(auto|responses|chat)$")] = "auto"
    require_model: bool = False
    tools_raise_on_error: bool = False
    idle_timeout_seconds: _Seconds = 60.0
    banner: bool = True
    view: Annotated[str, Field(pattern="^(full|compact|off)$")] = "full"
    reuse: bool = False
    home: str | None = None
    store: str = "on"
    durability: Annotated[str, Field(pattern="^(normal|full)$")] = "normal"
    project: str | None = None

    @field_validator("model", "base_url", "home", "project", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None

    @classmethod
    def from_environment(cls) -> Settings:
        """Reads the `AESOP_*` variables; an unusable one is an error that names it."""
        found = {
            name: os.environ[f"AESOP_{name.upper()}"]
            for name in cls.model_fields
            if f"AESOP_{name.upper()}" in os.environ
        }
        try:
            return cls.model_validate(found)
        except ValidationError as exc:
            raise UsageError(_explain(exc, "environment AESOP_*", cls.model_fields)) from exc

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in type(self).model_fields:
            raise AttributeError(f"There is no setting {name!r}.{nearest(name, type(self).model_fields)}")
        try:
            super().__setattr__(name, value)
        except ValidationError as exc:
            raise UsageError(_explain(exc, "settings", type(self).model_fields)) from exc


def _explain(exc: ValidationError, owner: str, fields: Any) -> str:
    """Gives one line per mistake: the field, the value, what is allowed."""
    lines = []
    for error in exc.errors():
        name = str(error["loc"][0]) if error["loc"] else "?"
        if error["type"] == "extra_forbidden":
            lines.append(f"{owner} has no field {name!r}.{nearest(name, fields)}")
        else:
            lines.append(f"{owner}: {name}={error['input']!r} does not fit: {error['msg']}.")
    return "\n".join(lines)


settings = Settings.from_environment()
"""The settings of this process."""


@contextlib.contextmanager
def temporary_settings(**changes: Any) -> Iterator[Settings]:
    """Changes settings for a `with` block and puts the old ones back."""
    before = {name: getattr(settings, name) for name in changes if name in type(settings).model_fields}
    try:
        for name, value in changes.items():
            setattr(settings, name, value)
        yield settings
    finally:
        for name, value in before.items():
            setattr(settings, name, value)

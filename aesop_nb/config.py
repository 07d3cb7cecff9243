"""How far a task may go (`TaskConfig`), and what holds for all of them (`settings`)."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from .domains import read_site
from .errors import UsageError
from .texts import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
        max_pages: Web pages and searches that may be fetched, by tasks inside this one too; `None` is no limit.
        allowed_domains: Hosts, with their sub-domains, that web tools may read, at ports 80 and 443, or at the one
            that is written, as in `"example.org:8080"`; `None` is any, `[]` is none.
        blocked_domains: Hosts that web tools may not read.
        require_https: Whether web tools refuse plain HTTP; unless it is given, not from private hosts.
        allow_private_hosts: Whether web tools may read hosts of your own machine or network: those that
            `allowed_domains` names with their ports, such as `"localhost:8000"`, and no others.
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
    allow_private_hosts: bool = False
    user_agent: Annotated[str, Field(pattern=r"^[!-~]([ -~]{0,198}[!-~])?$")] | None = None
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

        self._refuse_useless_sites()

    @field_validator("allowed_domains", "blocked_domains")
    @classmethod
    def _sites(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for entry in value or ():
            read_site(entry)
        return value

    def _refuse_useless_sites(self) -> None:
        sites = [(entry, read_site(entry)) for entry in self.allowed_domains or ()]
        if self.allow_private_hosts:
            if not any(site.port for _, site in sites):
                raise UsageError(
                    "TaskConfig: allow_private_hosts=True needs the hosts in allowed_domains, with their ports, "
                    "for example allowed_domains=['localhost:8000']."
                )
            return
        for entry, site in sites:
            if site.host.is_address:
                raise UsageError(
                    f"TaskConfig: {entry!r} in allowed_domains is an IP address, which nothing matches. Name a "
                    "host; or, for one of your own network, give its port and allow_private_hosts=True."
                )

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
        progress: Whether scripts write to stderr what runs do; `None`: where that is a terminal.
        reuse: Whether a completed run with the same key gives its result without asking a model.
        home: The folder of the store; `None` is the user's data folder.
        store: `"on"` or `"off"`: whether runs are kept.
        durability: `"normal"` survives the death of the process, `"full"` also a loss of power.
        history_max_mb: The size of the store above which `%aesop history` and `%aesop doctor` say so.
        project: The namespace of permanent memory; `None` is the folder the project lives in.
    """

    model_config = ConfigDict(validate_assignment=True, extra="forbid")

    _assigned: set[str] = PrivateAttr(default_factory=set)
    _of_project: dict[str, Any] = PrivateAttr(default_factory=dict)

    eager_mode: bool = True
    model: str | None = None
    base_url: str | None = None
    api: Literal["auto", "responses", "chat"] = "auto"
    require_model: bool = False
    tools_raise_on_error: bool = False
    idle_timeout_seconds: _Seconds = 60.0
    banner: bool = True
    view: Literal["full", "compact", "off"] = "full"
    progress: bool | None = None
    reuse: bool = False
    home: str | None = None
    store: str = "on"
    durability: Literal["normal", "full"] = "normal"
    history_max_mb: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1024.0
    project: str | None = None

    @field_validator("store", mode="before")
    @classmethod
    def _switch(cls, value: object) -> object:
        """Takes `OFF` for `off`, as people write it in the environment, where empty is not set."""
        word = value.strip().lower() if isinstance(value, str) else value
        return word or "on" if word in ("on", "off", "") else value

    @field_validator("model", "base_url", "home", "project", "progress", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

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
        self._assigned.add(name)

    def take_project(self, values: Mapping[str, Any]) -> None:
        """Takes the values of a project's file, which hold where nothing was assigned."""
        self._of_project.update(values)
        for name in values.keys() - self._assigned:
            super().__setattr__(name, values[name])

    def unassign(self, name: str, value: Any) -> None:
        """Takes back an assignment: the value of the project's file holds again, or `value` where it has none."""
        super().__setattr__(name, self._of_project.get(name, value))
        self._assigned.discard(name)

    def is_assigned(self, name: str) -> bool:
        """Whether a setting was assigned in this process, and not read from the environment or a file."""
        return name in self._assigned


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
    known = [name for name in changes if name in type(settings).model_fields]
    before = {name: (getattr(settings, name), settings.is_assigned(name)) for name in known}
    try:
        for name, value in changes.items():
            setattr(settings, name, value)
        yield settings
    finally:
        for name, (value, was_assigned) in before.items():
            if was_assigned:
                setattr(settings, name, value)
            else:
                settings.unassign(name, value)

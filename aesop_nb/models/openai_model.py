"""`OpenAIModel`: a model behind OpenAI's API, or behind any service that speaks like it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..config import settings
from ..errors import ModelError, ModelNotConfigured, UsageError
from . import chat, responses
from .keys import KEY_VARIABLE, Key
from .openai_client import send
from .replies import Door, Reading
from .requests_switch import check_allowed
from .service_errors import Endpoint, Rejection, error_from
from .transcript import Delta, ModelRequest, Notice, Reply

DEFAULT_BASE_URL = "https://api.openai.com/v1"

_APIS = ("auto", "responses", "chat")
_PATHS = {chat.WIRE: chat.PATH, responses.WIRE: responses.PATH}
_OURS = frozenset(
    {"model", "messages", "input", "tools", "stream", "stream_options", "n"}
    | {"previous_response_id", "conversation", "background"}
)
_WITHOUT_REASONING = ("gpt-3.5", "gpt-4", "chatgpt-")


@dataclass(frozen=True, slots=True)
class _Form:
    """How a service wants to be asked.

    Attributes:
        wire: `chat` or `responses`.
        encrypted: Whether to ask for sealed reasoning, which models without reasoning refuse.
    """

    wire: str
    encrypted: bool

    def instead(self, rejection: Rejection) -> _Form | None:
        """Gives the form that a refusal asks for, or `None` where it is about something else."""
        status, told = rejection.status, rejection.message.lower()
        if self.wire == chat.WIRE:
            other = status in (400, 404) and "v1/responses" in told
            return replace(self, wire=responses.WIRE) if other else None
        if status == 404 and rejection.code != "model_not_found":
            return replace(self, wire=chat.WIRE)
        refused = status == 400 and "encrypted" in told and self.encrypted
        return replace(self, encrypted=False) if refused else None


class OpenAIModel:
    """A model behind OpenAI's API, Azure's, or any service that speaks like them.

    Args:
        name: As the service calls it, for example `gpt-5-mini`.
        base_url: The service. `None` takes `settings.base_url`, then `OPENAI_BASE_URL`, then OpenAI's own.
        api_key: `None` takes `OPENAI_API_KEY`. Services other than OpenAI's and Azure's may need none.
        api: Which of OpenAI's wires: `"responses"`, `"chat"`, or `"auto"`: Responses at OpenAI and Azure, Chat
            elsewhere. `"auto"` takes what `settings.api` says. If the service asks for the other wire, or
            answers 404 at `/responses`, the model changes over once and says so with a `Notice`.
        parameters: Extra fields for every request, for example `{"temperature": 0}`.

    Attributes:
        name: As above.
        base_url: The service that is asked.
        parameters: As above.
        is_rehearsal: False.

    Raises:
        UsageError: If an argument is unusable.
        ModelNotConfigured: If OpenAI or Azure is to be asked and there is no key.
    """

    is_rehearsal: bool = False

    def __init__(
        self,
        name: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        api: str = "auto",
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            key = Key(api_key) if api_key else Key.from_environment()
        finally:
            api_key = None  # a traceback with variables, of the errors below, would show it
        if not name or not isinstance(name, str):
            raise UsageError(f"OpenAIModel needs the name of a model, such as 'gpt-5-mini', not {name!r}.")
        if api not in _APIS:
            raise UsageError(f"api={api!r} is none of {', '.join(map(repr, _APIS))}.")
        self.name = name
        url = base_url or settings.base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL
        self._endpoint = Endpoint(url.strip().rstrip("/"), key)
        self.base_url = self._endpoint.base_url
        self.parameters = _checked(parameters or {})
        if self._endpoint.is_openai and not self._endpoint.key:
            raise ModelNotConfigured(
                f"The model {name!r} at {self._endpoint.host} needs an API key: "
                f"set {KEY_VARIABLE}, or give api_key=."
            )
        self._form = self._first_form(settings.api if api == "auto" else api)

    def __repr__(self) -> str:
        return f"OpenAIModel({self.name!r}, base_url={self.base_url!r}, api_key={self._endpoint.key!r})"

    @property
    def has_key_of_its_own(self) -> bool:
        """Whether its key is another one than that of the environment, so that no other process has it."""
        return bool(self._endpoint.key) and self._endpoint.key != Key.from_environment()

    @property
    def wire(self) -> str:
        """The wire in use: `"responses"` or `"chat"`; it can change with the first reply."""
        return self._form.wire

    async def reply(self, request: ModelRequest, on_delta: Callable[[Delta], None]) -> Reply:
        """Gives the next reply; `usage.requests` is 1, or more if the service asked for another form.

        Args:
            request: The conversation so far and what may be called.
            on_delta: Called on the event loop with each piece as it arrives.

        Raises:
            ModelError: If there is no whole, usable reply; `.requests` says how many requests were sent.
            UsageError: If `request.parameters` holds what cannot be sent, or requests are forbidden.
        """
        check_allowed(self.name)
        parameters = {**self.parameters, **_checked(request.parameters)}
        form, tried, sent = self._form, set[_Form](), 0
        try:
            while True:
                tried.add(form)
                sent += 1
                outcome = await self._send(form, request, parameters, on_delta)
                if isinstance(outcome, Reply):
                    break
                other = form.instead(outcome)
                if other is None or other in tried:
                    raise error_from(outcome, self._endpoint, self.name)
                form = other
        except ModelError as exc:
            exc.requests = sent
            raise
        self._settle(form, on_delta)
        return outcome if sent == 1 else _counted(outcome, sent)

    async def _send(
        self,
        form: _Form,
        request: ModelRequest,
        parameters: Mapping[str, Any],
        on_delta: Callable[[Delta], None],
    ) -> Reply | Rejection:
        door = Door(self._endpoint, self.name, form.wire, on_delta)
        reading: Reading
        if form.wire == chat.WIRE:
            body = chat.build_body(request, self.name, parameters, openai=self._endpoint.is_openai)
            reading = chat.ChatReading(door)
        else:
            body = responses.build_body(request, self.name, parameters, encrypted=form.encrypted)
            reading = responses.ResponsesReading(door)
        return await send(self._endpoint, _PATHS[form.wire], body, reading, settings.idle_timeout_seconds)

    def _first_form(self, api: str) -> _Form:
        wire = api
        if api == "auto":
            wire = responses.WIRE if self._endpoint.is_openai else chat.WIRE
        return _Form(wire, encrypted=not self.name.startswith(_WITHOUT_REASONING))

    def _settle(self, form: _Form, on_delta: Callable[[Delta], None]) -> None:
        """Keeps the form that worked, and says so if it is another wire."""
        if form == self._form:
            return
        wire, self._form = self._form.wire, form
        if form.wire != wire:
            on_delta(
                Notice(
                    f"{self._endpoint.host} does not take {self.name} at {_PATHS[wire]}; "
                    f"{_PATHS[form.wire]} is used from now on (api={form.wire!r} says so from the start)."
                )
            )


def _counted(reply: Reply, sent: int) -> Reply:
    return replace(reply, usage=reply.usage.model_copy(update={"requests": sent}))


def _checked(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Gives parameters that can be sent and do not touch what the package itself writes."""
    if not parameters:
        return {}
    if taken := sorted(_OURS & set(parameters)):
        raise UsageError(
            f"parameters may not hold {', '.join(map(repr, taken))}: the package writes these itself."
        )
    try:
        json.dumps(parameters, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise UsageError(f"parameters hold what JSON cannot say: {exc}") from None
    return dict(parameters)

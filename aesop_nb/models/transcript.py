"""What is sent to a model and what comes back, in words that belong to no provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from ..events import CallRequest, Usage

FinishReason = Literal["stop", "tool_calls", "length", "content_filter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemMessage:
    """Standing instructions."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UserMessage:
    """What the task or the engine says to the model."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistantMessage:
    """An earlier reply of the model.

    Attributes:
        opaque: Parts that only the wire that produced them understands (encrypted reasoning), replayed as they
            came; `wire` names that wire, and every other wire leaves them out.
    """

    text: str = ""
    tool_calls: tuple[CallRequest, ...] = ()
    wire: str = ""
    opaque: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolMessage:
    """What one tool call gave; every call of an `AssistantMessage` has exactly one."""

    call_id: str
    tool: str
    text: str


Message: TypeAlias = SystemMessage | UserMessage | AssistantMessage | ToolMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool as the model sees it.

    Attributes:
        parameters: A JSON schema of type object.
        kind: `finish` tools end the run; the model calls them with the result or the reason.
        side_effects: Whether a call changes something outside; a rehearsal leaves such tools alone.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    kind: Literal["tool", "user", "finish"] = "tool"
    side_effects: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """Everything a model needs for its next reply.

    Attributes:
        messages: The conversation; the first is the `SystemMessage`.
        tools: What may be called; names are unique.
        context: The task's inputs as objects. Only the rehearsal model reads them; real ones read the messages.
        stream: Whether somebody is watching, so that pieces should be reported as they arrive.
        parameters: Extra fields for the provider, for example `{"temperature": 0}`.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    context: Mapping[str, Any] = field(default_factory=dict)
    stream: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def tool(self, name: str) -> ToolSpec | None:
        """The tool of that name, if it is offered."""
        return next((tool for tool in self.tools if tool.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One whole reply.

    Attributes:
        finish_reason: Why the model stopped; a reply without one never gets here.
        usage: As the service counts it; `requests` is 1.
        refusal: What the model said instead of doing it, where the service tells refusals from other texts;
            `finish_reason` is `"content_filter"` then.
    """

    text: str = ""
    tool_calls: tuple[CallRequest, ...] = ()
    finish_reason: FinishReason = "stop"
    usage: Usage = field(default_factory=lambda: Usage(requests=1))
    model: str = ""
    wire: str = ""
    opaque: tuple[dict[str, Any], ...] = ()
    refusal: str = ""

    def message(self) -> AssistantMessage:
        """The reply as a message of the conversation that goes on."""
        return AssistantMessage(
            text=self.text, tool_calls=self.tool_calls, wire=self.wire, opaque=self.opaque
        )


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of text; `restarted` says that the pieces before it do not count."""

    text: str
    restarted: bool = False


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call; `index` tells the calls of one reply apart."""

    index: int
    tool: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the person should know, for example that the other wire is used from now on."""

    text: str


Delta: TypeAlias = TextDelta | ToolCallDelta | Notice


@runtime_checkable
class Model(Protocol):
    """Something that replies.

    Attributes:
        name: As shown to people and written into events, for example `gpt-5-mini`.
        is_rehearsal: Whether it is a stand-in and not a language model.
    """

    name: str
    is_rehearsal: bool

    async def reply(self, request: ModelRequest, on_delta: Callable[[Delta], None]) -> Reply:
        """Gives the next reply, sending one request.

        Args:
            request: The conversation so far and what may be called.
            on_delta: Called on the event loop with each piece as it arrives.

        Raises:
            ModelError: If there is no whole, usable reply; `.retryable` says whether sending again may help.
        """
        ...

"""A model that says what a test tells it to say."""

from __future__ import annotations

import inspect
import json
from asyncio import sleep
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_changes
from itertools import count
from typing import Any, TypeAlias

from ..events import CallRequest
from ..texts import one_line
from ..values import json_value
from .transcript import Delta, ModelRequest, Reply, TextDelta, ToolCallDelta

_PIECE = 12


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """A tool call of a script; made by `call`, `result` and `failure`."""

    tool: str
    arguments: Mapping[str, Any]


class ScriptExhausted(AssertionError):
    """The model was asked for more replies than the script has."""


_Said: TypeAlias = (
    Reply
    | str
    | ScriptedCall
    | Mapping[str, Any]
    | Sequence[ScriptedCall | Mapping[str, Any]]
    | BaseException
)
ScriptedReply: TypeAlias = _Said | Callable[[ModelRequest], _Said | Awaitable[_Said]]
"""What a script consists of; see `ScriptedModel`."""


def call(tool: str, /, **arguments: Any) -> ScriptedCall:
    """Gives the reply that calls one tool; a list of them calls several in one turn."""
    return ScriptedCall(tool, arguments)


def result(value: Any = ..., /) -> ScriptedCall:
    """Gives the reply that hands in `value` as the result; without one, for tasks that have none."""
    return ScriptedCall("mark_successful", {} if value is ... else {"result": value})


def failure(reason: str, /) -> ScriptedCall:
    """Gives the reply that ends the task as failed."""
    return ScriptedCall("mark_failed", {"reason": reason})


class ScriptedModel:
    """A model whose replies are written down beforehand, one per request.

        model = ScriptedModel(call("search", query="bakeries"), result(["Paul", "Le Pain Quotidien"]))

    Each reply is a text; a call (`call`, `result`, `failure`, or a dict with `tool` and `arguments`); a list of
    calls, made in one turn; a whole `Reply`; an exception, which is raised; or a function of the
    `ModelRequest`, plain or async, that gives one of these.

    Attributes:
        name: As shown to people and written into events.
        requests: Every request so far, in order.
    """

    is_rehearsal = False

    def __init__(self, *replies: ScriptedReply, name: str = "scripted", delay_seconds: float = 0) -> None:
        self.name = name
        self.requests: list[ModelRequest] = []
        self._replies = replies
        self._delay_seconds = delay_seconds
        self._ids = count(1)

    def __repr__(self) -> str:
        return f"ScriptedModel({len(self._replies)} replies, {len(self.requests)} requests)"

    async def reply(self, request: ModelRequest, on_delta: Callable[[Delta], None]) -> Reply:
        """Gives the next reply of the script.

        Raises:
            ScriptExhausted: If there is none left.
        """
        self.requests.append(request)
        place = len(self.requests)
        if place > len(self._replies):
            raise ScriptExhausted(
                f"The script of {self.name!r} has {len(self._replies)} "
                f"repl{'y' if len(self._replies) == 1 else 'ies'}, and this is request number {place}. "
                f"The last message was {one_line(str(request.messages[-1:]), 300)}"
            )
        scripted = self._replies[place - 1]
        if self._delay_seconds:
            await sleep(self._delay_seconds)
        said = scripted
        if callable(scripted):
            given = scripted(request)
            said = await given if inspect.isawaitable(given) else given
        if isinstance(said, BaseException):
            raise said
        made = self._made(said)
        if request.stream:
            for delta in _deltas(made):
                on_delta(delta)
                await sleep(0)
        return made

    def _made(self, said: Any) -> Reply:
        if isinstance(said, Reply):
            return said if said.model else with_changes(said, model=self.name)
        if isinstance(said, str):
            return Reply(text=said, model=self.name)
        if isinstance(said, (ScriptedCall, Mapping)):
            said = [said]
        if not isinstance(said, Sequence):
            raise TypeError(
                f"A scripted reply cannot be {said!r}; write a text, call(…), result(…) or a list."
            )
        calls = tuple(self._call(part) for part in said)
        return Reply(tool_calls=calls, finish_reason="tool_calls", model=self.name)

    def _call(self, part: Any) -> CallRequest:
        if isinstance(part, Mapping):
            if not isinstance(part.get("tool"), str) or not set(part) <= {"tool", "arguments"}:
                raise TypeError(f"A scripted call is a dict with 'tool' and 'arguments', not {part!r}.")
            part = ScriptedCall(part["tool"], part.get("arguments", {}))
        if not isinstance(part, ScriptedCall):
            raise TypeError(f"A scripted call cannot be {part!r}; write call('tool', argument=…).")
        arguments = part.arguments
        text = (
            arguments
            if isinstance(arguments, str)  # raw text, to script broken JSON
            else json.dumps(dict(arguments), ensure_ascii=False, default=json_value)
        )
        return CallRequest(call_id=f"call_{next(self._ids)}", tool=part.tool, arguments=text)


def _deltas(reply: Reply) -> Iterator[Delta]:
    for start in range(0, len(reply.text), _PIECE):
        yield TextDelta(reply.text[start : start + _PIECE])
    for index, made in enumerate(reply.tool_calls):
        yield ToolCallDelta(index, tool=made.tool)
        for start in range(0, len(made.arguments), _PIECE):
            yield ToolCallDelta(index, arguments=made.arguments[start : start + _PIECE])

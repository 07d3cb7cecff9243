"""The tool calls of one turn: checked, made at the same time, and answered each exactly once."""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from .. import background
from .. import events as ev
from ..errors import LimitExceeded, NeedsHuman, ToolFailed
from ..texts import shorten
from ..tools import ArgumentsInvalid, Tool, read_arguments, unknown_tool_text
from ..values import json_value, model_text, value_text
from .answers import TALK_TO_USER, read_question
from .clocks import call_time

if TYPE_CHECKING:
    from ..config import TaskConfig
    from .asking import Interview
    from .recorders import Recorder

MAX_CALLS_A_TURN = 64
"""More calls in one reply are answered with an error instead of being made."""


_Maker: TypeAlias = Callable[[], Coroutine[Any, Any, str]]


FINISHING_SECONDS = 1.0
"""How long the other calls of a turn have when a question in it cannot be answered."""


MAX_REFUSAL_CHARACTERS = 4_000
"""What the model is told of a call that cannot be made; its own words may be in it."""


class Caller:
    """Makes the tool calls of one run. Lives on the loop's thread.

    Before a tool with side effects is called, it has the store keep that it will be.

    Attributes:
        in_threads: Synchronous tools that are working now, by call; a thread cannot be stopped.
    """

    def __init__(
        self,
        config: TaskConfig,
        recorder: Recorder,
        interview: Interview,
        *,
        raises: Callable[[], bool],
        async_tools_loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.in_threads: dict[str, str] = {}
        self._config = config
        self._add = recorder.add
        self._write_down = recorder.write_down
        self._withheld = recorder.withheld
        self._interview = interview
        self._raises = raises
        self._async_tools_loop = async_tools_loop
        self._calls_made = 0

    async def answer_all(
        self,
        calls: Sequence[ev.CallRequest],
        tools: Mapping[str, Tool],
        finishing: Iterable[str],
        turn: int,
        *,
        may_ask: bool,
    ) -> tuple[dict[str, str], bool]:
        """Makes the calls at the same time.

        Returns:
            What the model is told, by call id, and whether every call could be made.

        Raises:
            LimitExceeded: If `max_tool_calls` does not allow all of them; none is made then.
            NeedsHuman: If a person is asked and nobody is there.
            ToolFailed: If a tool raises and `settings.tools_raise_on_error` is set.
        """
        offered = [*tools, *([TALK_TO_USER.name] if may_ask else []), *finishing]
        makers: dict[str, _Maker] = {}
        refused: dict[str, str] = {}
        for index, call in enumerate(calls):
            try:
                if index >= MAX_CALLS_A_TURN:
                    raise ArgumentsInvalid(
                        f"only {MAX_CALLS_A_TURN} calls are made in one turn; ask again later"
                    )
                makers[call.call_id] = self._prepare(call, tools, offered, turn, may_ask=may_ask)
            except ArgumentsInvalid as exc:
                error = shorten(str(exc), MAX_REFUSAL_CHARACTERS)
                refused[call.call_id] = f"Error: {error}"
                self._add(
                    ev.ToolFailed(
                        turn=turn,
                        call_id=call.call_id,
                        tool=call.tool,
                        arguments=call.arguments,
                        error=error,
                    )
                )
        self._count(sum(call.tool != TALK_TO_USER.name for call in calls))
        made = await _all_of([make() for make in makers.values()])
        return {**refused, **dict(zip(makers, made, strict=True))}, not refused

    def _prepare(
        self,
        call: ev.CallRequest,
        tools: Mapping[str, Tool],
        offered: Sequence[str],
        turn: int,
        *,
        may_ask: bool,
    ) -> _Maker:
        """Gives what makes the call; nothing of the tool has run before."""
        arguments = read_arguments(call.arguments)
        if call.tool == TALK_TO_USER.name and may_ask:
            try:
                question = read_question(arguments)
            except ValueError as exc:
                raise ArgumentsInvalid(str(exc)) from exc
            return lambda: self._interview.ask(question)
        tool = tools.get(call.tool)
        if tool is None:
            raise ArgumentsInvalid(unknown_tool_text(call.tool, offered))
        checked = self._check(tool, arguments)
        called = ev.ToolCalled(
            turn=turn, call_id=call.call_id, tool=tool.name, arguments=json_value(arguments)
        )
        if not tool.requires_approval:
            return lambda: self._call(called, tool, checked)
        approved = _own(checked)  # now, before the next call is checked
        return lambda: self._call_if_approved(called, tool, approved)

    def _check(self, tool: Tool, arguments: dict[str, Any]) -> dict[str, Any]:
        """Gives what the tool will be called with: its types, and the secrets in the place of stand-ins."""
        if not (tool.takes_secrets and self._withheld.is_used_in(arguments)):
            return tool.check(arguments)
        try:
            return tool.check(self._withheld.put_in(arguments), self._withheld.masked)
        except ArgumentsInvalid as exc:
            error = str(exc)
        raise ArgumentsInvalid(error)  # outside, so that no error is chained whose text holds a secret

    def _count(self, calls: int) -> None:
        limit = self._config.max_tool_calls
        self._calls_made += calls
        if limit is not None and self._calls_made > limit:
            raise LimitExceeded(
                f"The model asked for tool call number {self._calls_made}; max_tool_calls={limit} are allowed.",
                limit="max_tool_calls",
            )

    async def _call_if_approved(self, called: ev.ToolCalled, tool: Tool, arguments: dict[str, Any]) -> str:
        """Makes the call if the person says yes to it and to these very arguments."""
        before = json_value(arguments)
        # What a validator makes of a secret is not known, so what the model wrote is shown.
        shown = called.arguments if self._withheld.is_used_in(called.arguments) else before
        decision = await self._interview.approve(tool, called.call_id, shown)
        if decision.approved:
            if json_value(arguments) != before:
                error = "its arguments changed after they were approved, so it was not made."
            else:
                return await self._call(called, tool, arguments)
        else:
            error = decision.told
        self._add(
            ev.ToolFailed(
                turn=called.turn,
                call_id=called.call_id,
                tool=tool.name,
                arguments=json.dumps(called.arguments, ensure_ascii=False),
                error=error,
            )
        )
        return f"Error: {error}"

    async def _call(self, called: ev.ToolCalled, tool: Tool, checked: dict[str, Any]) -> str:
        """Makes one call; whatever the tool raises is told to the model."""
        self._add(called)
        if tool.spec.side_effects:  # so that a crash cannot hide that it may have taken effect
            await background.call_in_thread(self._write_down, "store")
        begun = time.monotonic()
        limit = tool.timeout_seconds or self._config.tool_timeout_seconds
        try:
            async with call_time(limit) as timer:
                output = self._withheld.masked(await self._run(called, tool, checked))
        except BaseException as exc:  # the one place where a tool's failure is caught
            if isinstance(exc, asyncio.CancelledError) and background.is_being_cancelled():
                raise
            error = f"TimeoutError: no answer within {limit} s" if timer.expired() else error_text(exc)
            error = self._withheld.masked(error)
            self._add(
                ev.ToolFailed(
                    turn=called.turn,
                    call_id=called.call_id,
                    tool=tool.name,
                    error=value_text(error),
                    duration_seconds=time.monotonic() - begun,
                )
            )
            if self._raises() and not self._withheld:
                raise ToolFailed(f"Tool {tool.name!r} raised {error}") from exc
        else:
            self._add(
                ev.ToolReturned(
                    call_id=called.call_id,
                    tool=tool.name,
                    output=output,
                    duration_seconds=time.monotonic() - begun,
                )
            )
            return model_text(output)
        if self._raises():  # without its cause: a traceback shows messages, and variables on request
            raise ToolFailed(f"Tool {tool.name!r} raised {error}")
        return f"Error: {model_text(error)}"

    async def _run(self, call: ev.ToolCalled, tool: Tool, arguments: dict[str, Any]) -> str:
        """Gives what the tool gives as text; the text of a large value is made off the loop, in a thread."""
        if not tool.is_async:

            def work() -> Any:
                self.in_threads[call.call_id] = tool.name
                try:
                    with self._withheld.held():
                        value = tool.use(arguments)
                    return value if inspect.iscoroutine(value) else value_text(value)
                finally:
                    self.in_threads.pop(call.call_id, None)

            given = await background.call_in_thread(work, tool.name)
            return value_text(await given) if inspect.iscoroutine(given) else given
        if self._async_tools_loop is None:
            value = await tool.use(arguments)
        else:
            future = asyncio.run_coroutine_threadsafe(tool.use(arguments), self._async_tools_loop)
            value = await asyncio.wrap_future(future)
        if value is None or isinstance(value, str | int | float):
            return value_text(value)
        return await background.call_in_thread(lambda: value_text(value), tool.name)


def _own(arguments: dict[str, Any]) -> dict[str, Any]:
    """Gives a copy that nobody else holds, as far as the values can be copied."""
    try:
        return copy.deepcopy(arguments)
    except Exception:  # noqa: BLE001  # a type of the user's that cannot be copied
        return arguments


def error_text(exc: BaseException) -> str:
    """Gives the class and the message of an exception."""
    try:
        text = str(exc)
    except Exception:  # noqa: BLE001  # an exception of the user's whose __str__ raises
        text = ""
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


async def _all_of(coroutines: Sequence[Coroutine[Any, Any, str]]) -> list[str]:
    """Awaits all; if one raises, the others are cancelled first.

    Where only a person is missing they may finish, as the run can be resumed with what they gave.
    """
    if len(coroutines) == 1:
        return [await coroutines[0]]
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    except BaseException as exc:
        try:
            if isinstance(exc, NeedsHuman):
                await asyncio.wait(tasks, timeout=FINISHING_SECONDS)
        finally:
            for task in tasks:
                task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=0.1)
        raise

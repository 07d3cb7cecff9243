"""The tool calls of one turn: checked, made at the same time, and answered each exactly once."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from . import background
from . import events as ev
from .asking import TALK_TO_USER, read_question
from .errors import LimitExceeded, ToolFailed
from .texts import shorten
from .tools import ArgumentsInvalid, Tool, read_arguments, unknown_tool_text
from .values import json_value, model_text, value_text

if TYPE_CHECKING:
    from .asking import Interview
    from .config import TaskConfig

MAX_CALLS_A_TURN = 64
"""More calls in one reply are answered with an error instead of being made."""


_Maker: TypeAlias = Callable[[], Coroutine[Any, Any, str]]


MAX_REFUSAL_CHARACTERS = 4_000
"""What the model is told of a call that cannot be made; its own words may be in it."""


class Caller:
    """Makes the tool calls of one run. Lives on the loop's thread.

    Attributes:
        in_threads: Synchronous tools that are working now, by call; a thread cannot be stopped.
    """

    def __init__(
        self,
        config: TaskConfig,
        add: Callable[[ev.Event], None],
        *,
        raises: Callable[[], bool],
        async_tools_loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.in_threads: dict[str, str] = {}
        self._config = config
        self._add = add
        self._raises = raises
        self._async_tools_loop = async_tools_loop
        self._calls_made = 0

    async def answer_all(
        self,
        calls: Sequence[ev.CallRequest],
        tools: Mapping[str, Tool],
        interview: Interview | None,
        finishing: Iterable[str],
        turn: int,
    ) -> tuple[dict[str, str], bool]:
        """Makes the calls at the same time.

        Returns:
            What the model is told, by call id, and whether every call could be made.

        Raises:
            LimitExceeded: If `max_tool_calls` does not allow all of them; none is made then.
            NeedsHuman: If a person is asked and nobody is there.
            ToolFailed: If a tool raises and `settings.tools_raise_on_error` is set.
        """
        offered = [*tools, *([TALK_TO_USER.name] if interview else []), *finishing]
        makers: dict[str, _Maker] = {}
        refused: dict[str, str] = {}
        for index, call in enumerate(calls):
            try:
                if index >= MAX_CALLS_A_TURN:
                    raise ArgumentsInvalid(
                        f"only {MAX_CALLS_A_TURN} calls are made in one turn; ask again later"
                    )
                makers[call.call_id] = self._prepare(call, tools, interview, offered, turn)
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
        interview: Interview | None,
        offered: Sequence[str],
        turn: int,
    ) -> _Maker:
        """Gives what makes the call; nothing of the tool has run before."""
        arguments = read_arguments(call.arguments)
        if call.tool == TALK_TO_USER.name and interview:
            try:
                question, choices = read_question(arguments)
            except ValueError as exc:
                raise ArgumentsInvalid(str(exc)) from exc
            return lambda: interview.ask(question, choices)
        tool = tools.get(call.tool)
        if tool is None:
            raise ArgumentsInvalid(unknown_tool_text(call.tool, offered))
        checked = tool.check(arguments)
        called = ev.ToolCalled(
            turn=turn, call_id=call.call_id, tool=tool.name, arguments=json_value(arguments)
        )
        return lambda: self._call(called, tool, checked)

    def _count(self, calls: int) -> None:
        limit = self._config.max_tool_calls
        self._calls_made += calls
        if limit is not None and self._calls_made > limit:
            raise LimitExceeded(
                f"The model asked for tool call number {self._calls_made}; max_tool_calls={limit} are allowed.",
                limit="max_tool_calls",
            )

    async def _call(self, called: ev.ToolCalled, tool: Tool, checked: dict[str, Any]) -> str:
        """Makes one call; whatever the tool raises is told to the model."""
        self._add(called)
        begun = time.monotonic()
        limit = tool.timeout_seconds or self._config.tool_timeout_seconds
        timer = asyncio.timeout(limit)
        try:
            async with timer:
                output = await self._run(called, tool, checked)
        except BaseException as exc:  # the one place where a tool's failure is caught
            if isinstance(exc, asyncio.CancelledError) and _is_being_cancelled():
                raise
            error = f"TimeoutError: no answer within {limit} s" if timer.expired() else error_text(exc)
            self._add(
                ev.ToolFailed(
                    turn=called.turn,
                    call_id=called.call_id,
                    tool=tool.name,
                    error=value_text(error),
                    duration_seconds=time.monotonic() - begun,
                )
            )
            if self._raises():
                raise ToolFailed(f"Tool {tool.name!r} raised {error}") from exc
            return f"Error: {model_text(error)}"
        self._add(
            ev.ToolReturned(
                call_id=called.call_id,
                tool=tool.name,
                output=output,
                duration_seconds=time.monotonic() - begun,
            )
        )
        return model_text(output)

    async def _run(self, call: ev.ToolCalled, tool: Tool, arguments: dict[str, Any]) -> str:
        """Gives what the tool gives as text; the text of a large value is made off the loop, in a thread."""
        if not tool.is_async:

            def work() -> Any:
                self.in_threads[call.call_id] = tool.name
                try:
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


def _is_being_cancelled() -> bool:
    """Whether the run is stopped, and not something that a tool was awaiting."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def error_text(exc: BaseException) -> str:
    """Gives the class and the message of an exception."""
    try:
        text = str(exc)
    except Exception:  # noqa: BLE001  # an exception of the user's whose __str__ raises
        text = ""
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


async def _all_of(coroutines: Sequence[Coroutine[Any, Any, str]]) -> list[str]:
    """Awaits all; if one raises, the others are cancelled first."""
    if len(coroutines) == 1:
        return [await coroutines[0]]
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=0.1)
        raise

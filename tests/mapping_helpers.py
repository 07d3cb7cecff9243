"""What the tests of maps share: a task that answers by its input, and a store of its own."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from aesop_nb import Usage, task
from aesop_nb.models.transcript import Reply
from aesop_nb.testing import ScriptedModel, result

if TYPE_CHECKING:
    from collections.abc import Callable

    from openai_server import Request

    from aesop_nb.models.transcript import ModelRequest


class Answering:
    """A model that answers every request with what a function makes of the task's text.

    Attributes:
        asked: The text of each request, in their order.
        most_at_once: The most requests under way at the same time.
    """

    is_rehearsal = False

    def __init__(
        self,
        answer: Callable[[str], Any],
        *,
        name: str = "answering",
        delay_seconds: float | Callable[[str], float] = 0.0,
        tokens: tuple[int, int] = (10, 5),
        cost_usd: float | None = None,
    ) -> None:
        self.name = name
        self.asked: list[str] = []
        self.most_at_once = 0
        self._at_once = 0
        self._answer = answer
        self._delay_seconds = delay_seconds
        self._usage = Usage(requests=1, input_tokens=tokens[0], output_tokens=tokens[1], cost_usd=cost_usd)
        self._changed = threading.Condition()

    async def reply(self, request: ModelRequest, on_delta: Callable[[Any], None]) -> Reply:
        text = getattr(request.messages[1], "text", "")
        with self._changed:
            self.asked.append(text)
            self._changed.notify_all()
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            delay = self._delay_seconds(text) if callable(self._delay_seconds) else self._delay_seconds
            if delay:
                await asyncio.sleep(delay)
            said = self._answer(text)
        finally:
            self._at_once -= 1
        if isinstance(said, BaseException):
            raise said
        made = await ScriptedModel(said, name=self.name).reply(request, on_delta)
        return Reply(
            text=made.text,
            tool_calls=made.tool_calls,
            finish_reason=made.finish_reason,
            usage=self._usage,
            model=self.name,
        )

    def wait_for_requests(self, count: int, timeout_seconds: float = 5.0) -> bool:
        """Whether at least `count` requests arrived in time."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.asked) >= count, timeout_seconds)


def last_line(text: str) -> str:
    """The value of the only input: the end of a task's message."""
    return text.rsplit(":\n", 1)[-1]


def echo(text: str) -> Any:
    """Hands the input back as the result."""
    return result(last_line(text))


def shouting(model: Any = None, **options: Any) -> Any:
    """A task that asks `model`, or one that hands the input back."""

    @task(model=model or Answering(echo), **options)
    def shout(text: str) -> str:
        """Says it again."""
        raise NotImplementedError

    return shout


def texts(count: int) -> list[str]:
    return [f"text {number}" for number in range(count)]


def input_of(request: Request) -> str:
    """The value of the only input, as the service reads it."""
    return last_line(request.body["messages"][1]["content"])

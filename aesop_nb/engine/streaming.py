"""Pieces of a reply, gathered into few events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .. import events as ev
from ..models.transcript import Delta, Notice, TextDelta, ToolCallDelta
from ..texts import clean_text

if TYPE_CHECKING:
    from collections.abc import Callable

GATHER_SECONDS = 0.05
"""Pieces that arrive within this time become one event; faster than anybody reads."""


class DeltaBuffer:
    """Turns the pieces of one reply into events, at most 20 a second for each kind."""

    def __init__(self, turn: int, add: Callable[[ev.Event], None]) -> None:
        self._turn = turn
        self._add = add
        self._text: list[str] = []
        self._restarted = False
        self._calls: dict[int, tuple[list[str], list[str]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def take(self, delta: Delta) -> None:
        """Takes one piece."""
        if isinstance(delta, Notice):
            self._add(ev.NoticeGiven(text=delta.text))
            return
        if isinstance(delta, TextDelta):
            if delta.restarted:
                self._text, self._restarted, self._calls = [], True, {}
            self._text.append(delta.text)
        elif isinstance(delta, ToolCallDelta):
            tool, arguments = self._calls.setdefault(delta.index, ([], []))
            tool.append(delta.tool)
            arguments.append(delta.arguments)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self.flush)

    def flush(self) -> None:
        """Writes down what was gathered."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        text, restarted = clean_text("".join(self._text)), self._restarted
        self._text, self._restarted = [], False
        if text or restarted:
            self._add(ev.TextStreamed(turn=self._turn, text=text, restarted=restarted))
        calls, self._calls = self._calls, {}
        for index, (tool, arguments) in calls.items():
            self._add(
                ev.ToolCallStreamed(
                    turn=self._turn,
                    index=index,
                    tool=clean_text("".join(tool)),
                    arguments=clean_text("".join(arguments)),
                )
            )

"""Agents: who does a task, with which instructions, tools and model; and who takes the next turn."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .errors import UsageError
from .texts import clean_text
from .tools import Tool, collect_tools

if TYPE_CHECKING:
    from .models.transcript import Model


@dataclass(frozen=True, kw_only=True, eq=False)
class Agent:
    """Somebody who can do tasks.

    Attributes:
        name: As shown to people and to the model that picks among several agents.
        description: What the agent is good at, for the same.
        instructions: How it works, put before every task it does.
        tools: Functions it may use, beside those of the task.
        model: A `Model`, a name such as `"gpt-5-mini"`, or `None` for the configured one.
        user_access: Whether it may ask the person, whatever the task says.
        max_concurrent: How many turns it may take at the same time in this process; `None` is no limit.
    """

    name: str = "Aesop"
    description: str = ""
    instructions: str = ""
    tools: Sequence[Callable[..., Any] | Tool] = ()
    model: Model | str | None = None
    user_access: bool = False
    max_concurrent: int | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise UsageError("An agent needs a name.")
        if self.max_concurrent is not None and self.max_concurrent < 1:
            raise UsageError(
                f"max_concurrent={self.max_concurrent!r} of agent {self.name!r} must be at least 1."
            )
        object.__setattr__(self, "name", clean_text(self.name))
        object.__setattr__(self, "tools", collect_tools(self.tools))

    @property
    def is_free(self) -> bool:
        """Whether it may take one more turn now."""
        return self.max_concurrent is None or _turns_under_way[self] < self.max_concurrent


DEFAULT_AGENT = Agent(description="Does what no other agent was named for.")
"""Who does a task that names nobody."""

Policy: TypeAlias = Literal["suited", "round_robin"] | Callable[[Sequence[Agent]], Agent]
"""How the next turn is given to one of several free agents."""

_turns_under_way: Counter[Agent] = Counter()
_waiting: list[asyncio.Future[None]] = []


def _forget_turns() -> None:
    _turns_under_way.clear()
    _waiting.clear()


if hasattr(os, "register_at_fork"):  # a child has none of the runs whose turns are counted here
    os.register_at_fork(after_in_child=_forget_turns)


def begin_turn(agent: Agent) -> None:
    """Counts a turn of `agent` as under way; on the loop's thread only."""
    _turns_under_way[agent] += 1


def end_turn(agent: Agent) -> None:
    """Counts it as over."""
    _turns_under_way[agent] -= 1
    if _turns_under_way[agent] <= 0:  # below 0: a child throws away a run of its parent
        del _turns_under_way[agent]
    for future in _waiting:
        if not future.done():
            future.set_result(None)
    _waiting.clear()


async def until_a_turn_ends() -> None:
    """Waits until some agent's turn is over, so that a busy one may be free."""
    future = asyncio.get_running_loop().create_future()
    _waiting.append(future)
    await future


def check_agents(agents: Iterable[Agent] | Agent | None) -> tuple[Agent, ...] | None:
    """Gives what a task was told about agents as a tuple; `None` stays `None`.

    Raises:
        UsageError: If the list is empty, or holds something else, or two agents share a name.
    """
    if agents is None:
        return None
    given = (agents,) if isinstance(agents, Agent) else tuple(agents)
    if not given:
        raise UsageError("agents=[] leaves nobody to do the task. Leave `agents` out for the default agent.")
    for agent in given:
        if not isinstance(agent, Agent):
            raise UsageError(f"agents must be Agent objects, not {agent!r}.")
    names = [agent.name for agent in given]
    if len(set(names)) < len(names):
        raise UsageError(f"Agents of one task need different names, not {names!r}.")
    return given

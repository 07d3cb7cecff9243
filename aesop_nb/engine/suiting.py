"""Which agent takes the next turn: one that is free, by the task's policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .. import scopes
from ..agents import until_a_turn_ends
from ..events import Usage
from ..models.transcript import ModelRequest, SystemMessage, ToolSpec
from ..tools import ArgumentsInvalid, read_arguments

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ..agents import Agent, Policy
    from ..models.transcript import Message, Reply


class Choice(NamedTuple):
    """The agent of the next turn, why it is this one, and what it cost to find out."""

    agent: Agent
    reason: str
    usage: Usage = Usage()


async def choose_agent(
    agents: Sequence[Agent],
    policy: Policy,
    *,
    latest: Agent | None,
    task: Message,
    ask: Callable[[Agent, ModelRequest], Awaitable[Reply]],
) -> Choice:
    """Gives the agent of the next turn; waits while all are busy.

    Args:
        agents: Those of the task.
        policy: How one of the free ones is chosen.
        latest: Whose turn was the last one.
        task: What there is to do.
        ask: Has the model of an agent reply to a request.
    """
    free = await until_free(agents)
    if len(agents) == 1:
        return Choice(free[0], "the only one")
    if callable(policy):
        return Choice(policy(free), getattr(policy, "__name__", "the policy"))
    if policy == "round_robin":
        return _next_in_turn(agents, free, latest)
    return await _most_suited(free, latest, task, ask)


async def until_free(agents: Sequence[Agent]) -> list[Agent]:
    """Waits until some of these agents may take a turn, and gives those."""
    while not (free := [agent for agent in agents if _is_free(agent)]):
        await until_a_turn_ends()
    return free


def _is_free(agent: Agent) -> bool:
    # An agent is not too busy for a task inside its own turn, which would wait for itself.
    return agent.is_free or agent in scopes.held_agents.get()


def _next_in_turn(agents: Sequence[Agent], free: Sequence[Agent], latest: Agent | None) -> Choice:
    after = agents.index(latest) + 1 if latest else 0
    order = [*agents[after:], *agents[:after]]
    return Choice(next(agent for agent in order if agent in free), "round robin")


async def _most_suited(
    free: Sequence[Agent],
    latest: Agent | None,
    task: Message,
    ask: Callable[[Agent, ModelRequest], Awaitable[Reply]],
) -> Choice:
    """The one that has begun; of others the one that the model picks."""
    if latest is not None and latest in free:
        return Choice(latest, "the one that has begun")
    if len(free) == 1:
        return Choice(free[0], "the only free one")
    picked, reply = await _picked_by_model(free, task, lambda request: ask(free[0], request))
    reason = "picked by the model as the best suited"
    if picked is None:
        picked, reason = free[0], "the model picked nobody; the first free one"
    while not _is_free(picked):  # another run was quicker while the model thought
        still_free = next((agent for agent in free if agent.is_free), None)
        if still_free is not None:
            return Choice(still_free, f"{picked.name} was picked and is busy now", reply.usage)
        await until_a_turn_ends()
    return Choice(picked, reason, reply.usage)


async def _picked_by_model(
    agents: Sequence[Agent], task: Message, send: Callable[[ModelRequest], Awaitable[Reply]]
) -> tuple[Agent | None, Reply]:
    """Gives the agent that the model picks by name and description, or `None` if it names none of them."""
    names = [agent.name for agent in agents]
    choose = ToolSpec(
        name="choose_agent",
        description="Say who should do the task.",
        parameters={
            "type": "object",
            "properties": {"name": {"type": "string", "enum": names}},
            "required": ["name"],
            "additionalProperties": False,
        },
        kind="finish",
    )
    who = "\n".join(f"- {agent.name}: {agent.description or 'no description'}" for agent in agents)
    system = SystemMessage(text=f"Pick the agent that suits the task best and call choose_agent.\n\n{who}")
    reply = await send(ModelRequest(messages=(system, task), tools=(choose,)))
    said = reply.text.strip()
    for call in reply.tool_calls:
        if call.tool == choose.name:
            try:
                said = str(read_arguments(call.arguments).get("name", "")).strip()
            except ArgumentsInvalid:
                said = ""
    return next((agent for agent in agents if agent.name == said), None), reply

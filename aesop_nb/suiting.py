"""Which of several free agents suits a task best: the model is asked once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .models.transcript import ModelRequest, SystemMessage, ToolSpec
from .tools import ArgumentsInvalid, read_arguments

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .agents import Agent
    from .models.transcript import Message, Reply


async def suited_agent(
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

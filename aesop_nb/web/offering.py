"""Which tasks get the web tools without naming them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..tools import Tool, collect_tools
from .pages import fetch_page
from .searching import can_search, search

if TYPE_CHECKING:
    from ..agents import Agent
    from ..config import TaskConfig


def web_tools(config: TaskConfig, tools: Iterable[Tool], agents: Iterable[Agent]) -> tuple[Tool, ...]:
    """Gives the web tools of a task with `allowed_domains`, but for names that its own tools have."""
    if not config.allowed_domains or config.max_pages == 0:
        return ()
    offered = [Tool.of(fetch_page)]
    if can_search(config):
        offered.append(Tool.of(search))
    taken = {tool.name for tool in collect_tools(tools, *(agent.tools for agent in agents))}
    return tuple(tool for tool in offered if tool.name not in taken)

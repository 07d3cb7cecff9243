"""Who says whether a tool that needs approval may be called: the task beforehand, or the person when it is due."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from .. import background
from ..errors import UsageError

if TYPE_CHECKING:
    from ..tools import Tool

Approve: TypeAlias = Callable[[str, dict[str, Any]], bool | None] | Iterable[str]
"""What is approved beforehand: the names of tools, or a function of a tool's name and its arguments.

The function gives `True` to approve the call, `False` to deny it, and `None` to have the person asked.
"""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was decided about one call.

    Attributes:
        source: Where from, as `ApprovalDecided` says it.
        reason: Why it was denied, if somebody said so.
        is_for_run: Whether later calls of the same tool are approved, too, until the run ends.
    """

    approved: bool
    source: str
    reason: str = ""
    is_for_run: bool = False

    @property
    def told(self) -> str:
        """What the model is told of a call that was denied."""
        why = _DENIALS.get(self.source, "the person denied this call")
        return f"{why}, so it was not made." + (f" The reason: {self.reason}" if self.reason else "")


_DENIALS = {
    "nobody": "this call needs a person's approval and nobody is there",
    "time_limit": "nobody approved this call in time",
    "given": "the task does not allow this call",
}


class Approvals:
    """What a task approves beforehand, and what a person has approved for the rest of one run."""

    def __init__(self, approve: Approve | None) -> None:
        self._function: Callable[[str, dict[str, Any]], bool | None] | None = None
        self._names: frozenset[str] = frozenset()
        self._for_run: list[Tool] = []
        if callable(approve):
            self._function = approve
        elif approve is not None:
            self._names = _names(approve)

    def fresh(self) -> Approvals:
        """The same for another run: what a person has approved is left out."""
        made = copy.copy(self)
        made._for_run = []
        return made

    async def find(self, tool: Tool, arguments: Mapping[str, Any]) -> Decision | None:
        """Gives what is decided already about a call, or `None` if the person is to be asked.

        Raises:
            UsageError: If the task's function gives something else than `True`, `False` or `None`.
        """
        if self._function is None:
            if tool.name in self._names:
                return Decision(approved=True, source="given")
            return self.find_for_run(tool)
        function, own = self._function, copy.deepcopy(dict(arguments))
        said = await background.call_in_thread(lambda: function(tool.name, own), "approve")
        if said is None:
            return self.find_for_run(tool)
        if not isinstance(said, bool):
            raise UsageError(
                f"approve= must give True, False or None for a call of {tool.name!r}, not {said!r}."
            )
        return Decision(approved=said, source="given")

    def find_for_run(self, tool: Tool) -> Decision | None:
        """Gives the yes of a person that holds for all calls of this very tool, if there is one."""
        is_known = any(known is tool for known in self._for_run)
        return Decision(approved=True, source="earlier") if is_known else None

    def approve_for_run(self, tool: Tool) -> None:
        """Approves all further calls of this tool in this run."""
        self._for_run.append(tool)


def _names(approve: Iterable[str]) -> frozenset[str]:
    names = [approve] if isinstance(approve, str) else approve
    found = list(names) if isinstance(names, Iterable) else [None]
    if not all(isinstance(name, str) for name in found):
        raise UsageError(f"approve must be the names of tools or a function, not {approve!r}.")
    return frozenset(map(str, found))

"""Using a result again: the key of a run, the stored run with the same one, and what has changed where none has.

The key is made of parts, each a sha256. The limits of time, turns, tokens and money are not among them: a run
that was completed did not reach them. What the person answers while a run goes on is not either, for nobody knows
it beforehand; it is part of the stored run, and who wants to be asked again does not reuse.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from . import background
from . import events as ev
from .errors import StoreError
from .fingerprints import Unstable, fingerprint, fingerprint_of_code
from .results.result_types import ResultMismatch
from .store import reuse_key
from .values import is_frame

if TYPE_CHECKING:
    from .agents import Agent
    from .engine.asking import GivenAnswers
    from .engine.attempts import Brief
    from .models.transcript import Model
    from .results.result_types import ResultType
    from .store import RunSummary, Store
    from .tools import Tool

FORMAT = "1"
"""Raised when what is stored of a result could no longer be taken for what is computed now."""

MAX_NAMED_INPUTS = 32
"""So many inputs have a part each, so that one can say which of them has changed."""

_LIMITS_OF_SOURCES = (
    "max_pages",
    "allowed_domains",
    "blocked_domains",
    "require_https",
    "allow_private_hosts",
    "user_agent",
)
_WORDS = {
    "task": "the task's name",
    "prompt": "the objective or the instructions",
    "inputs": "the inputs",
    "agents": "the agents",
    "model": "the model",
    "tools": "the tools",
    "result_type": "the result type",
    "validator": "the validator",
    "limits": "the limits of what it may read",
    "answers": "the answers given beforehand",
    "memory": "the scope of the memory",
    "format": "the format of this package",
}


@dataclass(frozen=True, kw_only=True)
class KeyParts:
    """What the result of a run depends on.

    Attributes:
        parts: Part → sha256; empty if there is no key.
        obstacle: Why there is none, as the end of a sentence.
    """

    parts: dict[str, str] = field(default_factory=dict)
    obstacle: str = ""

    @property
    def key(self) -> str | None:
        """The key under which a completed run is found again."""
        return reuse_key(self.parts)


@dataclass(frozen=True, kw_only=True)
class Found:
    """A result that can be used again, and the run that was paid for it."""

    run_id: str
    value: Any


class Reuse:
    """What one run may take over from earlier ones.

    Attributes:
        known: What the key is made of; has none while tasks before this one have no results.
    """

    def __init__(self, store: Store, brief: Brief, given: GivenAnswers, *, waits_for_inputs: bool) -> None:
        self.known = KeyParts()
        self._store = store
        self._given = given
        self._waits_for_inputs = waits_for_inputs
        if not waits_for_inputs and store.path is not None:
            self.known = key_parts(brief, given)

    def changed_words(self, before: Mapping[str, str]) -> str:
        """Says which words and inputs are others than in `before`; nothing where that is not known."""
        now = self.known.parts
        if not now or not before:
            return ""
        changed = [
            _words(part)
            for part in {**now, **before}
            if part.startswith(("prompt", "input")) and now.get(part) != before.get(part)
        ]
        return ", ".join(changed)

    async def late_parts(self, brief: Brief) -> dict[str, str]:
        """Gives the parts that could not be told before the tasks before this one had results."""
        if not self._waits_for_inputs or self._store.path is None:
            return {}
        self.known = await background.call_in_thread(lambda: key_parts(brief, self._given), "reuse")
        return self.known.parts

    async def find(self, brief: Brief, add: Callable[[ev.Event], None]) -> Found | None:
        """Gives the result of a completed run with the same key, if this run may use it and there is one."""
        key = self.known.key
        if not brief.reuse:
            return None
        if key is None:
            why = self.known.obstacle or self._store.problem or "no history is kept"
            add(ev.NoticeGiven(text=f"Nothing could be reused: {why}"))
            return None
        found, problem = await background.call_in_thread(
            lambda: _stored_result(self._store, key, brief), "reuse"
        )
        if problem:
            add(ev.NoticeGiven(text=problem))
        return found


def _stored_result(store: Store, key: str, brief: Brief) -> tuple[Found | None, str]:
    summary = store.reusable(key)
    if summary is None:
        return None, ""
    try:
        (completed,) = (event for event in store.events(summary.run_id) if isinstance(event, ev.RunCompleted))
        value = brief.result.restore(completed.result)
    except (ResultMismatch, StoreError, ValueError) as exc:
        return (
            None,
            f"The result of {summary.run_id} could not be made again, so the task is done anew: {exc}",
        )
    return Found(run_id=summary.reused_from or summary.run_id, value=value), ""


def is_restorable(kind: ResultType, value: Any, stored: Any) -> bool:
    """Whether `stored`, the JSON form of `value`, gives an equal value again."""
    try:
        again = kind.restore(stored)
        if type(again) is not type(value):
            return False
        return bool(again.equals(value) if is_frame(value) else again is value or again == value)
    except Exception:  # noqa: BLE001  # a validator had left the type, or a comparison of the user's raised
        return False


# The key ---------------------------------------------------------------------------------------------


def key_parts(brief: Brief, given: GivenAnswers) -> KeyParts:
    """Gives what the result of a run of `brief` depends on."""
    inputs: dict[str, str] = {}
    for name, value in brief.context.items():
        try:
            inputs[name] = fingerprint(value)
        except Unstable as exc:
            return KeyParts(obstacle=f"the input {name!r} is or holds {exc}, which has no stable form.")
        except Exception as exc:  # noqa: BLE001  # an object of the user's that cannot be read
            return KeyParts(obstacle=f"the input {name!r} cannot be read ({type(exc).__name__}).")
    try:
        return KeyParts(parts={**parts_of_task(brief, given), **_parts_of_inputs(inputs)})
    except Unstable as exc:
        return KeyParts(obstacle=f"it depends on {exc}, which has no stable form.")


def _parts_of_inputs(inputs: Mapping[str, str]) -> dict[str, str]:
    if len(inputs) > MAX_NAMED_INPUTS:
        return {"inputs": fingerprint(inputs)}
    return {f"input {name}": digest for name, digest in inputs.items()}


def parts_of_task(brief: Brief, given: GivenAnswers) -> dict[str, str]:
    """Gives the parts of a key that do not depend on the inputs.

    Raises:
        Unstable: If something in the task has no stable form.
    """
    agents, config, validator = brief.agents, brief.config, brief.result.validator
    finish = brief.result.finish_tools()[0]
    policy = fingerprint_of_code(brief.policy) if callable(brief.policy) else brief.policy
    return {
        "format": _remembered(FORMAT),
        "task": _remembered(brief.name),
        "prompt": _remembered((brief.objective, brief.instructions, brief.standing)),
        "agents": _remembered((policy if agents[1:] else "", tuple(_agent(agent) for agent in agents))),
        "model": _remembered(tuple(_model(brief.model_of(agent)) for agent in agents)),
        "tools": _remembered(tuple(tuple(map(_tool, tools)) for tools in (brief.tools, *_own_tools(agents)))),
        "result_type": _remembered((brief.result.label, json.dumps(finish.parameters, default=str))),
        "limits": _remembered(tuple(getattr(config, name) for name in _LIMITS_OF_SOURCES)),
        "answers": _remembered((brief.user_access, brief.default_answer, given.fingerprint())),
        "memory": _remembered(brief.memory_scope),
        **({"validator": fingerprint_of_code(validator)} if validator is not None else {}),
    }


_remembered = lru_cache(maxsize=1024)(fingerprint)
"""For what the runs of one task have in common; each place always gets the same types."""


def _agent(agent: Agent) -> tuple[Any, ...]:
    return (agent.name, agent.description, agent.instructions, agent.user_access)


def _own_tools(agents: tuple[Agent, ...]) -> list[Any]:
    return [agent.tools for agent in agents]


def _model(model: Model) -> tuple[Any, ...]:
    """What tells a model from others; a setting that has no stable form makes every use a new one."""
    settings = [getattr(model, name, None) for name in ("base_url", "parameters")]
    told = fingerprint(settings) if any(settings) else ""
    return (type(model).__qualname__, model.name, model.is_rehearsal, told)


_tools: WeakKeyDictionary[Tool, str] = WeakKeyDictionary()


def _tool(tool: Tool) -> str:
    """What the model sees of a tool; its code may change, as long as it means the same."""
    known = _tools.get(tool)
    if known is None:
        spec = tool.spec
        known = fingerprint([spec.name, spec.description, json.dumps(spec.parameters, default=str)])
        _tools[tool] = known
    return known


# What has changed ------------------------------------------------------------------------------------


def explain(name: str, known: KeyParts, before: RunSummary | None) -> str:
    """Says what has changed since `before`, the latest completed run of the task `name`."""
    if known.key is None:
        return f"{name!r} cannot be reused: {known.obstacle or 'what it depends on was not written down.'}"
    if before is None:
        return f"No completed run of {name!r} is kept that could be reused."
    if before.reuse_key == known.key:
        return f"Nothing has changed since {before.run_id}: with reuse=True its result is given at once."
    changed = [
        words + ("" if part in before.reuse_parts else " (new)") if part in known.parts else f"{words} (gone)"
        for part, words in ((part, _words(part)) for part in {**known.parts, **before.reuse_parts})
        if known.parts.get(part) != before.reuse_parts.get(part)
    ]
    return f"Changed since {before.run_id}, the latest completed run of {name!r}: {', '.join(changed)}."


def _words(part: str) -> str:
    return (
        f"the input {part.removeprefix('input ')!r}" if part.startswith("input ") else _WORDS.get(part, part)
    )

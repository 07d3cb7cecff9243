"""What a run would send and how far it could go, told without sending anything."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from . import prices
from .events import Usage
from .models.transcript import Reply
from .project_settings import use_project_settings
from .tasks import Task
from .texts import one_line, shorten, visible
from .upstream import replace_inside

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .config import TaskConfig
    from .engine.attempts import Brief
    from .models.transcript import Message, Model, ModelRequest, ToolSpec

_MAX_SHOWN_CHARACTERS = 60_000
_FRAME_TOKENS = 16  # what services add around a message or a tool, generously


@dataclass(frozen=True, kw_only=True, repr=False)
class DryRun:
    """The first request of a run that was not made, and the bounds of the whole; shown as a text.

    Attributes:
        task: The task's name.
        model: The name of the model that would be asked.
        agent: Who would take the first turn; of several agents the first, since nobody was asked to pick.
        messages: What would be sent, word for word; the first is the system message.
        tools: What would be offered with it, each with its schema; those that finish the run included.
        result_schema: The JSON schema of the result; `None` where there is none.
        limits: All limits of the run, those that were not given included.
        input_tokens_at_most: Of this first request. No tokenizer makes more tokens than a text has bytes, so
            this is a true bound, some four times what English text has.
        requests_at_most: Of the whole run: every turn, and each of them sent again as often as allowed.
        tokens_at_most: Of the whole run; `None` without `max_tokens`. The limit is looked at before each
            turn, so the last one may go past it.
        cost_usd_at_most: Of the whole run; `None` where that is not known.
        notes: What this says nothing about, in sentences.
    """

    task: str
    model: str
    agent: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    result_schema: Mapping[str, Any] | None
    limits: Mapping[str, Any]
    input_tokens_at_most: int
    requests_at_most: int
    tokens_at_most: int | None
    cost_usd_at_most: float | None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, task: Task[Any]) -> DryRun:
        """Gives the dry run of a task.

        Raises:
            UsageError: If the task cannot be run as it is.
            ModelNotConfigured: If it needs a model that is not there.
        """
        use_project_settings()
        brief = task._brief()
        agent = brief.agents[0]
        model = brief.model_of(agent)
        brief, waits_for = _without_tasks(brief)
        request, _ = brief.request(agent, brief.first_messages())
        config = brief.config
        turns = config.max_turns + (len(brief.agents) > 1)  # one more may be asked who suits
        return cls(
            task=brief.name,
            model=model.name,
            agent=agent.name,
            messages=request.messages,
            tools=request.tools,
            result_schema=_result_schema(request.tools),
            limits=config.model_dump(mode="json"),
            input_tokens_at_most=_most_tokens(request),
            requests_at_most=turns * (config.max_retries + 1),
            tokens_at_most=config.max_tokens,
            cost_usd_at_most=_most_cost(config, model),
            notes=(*_notes(brief, model), *waits_for),
        )

    def __repr__(self) -> str:
        parts = [
            f"dry run of {one_line(self.task)} · nothing was sent",
            *(f"── {_role(message)} ──\n{visible(_text(message))}" for message in self.messages),
            "── tools ──",
            *(_tool_text(tool) for tool in self.tools),
            "── result ──\n" + (_json(self.result_schema) if self.result_schema is not None else "none"),
            "── limits ──\n" + "\n".join(f"{name} = {value!r}" for name, value in self.limits.items()),
            "── bounds ──\n" + "\n".join(self._bounds()),
            *(["── notes ──\n" + "\n".join(self.notes)] if self.notes else []),
        ]
        return shorten("\n".join(parts), _MAX_SHOWN_CHARACTERS)

    def _bounds(self) -> list[str]:
        tokens, cost = self.tokens_at_most, self.cost_usd_at_most
        return [
            f"model      {visible(self.model)}, asked by {one_line(self.agent)}",
            f"request    at most {self.input_tokens_at_most:,} input tokens in this first one",
            f"requests   at most {self.requests_at_most:,}",
            "tokens     " + (f"about {tokens:,} at most" if tokens else "no bound; set one with max_tokens"),
            "cost       " + (f"at most USD {cost:.4f}" if cost is not None else "not known"),
        ]


def _without_tasks(brief: Brief) -> tuple[Brief, list[str]]:
    """The brief with results, or words for them, in the place of the tasks before it."""
    waits_for: list[str] = []

    def stand_in(task: Task[Any]) -> Any:
        if task.status == "completed":
            return task.result
        waits_for.append(f"{one_line(task.name)} runs first; its result takes the place of the words for it.")
        return f"<the result of {task.name}>"

    return replace(brief, context=replace_inside(brief.context, Task, stand_in)), waits_for


def _result_schema(tools: tuple[ToolSpec, ...]) -> Mapping[str, Any] | None:
    """The schema as `mark_successful` takes it."""
    (finish,) = (tool for tool in tools if tool.name == "mark_successful")
    found: Mapping[str, Any] | None = finish.parameters.get("properties", {}).get("result")
    return found


def _most_tokens(request: ModelRequest) -> int:
    texts = [_text(message) for message in request.messages]
    texts += [f"{tool.name}{tool.description}{json.dumps(dict(tool.parameters))}" for tool in request.tools]
    return sum(len(text.encode("utf-8", "replace")) + _FRAME_TOKENS for text in texts)


def _most_cost(config: TaskConfig, model: Model) -> float | None:
    """What the limits allow: a cost, or the tokens all at the dearer of the two prices."""
    if config.max_cost_usd is not None:
        return config.max_cost_usd
    if config.max_tokens is None:
        return None
    kinds = ({"input_tokens": config.max_tokens}, {"output_tokens": config.max_tokens})
    costs = [prices.priced(Reply(usage=Usage(requests=1, **kind)), model).cost_usd for kind in kinds]
    return None if None in costs else max(cost for cost in costs if cost is not None)


def _notes(brief: Brief, model: Model) -> list[str]:
    notes = []
    if model.is_rehearsal:
        notes.append("A rehearsal makes the replies: it costs nothing, and its results are placeholders.")
    if brief.config.max_tokens is not None or brief.config.max_cost_usd is not None:
        notes.append("Limits are looked at before each turn; the last turn may go past them.")
    if len(brief.agents) > 1:
        notes.append("Of several agents the first is shown.")
    return notes


def _text(message: Message) -> str:
    return message.text


def _role(message: Message) -> str:
    return type(message).__name__.removesuffix("Message").lower()


def _tool_text(tool: ToolSpec) -> str:
    return f"{visible(tool.name)}: {visible(tool.description)}\n{_json(tool.parameters)}"


def _json(schema: Mapping[str, Any]) -> str:
    return visible(json.dumps(dict(schema), indent=1, ensure_ascii=False))

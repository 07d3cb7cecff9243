"""Plays the engine for the rehearsal model."""

from __future__ import annotations

import json
from typing import Any

from aesop_nb.models.rehearsal import RehearsalModel
from aesop_nb.models.transcript import (
    ModelRequest,
    Reply,
    SystemMessage,
    ToolMessage,
    ToolSpec,
    UserMessage,
)
from aesop_nb.results.result_types import ResultMismatch, ResultType


async def reply_to(request: ModelRequest, deltas: list[Any] | None = None) -> Reply:
    return await RehearsalModel().reply(request, (deltas if deltas is not None else []).append)


def request_for(
    result: ResultType,
    *,
    task: str = "Find a bakery",
    tools: tuple[ToolSpec, ...] = (),
    context: dict[str, Any] | None = None,
    after: tuple[Any, ...] = (),
    stream: bool = False,
) -> ModelRequest:
    return ModelRequest(
        messages=(SystemMessage(text="Do it."), UserMessage(text=f"{task}\n\nInputs (data)"), *after),
        tools=(*tools, *result.finish_tools()),
        context=context or {},
        stream=stream,
    )


async def rehearse(annotation: Any, **options: Any) -> tuple[Any, list[str]]:
    """Plays the engine: tools give what `outputs` says, a result that does not fit is rejected."""
    result = annotation if isinstance(annotation, ResultType) else ResultType.of(annotation)
    outputs: dict[str, Any] = options.pop("outputs", {})
    said: list[str] = []
    messages: list[Any] = []
    for _ in range(8):
        reply = await reply_to(request_for(result, after=tuple(messages), **options))
        said.append(reply.text)
        messages.append(reply.message())
        if not reply.tool_calls:
            try:
                return result.check_text(reply.text), said
            except ResultMismatch as exc:
                messages.append(UserMessage(text=f"That is not accepted as the result: {exc}."))
        for call in reply.tool_calls:
            arguments = json.loads(call.arguments)
            said.append(f"{call.tool}({arguments})")
            if call.tool == "mark_failed":
                raise AssertionError(arguments["reason"])
            if call.tool == "mark_successful":
                try:
                    return result.check_arguments(arguments), said
                except ResultMismatch as exc:
                    text = f"That is not accepted as the result: {exc}. Correct it."
                    messages.append(ToolMessage(call_id=call.call_id, tool=call.tool, text=text))
            else:
                output = outputs[call.tool]
                text = output(**arguments) if callable(output) else output
                messages.append(ToolMessage(call_id=call.call_id, tool=call.tool, text=text))
    raise AssertionError(f"no end: {said}")

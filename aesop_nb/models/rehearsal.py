"""A stand-in for a language model: it goes through a task's motions by rule and says that it does.

It asks once, calls every tool once, and hands in a result whose parts come from what the tools gave, the
inputs and the answer where names and types fit, and are obvious placeholders elsewhere.
"""

from __future__ import annotations

import json
from asyncio import sleep
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from ..events import CallRequest, Usage
from ..texts import clean_text, humanize, one_line
from ..values import is_frame, json_value, label
from .fitting import Schema, resolved
from .placeholders import MAX_ROWS, Facts, Maker, Unfillable, plain_name
from .transcript import (
    AssistantMessage,
    Delta,
    ModelRequest,
    Reply,
    TextDelta,
    ToolCallDelta,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

_PIECES = 5
_PAUSE_SECONDS = 0.06
_MAX_CALLS = 32
_FAILED = "Error: "
_SCALARS = frozenset({"string", "integer", "number", "boolean"})


class RehearsalModel:
    """Answers by rule where no language model is connected; the same request gives the same reply."""

    name = "rehearsal"
    is_rehearsal = True

    async def reply(self, request: ModelRequest, on_delta: Callable[[Delta], None]) -> Reply:
        """Gives the next reply: a question, the calls of all tools, the result, or why there is none."""
        text, calls = _Rehearsal(request).next()
        made = Reply(
            text=clean_text(text),
            tool_calls=calls,
            finish_reason="tool_calls" if calls else "stop",
            usage=Usage(requests=1, cost_usd=0.0),
            model=self.name,
        )
        if request.stream:
            await _stream(made, on_delta)
        return made


async def _stream(reply: Reply, on_delta: Callable[[Delta], None]) -> None:
    """Reports the text in a few pieces, with pauses so short that a person can just follow."""
    words = reply.text.split(" ")
    size = -(-len(words) // _PIECES)
    pieces = [words[start : start + size] for start in range(0, len(words), size)]
    for index, piece in enumerate(pieces if reply.text else []):
        if index:
            await sleep(_PAUSE_SECONDS)
        on_delta(TextDelta((" " if index else "") + " ".join(piece)))
    for index, call in enumerate(reply.tool_calls):
        on_delta(ToolCallDelta(index, tool=call.tool, arguments=call.arguments))


@dataclass
class _Past:
    """What has happened so far, read from the messages.

    Attributes:
        outputs: What each tool gave, call by call; one that failed gave a text beginning with `Error:`.
        rejections: Why the results handed in so far were not accepted.
        calls: How many calls were made in all.
    """

    outputs: dict[str, list[str]] = field(default_factory=dict)
    rejections: list[str] = field(default_factory=list)
    calls: int = 0

    @classmethod
    def of(cls, request: ModelRequest, finish: str) -> _Past:
        past = cls()
        names: dict[str, str] = {}
        before: object = None
        for message in request.messages:
            if isinstance(message, AssistantMessage):
                past.calls += len(message.tool_calls)
                names = {call.call_id: call.tool for call in message.tool_calls}
            elif isinstance(message, ToolMessage) and message.call_id in names:
                is_result = names[message.call_id] == finish
                kept = past.rejections if is_result else past.outputs.setdefault(message.tool, [])
                kept.append(message.text)
            elif isinstance(message, UserMessage) and _is_text_only(before):
                past.rejections.append(message.text)
            before = message
        return past

    def good(self, tool: str) -> list[str]:
        return [text for text in self.outputs.get(tool, ()) if not text.startswith(_FAILED)]


def _is_text_only(message: object) -> bool:
    return isinstance(message, AssistantMessage) and not message.tool_calls


class _Rehearsal:
    """Decides one reply."""

    def __init__(self, request: ModelRequest) -> None:
        self._request = request
        finishing = [tool for tool in request.tools if tool.kind == "finish"]
        self._finish = next((tool for tool in finishing if tool.name != "mark_failed"), None)
        self._asking = next((tool for tool in request.tools if tool.kind == "user"), None)
        self._tools = [tool for tool in request.tools if tool.kind == "tool"]
        self._past = _Past.of(request, self._finish.name if self._finish else "")
        self._context = {name: _as_json(value) for name, value in request.context.items()}
        self._target, self._choices = self._asked_field()

    def next(self) -> tuple[str, tuple[CallRequest, ...]]:
        """Gives the text and the calls of the reply."""
        if self._asking and self._asking.name not in self._past.outputs:
            return "", self._calls([(self._asking, self._question(self._asking))])
        due = [tool for tool in self._tools if not tool.side_effects and self._is_due(tool)]
        if calls := self._calls(self._with_arguments(due[:_MAX_CALLS])):
            return f"Rehearsal: calling {', '.join(call.tool for call in calls)}.", calls
        if broken := [tool.name for tool in self._tools if self._failures(tool) > 1]:
            last = self._past.outputs[broken[0]][-1].removeprefix(_FAILED)
            return self._give_up(f"{broken[0]} was tried twice and failed: {one_line(last, 300)}")
        if len(self._past.rejections) > 1:
            last = one_line(self._past.rejections[-1], 400)
            return self._give_up(f"two made-up results were not accepted: {last}")
        return self._result()

    def _failures(self, tool: ToolSpec) -> int:
        return len(self._past.outputs.get(tool.name, ())) - len(self._past.good(tool.name))

    def _is_due(self, tool: ToolSpec) -> bool:
        """A tool is called once, and once more if it failed."""
        return not self._past.good(tool.name) and self._failures(tool) < 2

    # Calls -------------------------------------------------------------------------------------------

    def _calls(self, wanted: Sequence[tuple[ToolSpec, Mapping[str, Any]]]) -> tuple[CallRequest, ...]:
        return tuple(
            CallRequest(
                call_id=f"rehearsal_{self._past.calls + index + 1}",
                tool=tool.name,
                arguments=json.dumps(arguments, ensure_ascii=False),
            )
            for index, (tool, arguments) in enumerate(wanted)
        )

    def _with_arguments(self, tools: Sequence[ToolSpec]) -> list[tuple[ToolSpec, Mapping[str, Any]]]:
        """The tools with their arguments; one that nothing can be made up for is left out."""
        ready = []
        for tool in tools:
            with suppress(Unfillable):
                ready.append((tool, self._arguments(tool)))
        return ready

    def _arguments(self, tool: ToolSpec) -> Mapping[str, Any]:
        failures = [text for text in self._past.outputs.get(tool.name, ()) if text.startswith(_FAILED)]
        maker = Maker(
            root=tool.parameters,
            facts=self._facts(),
            attempt=len(failures),
            complaint=failures[-1] if failures else "",
            fills_optional=False,
        )
        if not failures:
            maker = self._with_free_texts(maker, tool.parameters)
        made = maker.make(tool.parameters, "arguments")
        return made if isinstance(made, dict) else {}

    def _with_free_texts(self, maker: Maker, parameters: Schema) -> Maker:
        """A text parameter that no input is named like takes the first text among the inputs."""
        fields: Mapping[str, Any] = parameters.get("properties", {})
        texts = [
            (name, value)
            for name, value in self._context.items()
            if isinstance(value, str) and plain_name(name) not in map(plain_name, fields)
        ]
        extra: dict[str, Any] = {}
        for name in parameters.get("required", ()):
            is_text = resolved(fields.get(name, {}), parameters).get("type") == "string"
            if texts and is_text and not any(True for _ in maker.facts.named(name)):
                extra[name] = texts.pop(0)[1]
        return replace(maker, facts=Facts((*maker.facts.layers, *Facts.of(extra).layers)))

    # The question ------------------------------------------------------------------------------------

    @property
    def _schema(self) -> Schema:
        """What the result must look like; empty if there is none."""
        if self._finish is None:
            return {}
        return resolved(self._finish.parameters.get("properties", {}).get("result", {}), self._root)

    @property
    def _root(self) -> Schema:
        return self._finish.parameters if self._finish else {}

    def _asked_field(self) -> tuple[str | None, list[str]]:
        """The first field of the result that no input tells, with its labels if it has some."""
        if "enum" in self._schema:
            return "result", _labels(self._schema)
        known = {name for layer in Facts.of(self._context, *_nested(self._context)).layers for name in layer}
        for name in self._schema.get("required", ()):
            part = resolved(self._schema.get("properties", {}).get(name, {}), self._root)
            if plain_name(name) not in known and (part.get("type") in _SCALARS or "enum" in part):
                return name, _labels(part)
        return None, []

    def _question(self, tool: ToolSpec) -> dict[str, Any]:
        objective = self._objective
        if self._target == "result" and self._choices:
            question = f"{objective}: which one should it be?"
        elif self._target and self._target != "result":
            question = f"{objective}: what should I use for {humanize(self._target).lower()}?"
        else:
            question = f"Before I start on “{objective}”: is there anything I should keep in mind?"
        arguments: dict[str, Any] = {"question": question}
        if self._choices and "choices" in tool.parameters.get("properties", {}):
            arguments["choices"] = self._choices
        maker = Maker(root=tool.parameters, facts=Facts.of(arguments), fills_optional=False)
        try:
            return {**maker.make(tool.parameters, "arguments"), **arguments}
        except Unfillable:
            return arguments

    @property
    def _objective(self) -> str:
        """The first paragraph of the task."""
        first = next((m.text for m in self._request.messages if isinstance(m, UserMessage)), "this task")
        return one_line(first.strip().split("\n\n")[0], 160).rstrip(".:!? ")

    @property
    def _answer(self) -> str | None:
        given = self._past.good(self._asking.name) if self._asking else []
        return given[-1] if given else None

    # The result --------------------------------------------------------------------------------------

    def _facts(self) -> Facts:
        """What may be used by name: the answer for what was asked, the tools' results, the inputs."""
        outputs = {tool: _parsed(texts[-1]) for tool in self._outputs() if (texts := self._past.good(tool))}
        answered = {} if self._answer is None or not self._target else {self._target: self._answer}
        short = {name.split("_", 1)[1]: value for name, value in outputs.items() if "_" in name}
        whole = {"result": [*reversed(outputs.values()), *([self._answer] if self._answer else [])]}
        facts = Facts.of(answered, *_nested(outputs), outputs, short, self._context, *_nested(self._context))
        said = {} if self._answer is None else {"answer": self._answer}
        return Facts((*facts.layers, *Facts.of(said).layers, whole))

    def _outputs(self) -> list[str]:
        return [name for name in self._past.outputs if not (self._asking and name == self._asking.name)]

    def _rows(self) -> list[Any]:
        """The first list among the inputs."""
        lists = (value for value in self._context.values() if isinstance(value, list) and value)
        return next(lists, [])[:MAX_ROWS]

    def _result(self) -> tuple[str, tuple[CallRequest, ...]]:
        if self._finish is None or _is_free_text(self._schema):
            return self._report(), ()
        rejections = self._past.rejections
        maker = Maker(
            root=self._root,
            facts=self._facts(),
            rows=self._rows(),
            attempt=len(rejections),
            complaint=rejections[-1] if rejections else "",
        )
        try:
            arguments = {
                name: maker.make(part, name) for name, part in self._root.get("properties", {}).items()
            }
        except Unfillable as exc:
            return self._give_up(str(exc))
        note = "handing in a made-up result" if arguments else "marking the task as done"
        return f"Rehearsal: {note}.", self._calls([(self._finish, arguments)])

    def _give_up(self, why: str) -> tuple[str, tuple[CallRequest, ...]]:
        reason = f"This is a rehearsal, no language model is connected, and {why}"
        failing = self._request.tool("mark_failed")
        return (reason, self._calls([(failing, {"reason": reason})])) if failing else (reason, ())

    def _report(self) -> str:
        """The result of a task that wants a text: what this is, and what it saw."""
        lines = [f"This is a rehearsal: no language model is connected. The task was: {self._objective}."]
        if self._context:
            inputs = ", ".join(f"{name} = {label(value, 80)}" for name, value in self._context.items())
            lines.append(f"Inputs: {one_line(inputs, 400)}.")
        lines += [f"{tool} gave: {one_line(self._past.good(tool)[-1], 160)}" for tool in self._outputs()]
        if self._answer is not None:
            lines.append(f"You answered: {one_line(self._answer, 160)}")
        if skipped := [tool.name for tool in self._tools if tool.side_effects]:
            lines.append(f"Not called, since they change something: {', '.join(skipped)}.")
        if again := len(self._past.rejections):
            lines.append(f"(Try {again + 1}; before: {one_line(self._past.rejections[-1], 200)})")
        return "\n".join(lines)


def _is_free_text(schema: Schema) -> bool:
    limits = {"format", "pattern", "minLength", "maxLength", "enum", "const", "contentMediaType"}
    return schema.get("type") == "string" and not limits & schema.keys()


def _labels(schema: Schema) -> list[str]:
    options = schema.get("enum", ())
    if options and all(isinstance(option, str) for option in options):
        return list(options)
    return ["yes", "no"] if schema.get("type") == "boolean" else []


def _as_json(value: Any) -> Any:
    """An input as JSON values; of a table or a list, the first rows."""
    if is_frame(value):
        head = value.head(MAX_ROWS)
        value = head.to_dict("records") if head.ndim == 2 else head.tolist()
    if isinstance(value, (list, tuple)):
        value = list(value[:MAX_ROWS])
    try:
        return json_value(value)
    except Exception:  # noqa: BLE001  # an object of the user's whose serializer raises
        return label(value)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _nested(known: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The fields of the objects among `known`, the last object first, and of the objects in them."""
    found: list[Mapping[str, Any]] = []
    for value in reversed(list(known.values())):
        if isinstance(value, dict) and value:
            found += [value, *(inner for inner in value.values() if isinstance(inner, dict) and inner)]
    return found

"""Tools: Python functions an agent may use, with the schema the model sees and the check of its arguments."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import itertools
import json
import math
import sys
import traceback
import warnings
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from types import FunctionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints, overload
from weakref import WeakKeyDictionary

import docstring_parser
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.json_schema import PydanticJsonSchemaWarning

from .errors import UsageError
from .models.transcript import ToolSpec
from .texts import clean_text, nearest, one_line

RESERVED_NAMES = frozenset({"mark_successful", "mark_failed", "talk_to_user"})
"""Names the engine gives to its own tools."""


MAX_DEPTH = 100
"""How deeply a model may nest the arguments of a call; no function of a person's wants more."""


MAX_ITEMS = 100_000
"""How many items are taken from an iterator that a tool gives; it may have no end."""


class ArgumentsInvalid(ValueError):
    """The model's arguments do not fit; the text tells it what to change."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tool:
    """A function an agent may use.

    Attributes:
        name: What the model calls it by.
        description: What the model reads about it.
        function: Called with keyword arguments; `async def` runs on the loop, `def` in a thread.
        side_effects: Whether it changes something outside; a rehearsal leaves it alone.
        timeout_seconds: Time for one call; `None` leaves it to `TaskConfig.tool_timeout_seconds`.
        requires_approval: Whether a person must say yes to each call, its arguments before their eyes; nobody
            there means no. A rehearsal leaves it alone.
        approval_timeout_seconds: How long the person has for that; then it is a no. `None` is no limit.
        takes_secrets: Whether it gets the value of a secret where the model writes its stand-in.
    """

    name: str
    description: str
    function: Callable[..., Any]
    side_effects: bool = False
    timeout_seconds: float | None = None
    requires_approval: bool = False
    approval_timeout_seconds: float | None = None
    takes_secrets: bool = True

    @classmethod
    def of(cls, function: Callable[..., Any] | Tool) -> Tool:
        """Gives the tool for a function, with its name, docstring and parameters.

        Raises:
            UsageError: If it cannot be called, or a parameter cannot be described to a model.
        """
        if isinstance(function, Tool):
            return function
        if not isinstance(function, FunctionType):
            return make_tool(function)
        known = _of_functions.get(function)
        if known is None:
            known = _of_functions[function] = make_tool(function)
        return known

    def __reduce__(self) -> tuple[Any, ...]:
        """Goes to another process by its name where that has it, else by its fields."""
        home, name = self.function.__module__, getattr(self.function, "__qualname__", "")
        if home != "__main__" and getattr(sys.modules.get(home), name, None) is self:
            return _of_module, (home, name)
        return Tool, tuple(getattr(self, field.name) for field in fields(self))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function itself."""
        return self.function(*args, **kwargs)

    def use(self, arguments: Mapping[str, Any]) -> Any:
        """Calls the function for a run: gives its value, or a coroutine of it if `is_async`.

        The items of a generator, or of another iterator that a `def` gives, come as a list.

        Raises:
            ValueError: If there are more than `MAX_ITEMS` of them.
        """
        if self._gives_async_items:
            return _all_async_items(self.function(**arguments))
        value = self.function(**arguments)
        return _all_items(value) if isinstance(value, Iterator) else value

    @functools.cached_property
    def is_async(self) -> bool:
        """Whether the function is `async def`."""
        return self._gives_async_items or inspect.iscoroutinefunction(_routine(self.function))

    @functools.cached_property
    def _gives_async_items(self) -> bool:
        return inspect.isasyncgenfunction(_routine(self.function))

    @functools.cached_property
    def _arguments(self) -> tuple[type[BaseModel], dict[str, Any]]:
        return _arguments_model(self.function, self.name)

    @functools.cached_property
    def spec(self) -> ToolSpec:
        """The tool as the model sees it."""
        return ToolSpec(
            name=self.name,
            description=self.description,
            parameters=self._arguments[1],
            side_effects=self.side_effects or self.requires_approval,
        )

    def check(self, arguments: Mapping[str, Any], masked: Callable[[str], str] = str) -> dict[str, Any]:
        """Gives the arguments as the function's annotations want them.

        Args:
            arguments: What the model gives.
            masked: What hides secrets in a text, before an error shows the text or a part of it.

        Raises:
            ArgumentsInvalid: If they do not fit; the function was not called.
        """
        try:
            checked = self._arguments[0].model_validate(dict(arguments))
        except ValidationError as exc:
            raise ArgumentsInvalid(explain_mismatch(exc, masked)) from exc
        except Exception as exc:  # a validator of the user's that raises anything but ValueError
            error = one_line(masked("".join(traceback.format_exception_only(exc))), 200)
            raise ArgumentsInvalid(f"the arguments could not be checked: {error}") from exc
        given = checked.model_fields_set
        return {
            str(info.alias): getattr(checked, field)
            for field, info in type(checked).model_fields.items()
            if field in given
        } | dict(checked.model_extra or {})


def _of_module(home: str, name: str) -> Tool:
    found: Tool = getattr(importlib.import_module(home), name)
    return found


_of_functions: WeakKeyDictionary[FunctionType, Tool] = WeakKeyDictionary()


def _all_items(items: Iterator[Any]) -> list[Any]:
    found = list(itertools.islice(items, MAX_ITEMS + 1))
    if len(found) > MAX_ITEMS:
        raise _too_many()
    return found


async def _all_async_items(items: AsyncGenerator[Any, None]) -> list[Any]:
    found: list[Any] = []
    async with contextlib.aclosing(items):
        async for item in items:
            if len(found) == MAX_ITEMS:
                raise _too_many()
            found.append(item)
    return found


def _too_many() -> ValueError:
    return ValueError(f"more than {MAX_ITEMS:,} items came, and a tool can give no more; take fewer")


def explain_mismatch(exc: ValidationError, masked: Callable[[str], str] = str) -> str:
    """Gives pydantic's errors as a short text: where, what is wrong, what came."""
    lines = []
    for error in exc.errors(include_url=False)[:8]:
        where = ".".join(str(part) for part in error["loc"]) or "value"
        came = one_line(masked(repr(error["input"])), 80)
        lines.append(f"{masked(where)}: {masked(error['msg'])} (got {came})")
    return "; ".join(lines)


def read_arguments(text: str) -> dict[str, Any]:
    """Gives the JSON object that a tool call's raw arguments are.

    Raises:
        ArgumentsInvalid: If they are anything else.
    """
    try:
        arguments = json.loads(text or "{}")
    except (ValueError, RecursionError) as exc:
        raise ArgumentsInvalid(f"the arguments are not valid JSON ({one_line(str(exc), 100)})") from exc
    if not isinstance(arguments, dict):
        raise ArgumentsInvalid(f"the arguments must be a JSON object, not {type(arguments).__name__}")
    return {clean_text(name): _cleaned(value, MAX_DEPTH) for name, value in arguments.items()}


def _cleaned(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, (list, dict)) and not depth:
        raise ArgumentsInvalid(f"the arguments are nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, list):
        return [_cleaned(item, depth - 1) for item in value]
    if isinstance(value, dict):
        return {clean_text(name): _cleaned(item, depth - 1) for name, item in value.items()}
    return value


def collect_tools(*groups: Iterable[Callable[..., Any] | Tool] | Callable[..., Any]) -> tuple[Tool, ...]:
    """Gives the tools of all groups, each name once; a function alone is a group of one.

    Raises:
        UsageError: If two different tools have one name, or something else than functions is given.
    """
    found: dict[str, Tool] = {}
    for function in (function for group in groups for function in _group(group)):
        made = Tool.of(function)
        before = found.setdefault(made.name, made)
        if before is not made and before.function != made.function:
            raise UsageError(
                f"Two different tools are named {made.name!r}. Give one another name: tool(f, name=…)."
            )
    return tuple(found.values())


def _group(group: Any) -> Iterable[Any]:
    if callable(group):
        return (group,)
    if isinstance(group, (str, bytes)) or not isinstance(group, Iterable):
        raise UsageError(f"tools must be functions, for example tools=[search], not {group!r}.")
    return group


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    function: Callable[..., Any],
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    side_effects: bool = False,
    timeout_seconds: float | None = None,
    requires_approval: bool = False,
    approval_timeout_seconds: float | None = None,
    takes_secrets: bool = True,
) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    side_effects: bool = False,
    timeout_seconds: float | None = None,
    requires_approval: bool = False,
    approval_timeout_seconds: float | None = None,
    takes_secrets: bool = True,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Makes a `Tool` of a function; plain functions are accepted as tools too.

        @tool(side_effects=True)
        def send_mail(to: str, text: str) -> str: ...

    Args:
        function: The function, when used bare or called directly.
        **options: `name`, `description`, `side_effects`, `timeout_seconds`, `requires_approval`,
            `approval_timeout_seconds` and `takes_secrets`, as on `Tool`.

    Raises:
        UsageError: If the function cannot be described to a model.
    """
    if function is None:
        return lambda decorated: make_tool(decorated, **options)
    return make_tool(function, **options)


def make_tool(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    description: str | None = None,
    side_effects: bool = False,
    timeout_seconds: float | None = None,
    requires_approval: bool = False,
    approval_timeout_seconds: float | None = None,
    takes_secrets: bool = True,
) -> Tool:
    """Gives the tool for `function`; what is not said comes from its name and docstring."""
    if not callable(function):
        raise UsageError(f"A tool must be a function, not {function!r}.")
    name = name or getattr(function, "__name__", None) or type(function).__name__
    if not name.isidentifier() or len(name) > 64 or not name.isascii():
        raise UsageError(f"{name!r} cannot name a tool. Give it one: tool(f, name='look_up').")
    if name in RESERVED_NAMES:
        raise UsageError(f"{name!r} is a tool of the engine's own. Give yours another name: tool(f, name=…).")
    for option, seconds in (
        ("timeout_seconds", timeout_seconds),
        ("approval_timeout_seconds", approval_timeout_seconds),
    ):
        if seconds is not None and not 0 < seconds < math.inf:
            raise UsageError(f"{option}={seconds!r} of tool {name!r} must be a number above 0.")
    if description is None:
        doc = docstring_parser.parse(inspect.getdoc(function) or "")
        description = "\n\n".join(part for part in (doc.short_description, doc.long_description) if part)
    made = Tool(
        name=name,
        description=clean_text(description),
        function=function,
        side_effects=side_effects,
        timeout_seconds=timeout_seconds,
        requires_approval=requires_approval,
        approval_timeout_seconds=approval_timeout_seconds,
        takes_secrets=takes_secrets,
    )
    _ = made.spec  # a parameter that cannot be described is an error now, not in the middle of a run
    return made


def _arguments_model(function: Callable[..., Any], name: str) -> tuple[type[BaseModel], dict[str, Any]]:
    """A model with one field per parameter, and its schema.

    Fields are numbered and the names are aliases, since `json` or `_x` cannot name a field.
    """
    try:
        signature = inspect.signature(function)
        hints = _hints(function)
    except (TypeError, ValueError, NameError) as exc:
        raise UsageError(f"The parameters of tool {name!r} cannot be read: {exc}.") from exc
    texts = {
        parameter.arg_name: parameter.description or ""
        for parameter in docstring_parser.parse(inspect.getdoc(function) or "").params
    }
    fields: dict[str, Any] = {}
    extra = "forbid"
    for index, parameter in enumerate(signature.parameters.values()):
        if parameter.kind is parameter.VAR_KEYWORD:
            extra = "allow"
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            raise UsageError(
                f"Tool {name!r} takes {parameter.name!r} by position only; a model calls by name."
            )
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            annotation = hints.get(parameter.name, Any)
            default = ... if parameter.default is parameter.empty else parameter.default
            text = _annotated_text(annotation) or texts.get(parameter.name) or None
            fields[f"p{index}"] = (annotation, Field(default, alias=parameter.name, description=text))
    config = ConfigDict(extra=extra, arbitrary_types_allowed=False, protected_namespaces=())  # type: ignore[typeddict-item]
    try:
        model = create_model(f"{name}_arguments", __config__=config, **fields)
        with warnings.catch_warnings():  # a default without a JSON form is simply not shown to the model
            warnings.simplefilter("ignore", PydanticJsonSchemaWarning)
            schema = model.model_json_schema(by_alias=True)
    except Exception as exc:
        reason = one_line(str(exc), 200)
        raise UsageError(f"Tool {name!r} cannot be described to a model: {reason}") from exc
    schema.pop("title", None)
    return model, schema


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    return get_type_hints(_routine(function), include_extras=True)


def _routine(function: Callable[..., Any]) -> Any:
    """The function or method behind partials and objects with `__call__`."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__


def _annotated_text(annotation: Any) -> str | None:
    """The `"…"` of `Annotated[int, "…"]`, which ControlFlow's users write as the parameter's description."""
    if get_origin(annotation) is not Annotated:
        return None
    return next((part for part in get_args(annotation)[1:] if isinstance(part, str)), None)


def unknown_tool_text(name: str, offered: Iterable[str]) -> str:
    """What the model is told when it calls a tool that is not there."""
    names = list(offered)
    return f"There is no tool {name!r}.{nearest(name, names)} The tools are: {', '.join(names)}."

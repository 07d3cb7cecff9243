"""`@task`: a function's signature, annotations and docstring become a `Task`; its body is never executed."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, get_type_hints, overload

from .config import TaskConfig, settings
from .errors import UsageError
from .project_settings import use_project_settings
from .results.result_types import ResultType
from .tasks import Task
from .texts import humanize, nearest

if TYPE_CHECKING:
    import pandas as pd

    from .agents import Agent, Policy
    from .engine.approving import Approve
    from .mapping.maps import Map
    from .models.transcript import Model
    from .remembering.memories import MemoryScope
    from .running import Run
    from .tools import Tool

P = ParamSpec("P")
R = TypeVar("R")

_UNSET: Any = object()


class TaskFunction(Generic[P, R]):
    """A function decorated with `@task`: calling it runs a task, or gives one.

    Attributes:
        name: The task's name.
        objective: What is to be reached.
        instructions: How; the docstring unless given.
        result_type: The return annotation unless given; `str` without one.
    """

    def __init__(self, function: Callable[P, R], options: Mapping[str, Any], *, lazy: bool | None) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._options = dict(options)
        self._lazy = lazy
        self._bound_to: Any = _UNSET
        self._signature = inspect.signature(function)
        self._is_async = inspect.iscoroutinefunction(function)
        self.name: str = options.get("name") or function.__name__
        self.objective: str = options.get("objective") or humanize(self.name)
        self.instructions: str = _first_given(options.get("instructions"), inspect.getdoc(function), "")
        self._result_type = ResultType.of(
            _result_annotation(function) if options["result_type"] is _UNSET else options["result_type"],
            options.get("result_validator"),
        )
        self.result_type = self._result_type.annotation

    @property
    def __signature__(self) -> inspect.Signature:
        if self._bound_to is _UNSET:
            return self._signature
        return self._signature.replace(parameters=list(self._signature.parameters.values())[1:])

    def __get__(self, instance: Any, owner: type | None = None) -> TaskFunction[..., R]:
        """Binds to an instance, like a method; `self` is not part of the context."""
        if instance is None:
            return self
        bound: TaskFunction[..., R] = object.__new__(type(self))
        bound.__dict__.update(self.__dict__)
        bound._bound_to = instance
        return bound

    def __repr__(self) -> str:
        return f"<task {self.name}{self._signature}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs the task and gives its result; an `async def` gives an awaitable of it.

        Two keyword arguments beside the function's own are taken, which type checkers do not know of:
        `lazy_=True` gives the `Task` instead and `lazy_=False` runs it, whatever the decorator or
        `settings.eager_mode` say; `answers_=[…]` answers its questions beforehand, see `Task.start`.

        Raises:
            TypeError: If the arguments do not fit the function; nothing was sent.
            TaskFailed: If the run failed.
        """
        lazy_: Any = kwargs.pop("lazy_", None)
        answers: Any = kwargs.pop("answers_", None)
        made = self.task(*args, **kwargs)
        use_project_settings()
        lazy = _first_given(lazy_, self._lazy, not settings.eager_mode)
        if lazy:
            return made  # type: ignore[return-value]
        if self._is_async:
            return made.run_async(answers=answers)  # type: ignore[return-value]
        return made.run(answers=answers)

    def task(self, *args: P.args, **kwargs: P.kwargs) -> Task[R]:
        """Gives the task for these arguments without running it.

        Raises:
            TypeError: If the arguments do not fit the function.
        """
        first = () if self._bound_to is _UNSET else (self._bound_to,)
        try:
            bound = self._signature.bind(*first, *args, **kwargs)
        except TypeError as exc:
            raise TypeError(f"{self.name}(): {exc}") from None
        bound.apply_defaults()
        options = {name: value for name, value in self._options.items() if name not in _NOT_THE_TASKS}
        return Task(
            self.objective,
            name=self.name,
            instructions=self.instructions,
            context={**self._context(bound), **(self._options.get("context") or {})},
            result_type=self._result_type,
            **options,
        )

    def start(self, *args: P.args, **kwargs: P.kwargs) -> Run[R]:
        """Starts a run for these arguments and gives it at once."""
        return self.task(*args, **kwargs).start()

    def mapping(self, data: Any, columns: Any = None, **options: Any) -> Map:
        """Gives the map of this task over all rows of `data`, which can be started, estimated and described.

        Args:
            data: A DataFrame, a Series, or an iterable of dicts or of values.
            columns: Which columns the parameters get, as `{"text": "body"}`; one column for the only parameter;
                left out, those of the same name.
            options: `into`, `concurrency`, `on_error`, `retries`, `limit`, `sample`, `max_cost_usd`, `max_tokens`,
                `reuse`, `dedupe`, `view` and `executor`; see `MapOptions`.

        Raises:
            UsageError: If an option is unusable or a column is not there; nothing was sent.
        """
        from .mapping.maps import Map

        return Map(self, data, columns, **options)

    def map(self, data: Any, columns: Any = None, **options: Any) -> pd.DataFrame:
        """Runs the task for every row of `data` and gives a table with the same index; see `mapping`.

        Rows that were completed before are taken from the store and cost nothing.

        Raises:
            TaskFailed: If it was stopped by what meets every row; `.run.frame` has what is done.
            RunInterrupted: If it was interrupted; `.run.frame` has what is done.
        """
        return self.mapping(data, columns, **options).run()

    async def map_async(self, data: Any, columns: Any = None, **options: Any) -> pd.DataFrame:
        """The same, awaited on any event loop."""
        return await self.mapping(data, columns, **options).run_async()

    def _context(self, bound: inspect.BoundArguments) -> dict[str, Any]:
        """The arguments by name; `**kwargs` are spread, and a method's `self` or `cls` is left out."""
        context: dict[str, Any] = {}
        for index, (name, value) in enumerate(bound.arguments.items()):
            kind = self._signature.parameters[name].kind
            if index == 0 and (self._bound_to is not _UNSET or name in ("self", "cls")):
                continue
            if kind is inspect.Parameter.VAR_KEYWORD:
                context.update(value)
            elif kind is not inspect.Parameter.VAR_POSITIONAL or value:
                context[name] = value
        return context


_OPTIONS = (*inspect.signature(Task).parameters, "lazy")
_NOT_THE_TASKS = frozenset(
    {"name", "objective", "instructions", "context", "result_type", "result_validator"}
)


@overload
def task(function: Callable[P, R], /) -> TaskFunction[P, R]: ...
@overload
def task(
    *,
    objective: str | None = None,
    instructions: str | None = None,
    name: str | None = None,
    context: Mapping[str, Any] | None = None,
    result_type: Any = ...,
    result_validator: Callable[[Any], Any] | None = None,
    agents: Iterable[Agent] | Agent | None = None,
    agent_policy: Policy = "suited",
    tools: Sequence[Callable[..., Any] | Tool] | Callable[..., Any] = (),
    user_access: bool | None = None,
    interactive: bool | None = None,
    default_answer: str | None = None,
    approve: Approve | None = None,
    model: Model | str | None = None,
    lazy: bool | None = None,
    config: TaskConfig | None = None,
    memory_scope: MemoryScope | None = None,
    reuse: bool | None = None,
) -> Callable[[Callable[P, R]], TaskFunction[P, R]]: ...
def task(
    function: Callable[P, R] | None = None,
    /,
    *,
    lazy: bool | None = None,
    result_type: Any = _UNSET,
    **options: Any,
) -> Any:
    """Makes a task of a function; used bare or with options.

        @task
        def classify(text: str) -> Literal["bug", "idea", "praise"]:
            '''Say what kind of feedback this is.'''

    The name becomes the objective, the docstring the instructions, the arguments the context and the return
    annotation the result type; without one it is `str`, and `-> None` means no result. The body is never
    executed.

    Args:
        function: The function, when used bare.
        lazy: Whether a call gives a `Task` instead of running it; `None` leaves it to `settings.eager_mode`.
        result_type: Another result type than the return annotation.
        **options: As for `Task`: `objective`, `instructions`, `name`, `context`, `result_validator`, `agents`,
            `agent_policy`, `tools`, `user_access`, `interactive`, `default_answer`, `approve`, `model`,
            `config`, `memory_scope`.

    Raises:
        UsageError: If an option or the return annotation does not fit; the message names it.
    """
    if unknown := [option for option in options if option not in _OPTIONS]:
        raise UsageError(f"@task has no option {unknown[0]!r}.{nearest(unknown[0], _OPTIONS)}")
    options["result_type"] = result_type

    def decorate(decorated: Callable[..., Any]) -> TaskFunction[..., Any]:
        if isinstance(decorated, (staticmethod, classmethod)):
            raise UsageError(f"Write @{type(decorated).__name__} above @task, not below it.")
        if not inspect.isroutine(decorated):
            raise UsageError(f"@task decorates a function, not {decorated!r}.")
        made = TaskFunction(decorated, options, lazy=lazy)
        _check_options(made, options)
        return made

    return decorate if function is None else decorate(function)


def _check_options(made: TaskFunction[Any, Any], options: Mapping[str, Any]) -> None:
    """Makes a task with the options once, so that a mistake shows at the definition and not at the call."""
    known = {name: value for name, value in options.items() if name not in _NOT_THE_TASKS}
    Task(made.objective, name=made.name, context=options.get("context"), **known)


def _result_annotation(function: Callable[..., Any]) -> Any:
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as exc:
        raise UsageError(f"{function.__name__}(): an annotation names something unknown: {exc}.") from exc
    annotation = hints.get("return", str)
    return None if annotation is type(None) else annotation


def _first_given(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)

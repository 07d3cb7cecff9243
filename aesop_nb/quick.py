"""`ask()`: a task made, run and answered in one call, the function that `%%aesop` is a cell of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import scopes
from .config import TaskConfig
from .dry_runs import DryRun
from .errors import UsageError
from .results.columns import parse_columns
from .tasks import Task
from .values import is_frame

if TYPE_CHECKING:
    from .agents import Agent
    from .engine.asking import AnswersGiven
    from .models.transcript import Model
    from .remembering.memories import MemoryScope
    from .running import Run
    from .tools import Tool

VIEWS = ("full", "compact", "off")
"""How much the live view can show."""

_STR: Any = str  # the default of `returns`, told by identity from a `str` that was given


def ask(
    objective: str,
    *,
    instructions: str = "",
    name: str | None = None,
    returns: Any = _STR,
    columns: str | Iterable[str] | None = None,
    inputs: Mapping[str, Any] | None = None,
    tools: Sequence[Callable[..., Any] | Tool] | Callable[..., Any] = (),
    agents: Iterable[Agent] | Agent | None = None,
    user: bool | None = None,
    answers: AnswersGiven | None = None,
    default: str | None = None,
    model: Model | str | None = None,
    max_seconds: float | None = None,
    max_tokens: int | None = None,
    max_turns: int | None = None,
    max_tool_calls: int | None = None,
    max_cost: float | None = None,
    max_pages: int | None = None,
    allow: Iterable[str] | None = None,
    retries: int | None = None,
    memory: MemoryScope | None = None,
    reuse: bool | None = None,
    view: str | None = None,
    lazy: bool = False,
    bg: bool = False,
    dry_run: bool = False,
) -> Any:
    """Runs a task and gives what a `%%aesop` cell with the same options gives.

        ask("How many letters has 'fox'?", returns=int)
        ask("List bakeries", columns="name, staff:int?", tools=[search], max_seconds=60)

    Args:
        objective: What is to be reached. `{{…}}` in it is text; Python has f-strings.
        instructions: How to go about it.
        name: A short name; made from the objective if left out.
        returns: The type of the result.
        columns: The columns of a table, as one text or one text per column; instead of `returns`.
        inputs: What the agent is given, by name.
        tools: Functions it may use.
        agents: Who may do it.
        user: Whether it may ask the person.
        answers: Answers to its questions, given beforehand; see `Task.start`.
        default: What is answered where nobody can be asked.
        model: Which model.
        max_seconds: Time for the whole run, in seconds; this and the others set the limit of `TaskConfig`.
        max_tokens: Input and output tokens together.
        max_turns: Replies of the model.
        max_tool_calls: Tool calls.
        max_cost: US dollars.
        max_pages: Web pages that may be fetched.
        allow: Hosts that web tools may read.
        retries: How often a failed request is sent again.
        memory: Where the agent remembers.
        reuse: Whether a completed run of the very same task gives its result.
        view: How much the live view shows, `"full"`, `"compact"` or `"off"`; `None` leaves it to the settings.
        lazy: Gives the `Task`, which was not run.
        bg: Gives the `Run` at once, which works on.
        dry_run: Gives a `DryRun`: what would be sent; nothing is.

    Returns:
        The result; a table by its type comes as a DataFrame.

    Raises:
        UsageError: If something does not fit; nothing was spent.
        TaskFailed: If the run failed; the class says why.
        TaskCancelled: If it was cancelled.
    """
    limits = {
        "max_duration_seconds": max_seconds,
        "max_tokens": max_tokens,
        "max_turns": max_turns,
        "max_tool_calls": max_tool_calls,
        "max_cost_usd": max_cost,
        "max_pages": max_pages,
        "allowed_domains": None if allow is None else tuple([allow] if isinstance(allow, str) else allow),
        "max_retries": retries,
    }
    made: Task[Any] = Task(
        objective,
        name=name,
        instructions=instructions,
        context=inputs,
        result_type=_result_type(returns, columns),
        agents=agents,
        tools=tools,  # type: ignore[arg-type]  # one function alone is taken, too
        user_access=user,
        default_answer=default,
        model=model,
        config=TaskConfig(**{limit: value for limit, value in limits.items() if value is not None}),
        memory_scope=memory,
        reuse=reuse,
    )
    return carry_out(made, answers=answers, view=view, lazy=lazy, bg=bg, dry_run=dry_run)


def _result_type(returns: Any, columns: str | Iterable[str] | None) -> Any:
    if columns is None:
        return returns
    if returns is not _STR:
        raise UsageError("returns= and columns= exclude one another.")
    row = parse_columns(columns if isinstance(columns, str) else ", ".join(columns))
    return list[row]  # type: ignore[valid-type]


def carry_out(
    task: Task[Any],
    *,
    answers: AnswersGiven | None = None,
    view: str | None = None,
    lazy: bool = False,
    bg: bool = False,
    dry_run: bool = False,
) -> Any:
    """Gives what is asked of a task: its result, or the `Task`, the `Run` or the `DryRun`; see `ask`.

    Raises:
        UsageError: If the options exclude one another or the task cannot be run.
    """
    asked = [name for name, is_so in (("lazy", lazy), ("bg", bg), ("dry_run", dry_run)) if is_so]
    if len(asked) > 1:
        raise UsageError(f"{asked[0]}= and {asked[1]}= exclude one another.")
    if view not in (None, *VIEWS):
        raise UsageError(f"view={view!r} is none of {', '.join(VIEWS)}.")
    if lazy:
        return task
    if dry_run:
        return DryRun.of(task)
    with scopes.viewed(view):
        run = task.start(answers=answers)
    return run if bg else result_of(run)


def result_of(run: Run[Any]) -> Any:
    """Waits for the run and gives its result; a table by its type comes as a DataFrame.

    Raises:
        TaskFailed: If the run failed.
        TaskCancelled: If it was cancelled.
    """
    value = run.wait()
    # `frames` imports pandas, which takes long, so only what can be a table asks it.
    if isinstance(value, list) or is_frame(value):
        from .frames import is_tabular

        if is_tabular(run.task.result_type):
            return run.frame
    return value

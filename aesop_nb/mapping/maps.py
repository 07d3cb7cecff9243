"""`Map`: one task over all rows of a table, described and not yet begun."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from .. import prices
from ..config import TaskConfig
from ..dry_runs import DryRun
from ..errors import UsageError
from ..project_settings import use_project_settings
from ..tasks import Task
from ..upstream import refuse_cycles
from .dispatching import check_executor
from .map_runs import MapRun
from .options import DEFAULT_CONCURRENCY, MapOptions
from .row_briefs import Columns, bind_function, bind_task
from .rows import rows_of
from .workers import refuse_long_rehearsal

if TYPE_CHECKING:
    import pandas as pd

    from ..decorators import TaskFunction
    from ..engine.attempts import Brief
    from .estimates import Estimate
    from .row_briefs import Binding
    from .rows import Rows


class Map:
    """One task over all rows of a table; made by `mapping()` of a `@task` function or of `df.aesop`.

        classify.mapping(df, columns={"text": "body"}).start()

    Running it changes nothing in it. Rows that were completed before, under the same task, model and inputs, are
    taken from the store.

    Attributes:
        subject: The `@task` function or the `Task`.
        data: What the rows are taken from.
        columns: Which columns the task gets: input → column, one column, or several; `None` leaves it to their
            names.
        options: How it is to be done.

    Raises:
        UsageError: If an option is unusable, or a column is not there.
    """

    def __init__(
        self,
        subject: TaskFunction[..., Any] | Task[Any],
        data: Any,
        columns: Columns = None,
        *,
        title: str | None = None,
        **options: Any,
    ) -> None:
        self.subject = subject
        self.data = data
        self.columns = columns
        self.options = MapOptions.of(options)
        check_executor(self.options.executor)
        self._title = title
        self._is_drawn = False
        if not isinstance(data, Iterator):
            self._bound()  # a column that is not there shows here

    def __repr__(self) -> str:
        return f"<Map of {self.subject.name!r}>"

    @property
    def column_name(self) -> str:
        """What the column of a result that is no record is called."""
        name = self._title or self.subject.name
        return self.options.into or (name if name.isidentifier() or self._title else "result")

    def start(self) -> MapRun:
        """Starts it and gives the run at once; `run.frame` has what is done at any time.

        Raises:
            UsageError: If it cannot be run as it is; nothing was spent.
            ModelNotConfigured: If there is no model, and more than 50 rows.
        """
        use_project_settings()
        rows, binding = self._bound()
        brief = self._brief(binding)
        is_rehearsal = any(brief.model_of(agent).is_rehearsal for agent in brief.agents)
        refuse_long_rehearsal(rows.length or 0, is_rehearsal=is_rehearsal)
        run = MapRun(self, brief, binding, rows)
        run.begin()
        return run

    def run(self) -> pd.DataFrame:
        """Runs it and gives the table; see `MapRun.frame` for its columns and `MapRun.wait` for its errors."""
        return self.start().wait()

    async def run_async(self) -> pd.DataFrame:
        """Runs it and gives the table, awaited on any event loop."""
        return await self.start()

    def estimate(self, sample_rows: int = 20) -> Estimate:
        """Says how many tokens and US dollars it may take, from some of the rows; nothing is sent."""
        from .estimates import estimated

        use_project_settings()
        rows, binding = self._bound()
        return estimated(rows, self._brief(binding), binding, sample_rows, reuse=self.options.reuse)

    def describe(self) -> DryRun:
        """Shows what would be sent for the first row; nothing is.

        Raises:
            UsageError: If there is no row.
        """
        rows, binding = self._bound()
        drawn = rows.draw(1)
        if not drawn:
            raise UsageError("There is no row to describe.")
        task = binding.task
        shown: Task[Any] = Task(
            binding.filled(task.objective, drawn[0]),
            name=task.name,
            instructions=binding.filled(task.instructions, drawn[0]),
            context=binding.context(drawn[0]),
            result_type=task._result_type,
            agents=task.agents,
            tools=task.tools,
            user_access=task.user_access,
            model=task.model,
            config=self.row_config(task.config),
            memory_scope=task.memory_scope,
        )
        return DryRun.of(shown)

    def concurrency(self, config: TaskConfig) -> int:
        """How many rows are under way at the same time."""
        wanted = self.options.concurrency or config.concurrent_requests or DEFAULT_CONCURRENCY
        if self.options.executor is not None and config.concurrent_requests is not None:
            return min(
                wanted, config.concurrent_requests
            )  # no worker knows how many requests the others have
        return wanted

    def row_config(self, config: TaskConfig) -> TaskConfig:
        """The limits of each row: no row may take more than all may."""
        options, given = self.options, config.model_dump(exclude_unset=True)
        if options.retries is not None:
            given["max_retries"] = options.retries
        for name, limit in (("max_tokens", options.max_tokens), ("max_cost_usd", options.max_cost_usd)):
            if limit is not None:
                given[name] = min(limit, given.get(name) or limit)
        return TaskConfig(**given)

    def _bound(self) -> tuple[Rows, Binding]:
        if isinstance(self.data, Iterator):
            if self._is_drawn:
                raise UsageError("The rows of an iterator can be drawn once; give a list to do so again.")
            self._is_drawn = True
        rows = rows_of(self.data, limit=self.options.limit, sample=self.options.sample)
        bind: Any = bind_task if isinstance(self.subject, Task) else bind_function
        binding = bind(self.subject, rows, self.columns)
        self.row_config(binding.task.config)
        rows.want(binding.columns)
        return rows, binding

    def _brief(self, binding: Binding) -> Brief:
        task = binding.task
        refuse_cycles(task)
        brief = task._brief()
        models = [brief.model_of(agent) for agent in brief.agents]
        prices.prepare(models, self.options.max_cost_usd)
        return replace(brief, reuse=False)  # rows have their own way to be found again


_OPTIONS = frozenset(field.name for field in fields(MapOptions))


def map_of(subject: Any, data: Any, columns: Columns = None, **options: Any) -> Map:
    """Gives the map of a `@task` function, a `Task` or a text, which may have `{{column}}` in it.

    Args:
        subject: What to do with each row.
        data: The rows.
        columns: See `Map`.
        options: Those of `MapOptions`; with a text also those of `Task`, and `returns` for its result type.

    Raises:
        UsageError: If something does not fit.
    """
    of_map = {name: value for name, value in options.items() if name in _OPTIONS}
    of_task = {name: value for name, value in options.items() if name not in _OPTIONS}
    if isinstance(subject, str):
        if "returns" in of_task:
            of_task["result_type"] = of_task.pop("returns")
        title = of_task.get("name") or "result"
        try:
            made: Task[Any] = Task(subject, **of_task)
        except TypeError as exc:
            raise UsageError(f"A map of a text: {exc}.") from None
        return Map(made, data, columns, title=title, **of_map)
    if not isinstance(subject, Task) and not hasattr(subject, "task"):
        raise UsageError(f"A map needs a @task function, a Task or a text, not {subject!r}.")
    return Map(subject, data, columns, **of_map, **of_task)

"""`df.aesop` and `series.aesop`: maps where the table is, loaded when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import TaskFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from ..decorators import TaskFunction
    from ..dry_runs import DryRun
    from ..tasks import Task
    from .estimates import Estimate
    from .maps import Map
    from .row_briefs import Columns


class _Faces:
    """What a DataFrame and a Series have in common."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def mapping(
        self, task: TaskFunction[..., Any] | Task[Any] | str, columns: Columns = None, **options: Any
    ) -> Map:
        r"""Gives the map of a task over all rows, which can be started, estimated and described.

        Args:
            task: A `@task` function, a `Task`, or a text. In the words of a `Task` or of a text, `{{column}}`
                stands for the cell, which is put in literally; `\{{` is text. Without any of these, a row is given
                as inputs, column by column.
            columns: Which columns the task gets as inputs: `{"input": "column"}`, one column, or a list of them.
            options: Those of `MapOptions`. With a text also those of `Task`, and `returns`, its result type.

        Raises:
            UsageError: If an option is unusable or a column is not there; nothing was sent.
        """
        from .maps import map_of

        return map_of(task, self._data, columns, **options)

    def map(
        self, task: TaskFunction[..., Any] | Task[Any] | str, columns: Columns = None, **options: Any
    ) -> pd.DataFrame:
        """Runs a task for every row and gives a table with the same index; see `mapping` and `MapRun.frame`."""
        return self.mapping(task, columns, **options).run()

    async def map_async(
        self, task: TaskFunction[..., Any] | Task[Any] | str, columns: Columns = None, **options: Any
    ) -> pd.DataFrame:
        """The same, awaited on any event loop."""
        return await self.mapping(task, columns, **options).run_async()

    def estimate(
        self,
        task: TaskFunction[..., Any] | Task[Any] | str,
        columns: Columns = None,
        *,
        sample_rows: int = 20,
        **options: Any,
    ) -> Estimate:
        """Says how many tokens and US dollars a map may take, from some rows; nothing is sent."""
        return self.mapping(task, columns, **options).estimate(sample_rows)

    def describe(
        self, task: TaskFunction[..., Any] | Task[Any] | str, columns: Columns = None, **options: Any
    ) -> DryRun:
        """Shows what a map would send for the first row; nothing is sent."""
        return self.mapping(task, columns, **options).describe()


class FrameAccessor(_Faces):
    """Maps over the rows of a DataFrame, as `df.aesop`."""

    def classify(
        self, column: Any, labels: Any, *, instructions: str = "", into: str = "label", **options: Any
    ) -> pd.DataFrame:
        """Says of each cell of a column which of the labels fits.

        Args:
            column: The column to read.
            labels: A list of labels, an `Enum` or a `Literal`; `[[…]]` lets several fit.
            instructions: How to decide.
            into: What the column of labels is called.
            options: Those of `mapping`.
        """
        return self.map(
            _CLASSIFY,
            [column],
            returns=labels,
            instructions=instructions,
            into=into,
            **_named("classify", options),
        )

    def extract(self, fields: Any, column: Any, /, *, instructions: str = "", **options: Any) -> pd.DataFrame:
        """Reads the fields of a model out of each cell of a column; a column per field comes back.

        Args:
            fields: A pydantic model, dataclass or `TypedDict`.
            column: The column to read.
            instructions: How to read it.
            options: Those of `mapping`.
        """
        return self.map(
            _EXTRACT, [column], returns=fields, instructions=instructions, **_named("extract", options)
        )

    def filter(self, condition: str, columns: Columns = None, **options: Any) -> pd.DataFrame:
        """Gives the rows for which a condition holds, as they are in the DataFrame.

        Args:
            condition: In words, with `{{column}}` for cells; without any the whole row is given.
            columns: Those that the model gets as inputs; see `mapping`.
            options: Those of `mapping`, but for `into`, `limit`, `sample` and `on_error`.

        Raises:
            TaskFailed: If it could not be told for a row. The others are kept: doing it again asks only for the
                rest.
        """
        for name in ("into", "limit", "sample", "on_error", "returns"):
            if name in options:
                raise UsageError(f"filter() takes no {name}=.")
        run = self.mapping(
            f"{_FILTER}\n\n{condition}", columns, returns=bool, into="holds", **_named("filter", options)
        ).start()
        told = run.wait()
        left = int((told["_status"] != "completed").sum())
        if left:
            raise TaskFailed(
                f"For {left:,} of {len(told):,} rows it could not be told whether the condition holds; "
                f".run.frame says why. Doing it again asks only for these.",
                run=run,  # type: ignore[arg-type]
            )
        kept: pd.DataFrame = self._data[told["holds"].to_numpy(dtype=bool)]
        return kept


class SeriesAccessor(_Faces):
    """Maps over the values of a Series, as `series.aesop`."""

    def classify(
        self, labels: Sequence[Any] | Any, *, instructions: str = "", into: str = "label", **options: Any
    ) -> pd.DataFrame:
        """Says of each value which of the labels fits; see `FrameAccessor.classify`."""
        return self.map(
            _CLASSIFY,
            None,
            returns=labels,
            instructions=instructions,
            into=into,
            **_named("classify", options),
        )

    def extract(self, fields: Any, /, *, instructions: str = "", **options: Any) -> pd.DataFrame:
        """Reads the fields of a model out of each value; see `FrameAccessor.extract`."""
        return self.map(
            _EXTRACT, None, returns=fields, instructions=instructions, **_named("extract", options)
        )


def _named(name: str, options: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, **options}


_CLASSIFY = "Say which label fits the input."
_EXTRACT = "Read the fields of the result out of the input; leave out what is not there."
_FILTER = "Say whether this holds:"

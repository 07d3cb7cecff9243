"""The runs of a session with those that their tools have started, as one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from ..running import Run


def run_tree_df(runs: Sequence[Run[Any]]) -> pd.DataFrame:
    """One row per run; those inside another one follow it.

    Args:
        runs: In the order they were started.

    Returns:
        Columns: `tree` str (the task's name, indented by how deep the run lies), `depth` Int64 (0 for a run
        inside no other), `parent_run_id` str or missing, then those of `aesop_nb.frames.runs_df`.
        Index: 0..n-1.
    """
    from ..dtypes import TEXT, series  # these two load pandas
    from ..frames import runs_df

    inner = {child for run in runs for child in run.children}
    rows = [row for run in runs if run not in inner for row in _branch(run, 0)]
    frame = runs_df([run.log for run, _ in rows])
    depths = [depth for _, depth in rows]
    indented = [f"{'   ' * (depth - 1)}└─ {run.log.task}" if depth else run.log.task for run, depth in rows]
    parents = [run.log.created.parent_run_id if run.log.created else None for run, _ in rows]
    frame.insert(0, "tree", series(indented, TEXT).array)
    frame.insert(1, "depth", series(depths, "Int64").array)
    frame.insert(2, "parent_run_id", series(parents, TEXT).array)
    return frame


def _branch(run: Run[Any], depth: int) -> Iterator[tuple[Run[Any], int]]:
    yield run, depth
    for child in list(run.children):
        yield from _branch(child, depth + 1)

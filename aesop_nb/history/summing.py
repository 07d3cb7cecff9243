"""Tables about tables of runs: what they cost, summed up."""

from __future__ import annotations

import pandas as pd


def costs_df(runs: pd.DataFrame, by: str) -> pd.DataFrame:
    """What runs cost, summed up.

    Args:
        runs: As `runs_df` gives them.
        by: One row per `run`, `task`, `model` or `day` (on which they began, in UTC), in the
            order in which they first come.

    Returns:
        Columns: `run_id`, `task` or `model` str, or `day` datetime64[us, UTC]; `runs`, `requests`, `input_tokens`,
        `output_tokens` Int64; `cost_usd` float64 (the sum of what is known, missing where nothing is);
        `unpriced_runs` Int64 (those that sent requests at an unknown price, which the sum leaves out).
        Index: 0..n-1.
    """
    keys = {"run": "run_id", "day": "day"}.get(by, by)
    counted = runs.assign(
        day=runs["started_at"].dt.floor("D"),
        runs=pd.array([1] * len(runs), dtype="Int64"),
        unpriced_runs=(runs["cost_usd"].isna() & (runs["requests"] > 0)).astype("Int64"),
    )
    sums = counted.groupby(keys, sort=False, dropna=False)
    numbers = ["runs", "requests", "input_tokens", "output_tokens", "cost_usd", "unpriced_runs"]
    frame = sums[numbers].sum(min_count=0)
    frame["cost_usd"] = sums["cost_usd"].sum(min_count=1)
    return frame.reset_index()

"""The web pages that runs have read, as a DataFrame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from .dtypes import TEXT, TIME, series

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .runlogs import RunLog


def pages_df(runs: Iterable[RunLog]) -> pd.DataFrame:
    """One row per request for a web page or a search, in the order they ended; redirects are rows of their own.

    Args:
        runs: Runs to read; those that their tools started have rows of their own.

    Returns:
        Columns: `run_id` str, `task` str, `url` str, `status` Int64 (missing if the server did not answer),
        `bytes` Int64, `seconds` float64, `title` str (missing if there is none), `error` str (missing if the
        page was read), `at` datetime64[us, UTC]. Index: 0..n-1.
    """
    kept = [(run, page) for run in runs for page in run.pages]
    return pd.DataFrame(
        {
            "run_id": series([run.run_id for run, _ in kept], TEXT),
            "task": series([run.task for run, _ in kept], TEXT),
            "url": series([page.url for _, page in kept], TEXT),
            "status": series([page.status for _, page in kept], "Int64"),
            "bytes": series([page.bytes for _, page in kept], "Int64"),
            "seconds": series([page.seconds for _, page in kept], "float64"),
            "title": series([page.title or None for _, page in kept], TEXT),
            "error": series([page.error or None for _, page in kept], TEXT),
            "at": series([page.at for _, page in kept], TIME),
        }
    )

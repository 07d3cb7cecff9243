"""How a map is to be done: the options that all its faces take."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

from ..errors import UsageError
from ..texts import nearest

OnError: TypeAlias = Literal["keep", "raise", "null"]

DEFAULT_CONCURRENCY = 16
"""Rows under way at the same time where nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class MapOptions:
    """How a map is to be done.

    Attributes:
        into: What the column of a result that is no record is called, or what stands before a record's fields;
            `None` is the task's name, and nothing before fields.
        concurrency: Rows under way at the same time; `None` is `concurrent_requests` of the task's config, or 16.
        on_error: `"keep"` leaves missing values in the rows that failed and says why in `_error`; `"null"` does
            the same and leaves out the columns that begin with `_`; `"raise"` stops at the first failure.
        retries: How often a failed request of a row is sent again; `None` leaves it to the task's config.
        limit: Only the first so many rows.
        sample: Only so many rows, picked at random but always the same.
        max_cost_usd: US dollars for all rows together; what is reached first ends the map.
        max_tokens: Tokens for all rows together.
        reuse: Whether rows that were completed before, by any map, are taken from the store.
        dedupe: Whether equal rows are asked once.
        view: How much is shown; `None` leaves it to the settings.
        executor: What does the rows: a `concurrent.futures.Executor` or a `dask.distributed.Client`; `None` is
            this process. The workers take keys from their own environment.
    """

    into: str | None = None
    concurrency: int | None = None
    on_error: OnError = "keep"
    retries: int | None = None
    limit: int | None = None
    sample: int | None = None
    max_cost_usd: float | None = None
    max_tokens: int | None = None
    reuse: bool = True
    dedupe: bool = True
    view: str | None = None
    executor: Any = None

    @classmethod
    def of(cls, given: dict[str, Any]) -> MapOptions:
        """Gives the options by name.

        Raises:
            UsageError: If one is unknown or unusable.
        """
        known = [field.name for field in fields(cls)]
        if unknown := [name for name in given if name not in known]:
            raise UsageError(f"A map has no option {unknown[0]!r}.{nearest(unknown[0], known)}")
        made = cls(**given)
        made._check()
        return made

    def _check(self) -> None:
        for name in ("concurrency", "limit", "sample", "max_tokens"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise UsageError(f"{name}={value!r} must be a whole number of 1 or more.")
        if self.on_error not in ("keep", "raise", "null"):
            raise UsageError(f"on_error={self.on_error!r} is none of 'keep', 'raise', 'null'.")
        if self.view not in (None, "full", "compact", "off"):
            raise UsageError(f"view={self.view!r} is none of 'full', 'compact', 'off'.")
        if self.into is not None and (not isinstance(self.into, str) or not self.into.strip()):
            raise UsageError(f"into={self.into!r} must be the name of a column.")
        cost = self.max_cost_usd
        if cost is not None and not (isinstance(cost, (int, float)) and 0 < cost < float("inf")):
            raise UsageError(f"max_cost_usd={cost!r} must be an amount above 0.")

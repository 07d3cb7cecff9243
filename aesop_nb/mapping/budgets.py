"""What all rows of a map together may cost; looked at before each row, with those under way in mind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..events import Usage

Admission = Literal["yes", "wait", "no"]

_FIRST_ROWS = 4  # under way at once while nothing is known about what a row costs


class Budget:
    """Counts what is spent against a limit of tokens and of US dollars.

    Attributes:
        reached: The limit that ended it, for example `max_tokens=1,000`, or `None`.
        limit: The name of that limit.
    """

    def __init__(self, max_tokens: int | None, max_cost_usd: float | None) -> None:
        self.reached: str | None = None
        self.limit = ""
        self._max_tokens = max_tokens
        self._max_cost_usd = max_cost_usd
        self._tokens = 0
        self._cost_usd = 0.0
        self._rows = 0

    @property
    def is_unlimited(self) -> bool:
        """Whether there is nothing to keep."""
        return self._max_tokens is None and self._max_cost_usd is None

    @property
    def needs_tokens(self) -> bool:
        """Whether the limit can only be kept with a service that reports tokens."""
        return self._max_tokens is not None

    def spend(self, usage: Usage) -> None:
        """Counts a row that has ended."""
        self._tokens += usage.total_tokens
        self._cost_usd += usage.cost_usd or 0.0
        self._rows += 1

    def admits(self, under_way: int) -> Admission:
        """Says whether one more row may begin beside those under way, or must wait for one of them to end."""
        if self.is_unlimited:
            return "yes"
        if not self._rows:
            return "yes" if under_way < _FIRST_ROWS else "wait"
        for name, limit, spent in (
            ("max_tokens", self._max_tokens, float(self._tokens)),
            ("max_cost_usd", self._max_cost_usd, self._cost_usd),
        ):
            if limit is None or spent + (under_way + 1) * spent / self._rows <= limit:
                continue
            if under_way:
                return "wait"
            self.limit = name
            self.reached = f"{name}={limit:,}" if isinstance(limit, int) else f"{name}={limit:g}"
            return "no"
        return "yes"

"""The switch that forbids requests to real models; tests turn it off for the whole process."""

from __future__ import annotations

from ..errors import UsageError

_forbidden_because: str | None = None


def forbid(reason: str | None) -> str | None:
    """Forbids requests for `reason`, or allows them with `None`; gives what held before."""
    global _forbidden_because
    before, _forbidden_because = _forbidden_because, reason
    return before


def check_allowed(model_name: str) -> None:
    """Raises when requests are forbidden.

    Raises:
        UsageError: With the reason.
    """
    if _forbidden_because is not None:
        raise UsageError(f"A request to {model_name!r} is forbidden: {_forbidden_because}.")

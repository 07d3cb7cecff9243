"""What a run says, computed from its events: one under way, a stored one and a replay say it alike."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from .errors import RunStateError
from .runlogs import RunLog, Status

if TYPE_CHECKING:
    import pandas as pd

    from . import events as ev

T = TypeVar("T", default=Any)


class Recording(Generic[T]):
    """A run to be read.

    Attributes:
        id: Names the run, for example `r7`.
        log: Where it stands: the fold of its events.
    """

    def __init__(self, run_id: str) -> None:
        self.id = run_id
        self.log = RunLog()
        self._events: list[ev.Event] = []
        self._result: T | None = None
        self._error: BaseException | None = None

    @property
    def status(self) -> Status:
        """One of the five states."""
        return self.log.status

    @property
    def events(self) -> tuple[ev.Event, ...]:
        """What has happened so far."""
        return tuple(self._events)

    @property
    def current_action(self) -> str:
        """What it is doing, in a few words, for example `waiting for you`; empty once it has ended."""
        return self.log.current_action

    @property
    def progress(self) -> float | None:
        """From 0 to 1; `None` while that cannot be known."""
        return {Status.PENDING: 0.0, Status.COMPLETED: 1.0}.get(self.status)

    @property
    def result(self) -> T | None:
        """The result; `None` until the run is completed."""
        return self._result

    @property
    def error(self) -> BaseException | None:
        """Why there is no result; `None` unless the run failed or was cancelled."""
        return self._error

    @property
    def usage(self) -> ev.Usage:
        """What was sent and spent, failed requests included."""
        return self.log.usage

    @property
    def duration_seconds(self) -> float:
        """Time from the start to the end, or until now."""
        return self.log.duration_seconds(datetime.now(UTC))

    @property
    def question(self) -> str | None:
        """What waits for the person, a question or the call to be approved, or `None`."""
        return waiting.words if (waiting := self.log.waiting_for) else None

    @property
    def is_rehearsal(self) -> bool:
        """Whether a rehearsal, and no language model, makes the replies."""
        return bool(self.log.created and self.log.created.is_rehearsal)

    @property
    def reused_from(self) -> str | None:
        """The run whose result was taken over instead of asking a model, or `None`."""
        return self.log.reused_from

    @property
    def frame(self) -> pd.DataFrame:
        """The result as a DataFrame, whatever its type.

        Raises:
            RunStateError: If there is no result.
        """
        if self.status is not Status.COMPLETED:
            raise RunStateError(f"Run {self.id!r} is {self.status}; only a completed run has a frame.")
        from .frames import result_frame

        return result_frame(self._result, self._annotation(), **self._origin())

    def events_df(self) -> pd.DataFrame:
        """One row per event; see `aesop_nb.frames.events_df`."""
        from .frames import events_df

        return events_df(self.events)

    def messages_df(self) -> pd.DataFrame:
        """One row per message of the conversation; see `aesop_nb.frames.messages_df`."""
        from .frames import messages_df

        return messages_df(self.events)

    def tool_calls_df(self) -> pd.DataFrame:
        """One row per tool call; see `aesop_nb.frames.tool_calls_df`."""
        from .frames import tool_calls_df

        return tool_calls_df([self.log])

    def pages_df(self) -> pd.DataFrame:
        """One row per web page that was asked for, the sources of the result; see `aesop_nb.page_frames`."""
        from .page_frames import pages_df

        return pages_df([self.log])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.log.task!r}: {self.status}>"

    def _annotation(self) -> Any:
        """The type of the result, where it is known as more than a text."""
        return Any

    def _origin(self) -> dict[str, Any]:
        """Where a result comes from, as `df.attrs["aesop"]` says it."""
        created = self.log.created
        return {
            "run_id": self.id,
            "task": self.log.task,
            "model": created.model if created else "",
            "is_rehearsal": self.is_rehearsal,
            "reused_from": self.reused_from,
        }

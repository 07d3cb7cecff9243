"""What we raise.

AesopError
├── UsageError                 the call is wrong; nothing was sent or spent
│   └── RunStateError          an answer, a cancel or an event that the run's state does not allow
├── ModelNotConfigured         a model is required and none is named
├── TaskFailed                 a run ended as failed; carries `.run`
│   ├── LimitExceeded          a limit of its TaskConfig was reached; `.limit` names it
│   ├── ResultInvalid          no result of the right type after the allowed corrections
│   ├── UpstreamFailed         a task it depends on did not complete
│   ├── NeedsHuman             it asked a person and nobody is there; `.question`
│   ├── ToolFailed             a tool raised, and `settings.tools_raise_on_error` is set
│   └── ModelError             the model's service; `.retryable`, `.status_code`, `.request_id`
│       ├── ModelUnavailable   no connection, time-out, 408, 409, 429, 5xx
│       ├── ModelRefused       401 or 403, no quota, or the request was rejected (other 4xx)
│       └── ModelReplyInvalid  an answer that is not one: junk, cut short, filtered
├── TaskCancelled              a run ended as cancelled; carries `.run`
├── StoreError                 the store on disk
└── web.WebError               a page could not be read; told to the model
    └── WebRefused             the task's limits, or the site's own rules, do not allow it
        └── PageLimitReached   all pages of `max_pages` were fetched

KeyboardInterrupt
└── RunInterrupted             the person pressed ■ or Ctrl-C; the run was cancelled; carries `.run`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .texts import shorten, visible

if TYPE_CHECKING:
    from .running import Run

_MAX_SHOWN_CHARACTERS = 4_000


class _Short:
    """Shows in a notebook as one line instead of a traceback, still fails the cell."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {visible(shorten(str(self), _MAX_SHOWN_CHARACTERS))}"]


class AesopError(_Short, Exception):
    """Everything this package raises on purpose."""


class UsageError(AesopError):
    """The call is wrong; nothing was sent to a model and nothing was spent."""


class RunStateError(UsageError):
    """The run's state does not allow what was asked of it."""


class ModelNotConfigured(AesopError):
    """A model is required and none is named."""


class TaskFailed(AesopError):
    """A run ended as failed.

    Attributes:
        run: The run, with all its events up to the failure; `None` only before it reaches a caller.
    """

    def __init__(self, message: str, *, run: Run[Any] | None = None) -> None:
        super().__init__(message)
        self.run = run


class LimitExceeded(TaskFailed):
    """A limit of the task's `TaskConfig` was reached.

    Attributes:
        limit: The field of `TaskConfig`, for example `"max_turns"`.
    """

    def __init__(self, message: str, *, limit: str, run: Run[Any] | None = None) -> None:
        super().__init__(message, run=run)
        self.limit = limit


class ResultInvalid(TaskFailed):
    """The model handed in no result of the right type within the allowed corrections.

    Attributes:
        raw: The last thing it handed in, as text.
    """

    def __init__(self, message: str, *, raw: str = "", run: Run[Any] | None = None) -> None:
        super().__init__(message, run=run)
        self.raw = raw


class UpstreamFailed(TaskFailed):
    """A task that this one depends on did not complete."""


class NeedsHuman(TaskFailed):
    """The task asked a person and nobody is there to answer.

    Attributes:
        question: What was asked.
    """

    def __init__(self, message: str, *, question: str, run: Run[Any] | None = None) -> None:
        super().__init__(message, run=run)
        self.question = question


class ToolFailed(TaskFailed):
    """A tool raised and `settings.tools_raise_on_error` is set; the cause is chained."""


class ModelError(TaskFailed):
    """The model's service did not give a usable reply.

    Attributes:
        retryable: Whether sending the same again may help.
        retry_after_seconds: What the service asked us to wait, or `None`.
        status_code: The HTTP status, or `None` where there was none.
        request_id: The service's own name for the request, or `None`.
        requests: How many requests were sent for this one reply; more than 1 where the service asked for
            another form of it.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        retry_after_seconds: float | None = None,
        status_code: int | None = None,
        request_id: str | None = None,
        run: Run[Any] | None = None,
    ) -> None:
        super().__init__(message, run=run)
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds
        self.status_code = status_code
        self.request_id = request_id
        self.requests = 1


class ModelUnavailable(ModelError):
    """The service could not be reached, timed out or was overloaded."""


class ModelRefused(ModelError):
    """The service refused the request: the key, the quota or the request itself."""


class ModelReplyInvalid(ModelError):
    """The service answered, but not with a whole and usable reply."""


class TaskCancelled(AesopError):
    """A run ended as cancelled.

    Attributes:
        run: The run, with the steps it had finished.
    """

    def __init__(self, message: str, *, run: Run[Any] | None = None) -> None:
        super().__init__(message)
        self.run = run


class StoreError(AesopError):
    """The store on disk cannot be read or written."""


class RunInterrupted(_Short, KeyboardInterrupt):
    """The person interrupted the wait; the run was cancelled.

    A KeyboardInterrupt, so that `except Exception` does not swallow it and Run All stops.

    Attributes:
        run: The run, with the steps it had finished.
    """

    def __init__(self, message: str, *, run: Run[Any] | None = None) -> None:
        super().__init__(message)
        self.run = run

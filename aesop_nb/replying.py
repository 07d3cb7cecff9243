"""What a person, or code in their place, replies to a run that waits: an answer, a skip, a yes or a no."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from . import background
from .engine.approving import Decision
from .errors import AesopError, RunStateError
from .texts import clean_text

if TYPE_CHECKING:
    from .engine.asking import Interview
    from .runlogs import RunLog


class Replies:
    """The replies that a run takes. All methods may be called from any thread.

    On the loop's own thread, in a handler of the run's events, they are taken right after it returns, and one
    that does not fit is dropped.
    """

    log: RunLog

    def _interview(self) -> Interview | None:
        raise NotImplementedError

    def answer(self, text: str, *, question_id: str | None = None, source: str = "call") -> None:
        """Answers the open question.

        Args:
            text: The answer.
            question_id: Which question is meant; `None` is the open one.
            source: Where the answer comes from, as written into the events.

        Raises:
            UsageError: If it is not what the question expects; the question stays open.
            RunStateError: If no question, or another one, is open.
        """
        said = clean_text(str(text))
        self._reply(lambda interview: interview.answer(said, source, question_id), "waits for no answer")

    def skip(self, *, question_id: str | None = None, source: str = "call") -> None:
        """Passes the open question over; the agent is told so.

        Args:
            question_id: See `answer`.
            source: See `answer`.

        Raises:
            UsageError: If the agent needs an answer to it.
            RunStateError: If no question, or another one, is open.
        """
        self._reply(lambda interview: interview.skip(source, question_id), "waits for no answer")

    def approve(self, call_id: str | None = None, *, whole_run: bool = False, source: str = "call") -> None:
        """Approves the call that waits for it.

        Args:
            call_id: Which call is meant; `None` is the one that waits.
            whole_run: Whether later calls of the same tool are approved, too, until this run ends.
            source: See `answer`.

        Raises:
            RunStateError: If no call, or another one, waits.
        """
        self._decide(Decision(approved=True, source=source, is_for_run=whole_run), call_id)

    def deny(self, reason: str = "", *, call_id: str | None = None, source: str = "call") -> None:
        """Denies the call that waits for approval; it is not made, and the agent is told.

        Args:
            reason: Why; the agent is told.
            call_id: See `approve`.
            source: See `answer`.

        Raises:
            RunStateError: If no call, or another one, waits.
        """
        self._decide(Decision(approved=False, source=source, reason=clean_text(reason)), call_id)

    def _decide(self, decision: Decision, call_id: str | None) -> None:
        self._reply(lambda interview: interview.decide(decision, call_id), "waits for no approval")

    def _reply(self, take: Callable[[Interview], bool], otherwise: str) -> None:
        """Has the loop take a reply, and raises here what is wrong with it."""
        taken: Future[bool] = Future()

        def on_loop() -> None:
            interview = self._interview()
            try:
                taken.set_result(interview is not None and take(interview))
            except BaseException as exc:  # raised in the caller, who would else wait for ever
                taken.set_exception(exc)
                if not isinstance(exc, AesopError):
                    raise

        background.call_soon(on_loop)
        if not background.is_loop_thread() and not taken.result():
            raise RunStateError(f"Run {self.log.run_id!r} is {self.log.status} and {otherwise}.")

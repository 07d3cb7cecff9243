"""Who is told what happens in runs: the hooks that see every run begin, and the listeners of one run."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

from . import background, scopes
from . import events as ev
from .console import following
from .errors import UsageError
from .recordings import Recording, T
from .texts import nearest, visible_traceback

if TYPE_CHECKING:
    from .running import Run

_LOGGER = logging.getLogger("aesop_nb")
_EVENT_TYPES = {cls.model_fields["type"].default: cls for cls in get_args(get_args(ev.Event)[0])}
_start_hooks: list[Callable[[Run[Any]], object]] = [following.begin]


def on_run_start(hook: Callable[[Run[Any]], object]) -> Callable[[], None]:
    """Calls `hook(run)` for every run from now on, in the thread that starts it, before it begins.

    Returns:
        A function that takes the hook out again.
    """
    _start_hooks.append(hook)
    return lambda: _start_hooks.remove(hook)


class Listened(Recording[T]):
    """A run whose events still come; listeners are called on the loop's thread."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self._listeners: list[Callable[[ev.Event], object]] = []
        self._watchers = 0

    def on(self, event_type: str, handler: Callable[[Any], object]) -> Callable[[], None]:
        """Calls `handler(event)` for each event of that type, for example `"tool_called"`, or `"*"` for all.

        It is called on the loop's thread and should be quick; what it raises is logged and harms nothing.

        Returns:
            A function that takes the handler out again.

        Raises:
            UsageError: If there is no such type.
        """
        if event_type == "*":
            return self.listen(handler, watches=False)
        wanted = _EVENT_TYPES.get(event_type)
        if wanted is None:
            raise UsageError(f"There is no event {event_type!r}.{nearest(event_type, _EVENT_TYPES)}")
        pieces = wanted in (ev.TextStreamed, ev.ToolCallStreamed)
        return self.listen(
            lambda event: handler(event) if isinstance(event, wanted) else None, watches=pieces
        )

    def listen(self, listener: Callable[[ev.Event], object], *, watches: bool) -> Callable[[], None]:
        """Calls `listener` for every event; `watches` has replies streamed for it."""
        self._listeners.append(listener)
        self._watchers += watches

        def stop() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(listener)
                self._watchers -= watches

        return stop

    def _is_watched(self) -> bool:
        return self._watchers > 0

    def _tell_start(self) -> None:
        """Calls the hooks, in the thread that starts the run."""
        for hook in _start_hooks:
            self._guard(hook, self)

    def _tell(self, event: ev.Event) -> None:
        """Calls the listeners; a run that one of them starts is nobody's child and may outlive this one."""
        token = scopes.parent_run.set(None)
        try:
            for listener in tuple(self._listeners):
                self._guard(listener, event)
        finally:
            scopes.parent_run.reset(token)

    def _guard(self, function: Callable[[Any], object], argument: Any) -> None:
        try:
            function(argument)
        except BaseException as exc:
            if not isinstance(exc, Exception) and not background.is_loop_thread():
                raise  # an interrupt of the thread that starts the run
            _LOGGER.error("a listener of run %s raised\n%s", self.id, visible_traceback(exc))

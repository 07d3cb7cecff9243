"""What the run that asks may read: its own limits, and those of the runs around it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from .. import events as ev
from .. import scopes
from ..config import TaskConfig
from ..domains import WEB_PORTS, Site, read_site
from .refusals import PageLimitReached, WebRefused

if TYPE_CHECKING:
    from .urls import Target


class _Level:
    """The limits of one run, and how many pages it and the runs inside it have taken."""

    def __init__(self, config: TaskConfig) -> None:
        self.config = config
        self.allowed = None if config.allowed_domains is None else [*map(read_site, config.allowed_domains)]
        self.blocked = [read_site(entry) for entry in config.blocked_domains]
        self.pages = 0

    def names(self, target: Target) -> bool:
        """Whether the person named host and port as one of their own network's."""
        sites = self.allowed if self.config.allow_private_hosts else None
        return any(site.names(target.host, target.port) for site in sites or [])

    def refuse(self, target: Target) -> None:
        """Refuses what these limits do not cover."""
        host = str(target.host)
        if any(site.includes(target.host) for site in self.blocked):
            raise WebRefused(f"{host!r} is refused by blocked_domains.")
        if self.allowed is not None and not self._covers(self.allowed, target):
            raise WebRefused(f"{target.authority!r} is refused. {_said(self.config)}")
        given = "require_https" in self.config.model_fields_set
        if self.config.require_https and target.scheme != "https" and (given or not self.names(target)):
            raise WebRefused(f"http://{target.authority} is refused by require_https; use https.")

    def _covers(self, sites: list[Site], target: Target) -> bool:
        if target.host.is_address and not self.names(target):
            return False
        return any(site.covers(target.host, target.port) for site in sites)


def _said(config: TaskConfig) -> str:
    if not config.allowed_domains:
        return "allowed_domains=[] allows no web page."
    return f"allowed_domains allows {', '.join(config.allowed_domains)}."


_levels: WeakKeyDictionary[Any, _Level] = WeakKeyDictionary()
_shared: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()


def _level_of(run: Any) -> _Level:
    level = _levels.get(run)
    if level is None:
        level = _levels[run] = _Level(run.config)
    return level


def _shared_below(root: Any) -> dict[str, Any]:
    """What the runs below `root` share; lets go of what runs that have ended shared, for they are kept long."""
    for other in list(_shared):
        if other is not root and other.status.is_final:
            _shared.pop(other, None)
    return _shared.setdefault(root, {})


class Access:
    """What may be read from here. Lives on the loop's thread.

    Attributes:
        shared: What a run and all those inside it keep together, such as the robots.txt files they read.
    """

    def __init__(self, run: Any = None) -> None:
        self._run = run
        around = [run] if run is not None else []
        while around and (parent := getattr(around[-1], "parent", None)) is not None:
            around.append(parent)
        limited = [one for one in around if isinstance(getattr(one, "config", None), TaskConfig)]
        levels = [_level_of(one) for one in limited]
        self._own = levels[0] if levels else _Level(TaskConfig())
        self._around = levels[1:]
        self.shared: dict[str, Any] = _shared_below(around[-1]) if around else {}

    @classmethod
    def here(cls) -> Access:
        """Gives the access of the run inside which this is called; outside of any, that of a default task."""
        return cls(scopes.parent_run.get())

    @classmethod
    def of(cls, config: TaskConfig) -> Access:
        """Gives the access that a task with these limits would have."""
        access = cls()
        access._own = _Level(config)
        return access

    @property
    def config(self) -> TaskConfig:
        """The limits of the run itself."""
        return self._own.config

    @property
    def left_seconds(self) -> float:
        """The time that the run has left."""
        return getattr(self._run, "left_seconds", math.inf)

    def check(self, target: Target) -> bool:
        """Makes sure that a target may be read.

        Returns:
            Whether its host may have a private address: the person named it and its port.

        Raises:
            WebRefused: If it may not; nothing was looked up.
        """
        is_own = self._own.names(target)
        if target.host.is_address and not is_own:
            raise WebRefused(f"{str(target.host)!r} is an IP address; name a host.")
        if target.port not in WEB_PORTS and self._own.allowed is None:
            raise WebRefused(
                f"Port {target.port} of {str(target.host)!r} is refused; only 80 and 443 are read."
            )
        for level in (self._own, *self._around):
            level.refuse(target)
        if getattr(self._run, "is_rehearsal", False) and not is_own:
            raise WebRefused(
                "A rehearsal has no language model, and reads only the hosts of your own network."
            )
        return is_own

    def take_page(self) -> Callable[[], None]:
        """Counts one more page, here and in the runs around; gives what takes the count back.

        Raises:
            PageLimitReached: If one of them has no page left.
        """
        levels = (self._own, *self._around)
        for level in levels:
            most = level.config.max_pages
            if most is not None and level.pages >= most:
                raise PageLimitReached(
                    f"max_pages reached: {most} of {most} were fetched. Use what you have."
                )
        for level in levels:
            level.pages += 1

        def give_back() -> None:
            for level in levels:
                level.pages -= 1

        return give_back

    def note(self, event: ev.PageFetched) -> None:
        """Writes down that a page was fetched, as a source of the run's result."""
        if self._run is not None:
            self._run.note(event)

"""Why a page was not read; the model is told the text, so it holds no words of a page."""

from __future__ import annotations

from ..errors import AesopError


class WebError(AesopError):
    """A page could not be read."""


class WebRefused(WebError):
    """The limits of the task, or the site's own rules, do not allow it; the page was not asked for."""


class PageLimitReached(WebRefused):
    """All pages of `max_pages` were fetched."""

"""Reading the web within the limits of a task; tasks with `allowed_domains` get `fetch_page` and `search`."""

from __future__ import annotations

from .pages import fetch_page
from .providers import Hit, Provider, arxiv, searxng, wikipedia
from .refusals import PageLimitReached, WebError, WebRefused
from .searching import search, search_with

__all__ = [  # noqa: RUF022  # sorted without regard to case, as people look names up
    "arxiv",
    "fetch_page",
    "Hit",
    "PageLimitReached",
    "Provider",
    "search",
    "search_with",
    "searxng",
    "WebError",
    "WebRefused",
    "wikipedia",
]

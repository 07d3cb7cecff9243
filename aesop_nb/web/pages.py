"""`fetch_page`: what a person would read of a web page, given to a model as data."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..engine.prompts import fenced
from ..texts import clean_text
from ..values import MAX_MODEL_CHARACTERS
from .access import Access
from .documents import Page, read_document
from .fetching import Fetch, Response
from .looping import on_the_loop

ACCEPT = (
    "text/html, application/xhtml+xml, application/pdf;q=0.9, application/json;q=0.9, text/*;q=0.8, */*;q=0.1"
)

ROOM = MAX_MODEL_CHARACTERS - 500
"""The characters that a model reads of a page, without the fence around it."""

_MAX_KEPT = 4


async def fetch_page(url: str, start: Annotated[int, Field(ge=0)] = 0) -> str:
    """Reads a web page: its title, text, tables and links.

    Args:
        url: The whole address, for example https://example.org/page.
        start: Where in the text to begin, in characters, to read on in a long page.
    """
    page = await on_the_loop(lambda: _page(clean_text(url).strip(" \t\r\n"), is_known=start > 0))
    return fenced(page.told(ROOM, start), "a web page")


async def _page(url: str, *, is_known: bool) -> Page:
    """Gives a page; one that is read on in is not fetched again, if it is one of the last of the run."""

    def read(response: Response) -> tuple[str, Page]:
        page = read_document(response)
        return page.title, page

    access = Access.here()
    kept: dict[str, Page] = access.shared.setdefault("pages", {})
    if is_known and url in kept:
        return kept[url]
    kept.pop(url, None)
    kept[url] = page = await Fetch(access=access, accept=ACCEPT).read(url, read)
    if len(kept) > _MAX_KEPT:
        del kept[next(iter(kept))]
    return page

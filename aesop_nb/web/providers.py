"""Where a search is made: services that speak plain HTTP and need no key, and functions of the person's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from ..domains import read_host
from ..errors import UsageError
from .html import plain, without_invisible
from .refusals import WebError, WebRefused
from .urls import read_url

_ATOM = "{http://www.w3.org/2005/Atom}"


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One thing that was found.

    Attributes:
        url: Where it stands; empty if it stands nowhere.
        snippet: Some words of it.
    """

    title: str
    url: str = ""
    snippet: str = ""


@runtime_checkable
class Provider(Protocol):
    """A service that is asked by a GET.

    Attributes:
        name: What the model and the person call it.
    """

    @property
    def name(self) -> str:
        """What the model and the person call it."""
        ...

    def request_url(self, query: str, count: int) -> str:
        """Gives the URL that finds up to `count` things."""
        ...

    def hits(self, body: bytes) -> Iterable[Hit]:
        """Reads what the service answered; may raise anything where that is not what it should be."""
        ...


@dataclass(frozen=True)
class Wikipedia:
    """The search of one Wikipedia."""

    language: str = "en"

    @property
    def name(self) -> str:
        """What it is called."""
        return "Wikipedia"

    def request_url(self, query: str, count: int) -> str:
        """Gives the URL of MediaWiki's search."""
        asked = {
            "action": "query",
            "list": "search",
            "format": "json",
            "formatversion": "2",
            "srlimit": count,
        }
        return f"https://{self.language}.wikipedia.org/w/api.php?{urlencode({**asked, 'srsearch': query})}"

    def hits(self, body: bytes) -> Iterable[Hit]:
        """Reads what MediaWiki's search answers."""
        for found in json.loads(body)["query"]["search"]:
            page = quote(str(found["title"]).replace(" ", "_"), safe="/:(),!*'")
            yield Hit(
                title=str(found["title"]),
                url=f"https://{self.language}.wikipedia.org/wiki/{page}",
                snippet=plain(str(found.get("snippet", ""))),
            )


@dataclass(frozen=True)
class Arxiv:
    """The search of arXiv."""

    @property
    def name(self) -> str:
        """What it is called."""
        return "arXiv"

    def request_url(self, query: str, count: int) -> str:
        """Gives the URL of arXiv's interface."""
        words = " AND ".join(f"all:{word}" for word in query.split())
        return (
            f"https://export.arxiv.org/api/query?{urlencode({'search_query': words, 'max_results': count})}"
        )

    def hits(self, body: bytes) -> Iterable[Hit]:
        """Reads the Atom feed that arXiv answers with."""
        if b"<!DOCTYPE" in body or b"<!ENTITY" in body:  # entities can make a small file a huge one
            raise ValueError("the feed declares a document type")
        for entry in ElementTree.fromstring(body).iter(f"{_ATOM}entry"):  # noqa: S314  # no entities, see above
            said = {name: " ".join((entry.findtext(_ATOM + name) or "").split()) for name in _ENTRY}
            names = ", ".join(" ".join(name.itertext()).strip() for name in entry.iter(f"{_ATOM}name"))
            yield Hit(
                title=said["title"],
                url=said["id"].replace("http://", "https://", 1),
                snippet=f"{names} ({said['published'][:10]}): {said['summary']}",
            )


_ENTRY = ("title", "id", "published", "summary")


@dataclass(frozen=True)
class SearXNG:
    """The search of a SearXNG server, whose settings allow the format `json`."""

    url: str

    @property
    def name(self) -> str:
        """What it is called."""
        return f"SearXNG at {read_url(self.url).authority}"

    def request_url(self, query: str, count: int) -> str:
        """Gives the URL of SearXNG's interface; it does not take a number."""
        del count
        return f"{self.url.rstrip('/')}/search?{urlencode({'q': query, 'format': 'json'})}"

    def hits(self, body: bytes) -> Iterable[Hit]:
        """Reads what SearXNG answers."""
        for found in json.loads(body)["results"]:
            yield Hit(
                title=str(found.get("title") or ""),
                url=str(found.get("url") or ""),
                snippet=str(found.get("content") or ""),
            )


def wikipedia(language: str = "en") -> Wikipedia:
    """Gives the search of the Wikipedia in a language, for example `"de"`."""
    try:
        if "." in language:
            raise ValueError
        read_host(language)
    except ValueError:
        raise UsageError(f"language={language!r} names no Wikipedia; for example 'en' does.") from None
    return Wikipedia(language)


def arxiv() -> Arxiv:
    """Gives the search of arXiv."""
    return Arxiv()


def searxng(url: str) -> SearXNG:
    """Gives the search of a SearXNG server, for example `searxng("https://searx.example.org")`."""
    try:
        read_url(url)
    except WebRefused as exc:
        raise UsageError(str(exc)) from None
    return SearXNG(url)


def read_hits(provider: Provider, body: bytes, count: int) -> list[Hit]:
    """Gives the first `count` hits.

    Raises:
        WebError: If the service answered something else.
    """
    found: list[Hit] = []
    try:
        for hit in provider.hits(body):
            found.append(_clean(hit))
            if len(found) == count:
                break
    except Exception:  # noqa: BLE001  # a service may answer anything
        raise WebError(f"{provider.name} answered with something that is no list of results.") from None
    return found


def hits_of(function: Callable[..., Any], query: str, count: int) -> list[Hit]:
    """Gives what a function of the person's finds: texts, or mappings with `title`, `url` and `snippet`."""
    found = function(query)
    items = found if isinstance(found, (list, tuple)) else [found]
    return [_clean(_hit(item)) for item in items[:count]]


def _hit(item: Any) -> Hit:
    if isinstance(item, Hit):
        return item
    if isinstance(item, Mapping):
        return Hit(**{name: str(item.get(name) or "") for name in ("title", "url", "snippet")})
    return Hit(title=str(item))


def _clean(hit: Hit) -> Hit:
    return Hit(
        title=" ".join(without_invisible(hit.title).split())[:300],
        url="".join(without_invisible(hit.url).split())[:2_000],
        snippet=" ".join(without_invisible(hit.snippet).split())[:500],
    )

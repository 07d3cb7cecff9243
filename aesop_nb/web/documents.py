"""What is read of a page: HTML, plain text, JSON or PDF as text, from bytes that anybody may have written."""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .html import read_html, without_invisible
from .pdfs import read_pdf
from .refusals import WebError, WebRefused
from .urls import follow

if TYPE_CHECKING:
    from .fetching import Response
    from .urls import Target

MAX_LINK_CHARACTERS = 5_000
"""What the model reads of the links of a page."""

MAX_TITLE_CHARACTERS = 300

_MARK_CHARACTERS = 100

_HTML = frozenset({"text/html", "application/xhtml+xml"})
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)
_ENCODINGS = re.compile(
    r"utf-?8|utf-?16(le|be)?|(us-)?ascii|iso-?8859-?\d{1,2}|latin-?1|windows-?125\d|cp125\d|koi8-?[ru]|gb2312|gbk|"
    r"gb18030|big5|euc-?(jp|kr)|shift[-_]?jis|iso-2022-jp|macintosh",
    re.IGNORECASE,
)
"""Encodings of text that the web knows; Python has others, some of which take very long."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page as the model reads it.

    Attributes:
        url: Where it stands, after redirects.
        links: Text and whole address of each.
    """

    url: str
    title: str
    text: str
    links: tuple[tuple[str, str], ...] = ()

    def told(self, most_characters: int, start: int = 0) -> str:
        """Gives title, address, text from `start` on, and links, in so many characters; the text is cut first."""
        head = f"Title: {self.title}\nURL: {self.url[:2_000]}\n\n"
        tail = self._links()
        room = most_characters - len(head) - len(tail)
        text = self.text[start:] or ("(no more text)" if self.text else "(no text)")
        if len(text) > room:
            end = start + room - _MARK_CHARACTERS
            mark = f"\n… [cut here; start={end} reads on; the text has {len(self.text):,} characters]"
            text = self.text[start:end] + mark
        return head + text + tail

    def _links(self) -> str:
        lines, size = ["\n\nLinks:"], 0
        for place, (text, url) in enumerate(self.links):
            line = f"- {text[:100]}: {url[:1_000]}" if text else f"- {url[:1_000]}"
            size += len(line) + 1
            if size > MAX_LINK_CHARACTERS:
                lines.append(f"… [{len(self.links) - place:,} more]")
                break
            lines.append(line)
        return "\n".join(lines) if self.links else ""


def read_document(response: Response) -> Page:
    """Gives the page that a server sent; takes up to a second for a large one, so it is called in a thread.

    Raises:
        WebError: If it is of a kind that cannot be read.
    """
    kind = response.headers.get("content-type").partition(";")[0].strip().lower()
    url, body = response.target.url, response.body
    if kind == "application/pdf" or (not kind and body.startswith(b"%PDF-")):
        title, text = read_pdf(body)
        return Page(url=url, title=title[:MAX_TITLE_CHARACTERS], text=without_invisible(text))
    if kind in _HTML or (not kind and body.lstrip()[:1] == b"<"):
        return _html_page(response.target, _decoded(response, meta=True))
    if kind in ("", "application/xml") or kind.startswith("text/") or kind.endswith("+xml"):
        return Page(url=url, title="", text=without_invisible(_decoded(response)))
    if kind == "application/json" or kind.endswith("+json"):
        return Page(url=url, title="", text=without_invisible(_json(response)))
    raise WebError(f"{kind[:60]!r} cannot be read; HTML, plain text, JSON and PDF can.")


def _html_page(target: Target, text: str) -> Page:
    found = read_html(text)
    base = target
    if found.base:
        base = _followed(target, found.base) or target
    links: dict[str, str] = {}
    for words, href in found.links:
        if not href.startswith("#") and (whole := _followed(base, href)) is not None:
            links.setdefault(whole.url, words)
    cut = "\n… [the end of the page was left out: it has too many tags]" if found.is_cut else ""
    return Page(
        url=target.url,
        title=found.title[:MAX_TITLE_CHARACTERS],
        text=found.text + cut,
        links=tuple((words, url) for url, words in links.items()),
    )


def _followed(target: Target, href: str) -> Target | None:
    try:
        return follow(target, href)
    except WebRefused:
        return None


def _json(response: Response) -> str:
    text = _decoded(response)
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=1)
    except (ValueError, RecursionError):  # what says it is JSON and is not may still be read
        return text


def _decoded(response: Response, *, meta: bool = False) -> str:
    body = response.body
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if body.startswith(mark):
            return body.decode(encoding, "replace").removeprefix("\ufeff")
    named = _CHARSET.search(response.headers.get("content-type"))
    if named is None and meta:
        named = _CHARSET.search(body[:2_048].decode("latin-1"))
    if named and _ENCODINGS.fullmatch(named[1]):
        try:
            return body.decode(named[1], "replace")
        except LookupError:
            pass
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.decode("cp1252", "replace")

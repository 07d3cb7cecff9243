"""The text, links and tables of an HTML page, without what a reader would not see; linear in its size."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape

from ..texts import clean_text

MAX_TAGS = 50_000
"""After so many tags the rest of a page is left out, and said to be; a long article has 20,000."""

MAX_TEXT_CHARACTERS = 200_000
"""After so many characters of text the rest is left out too; a model reads far less."""

MAX_LINKS = 2_000

_MAX_STYLE_CHARACTERS = 200_000

# As HTML says, quotes count in values alone; each part is taken whole, so that nothing is ever read twice.
_TAG = re.compile(
    r"""<(/?)([a-zA-Z][^\s/>]*+)((?>[^>=]++|=[=\s]*+(?>"[^"]*+"|'[^']*+'|(?!["'])))*+)>""",
)
_BEGINS_TAG = re.compile(r"</?[a-zA-Z]")
_ATTRIBUTE = re.compile(r"""([^\s=/>"']+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"']+)))?""")
_BLANKS = re.compile(r"[ \t\r\n\f\v\xa0]+")
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    r"\ufe00-\ufe0f\U000e0000-\U000e0fff]"
)
_HIDING_RULE = re.compile(
    r"([.#][\w-]{1,100})\s{0,10}\{[^{}]{0,500}?(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE
)
_HIDING_STYLE = re.compile(
    r"display:none|visibility:(?:hidden|collapse)|opacity:0?\.?0*(?:;|$|!)|font-size:0|"
    r"(?:left|top|right|text-indent):-\d{3,}|clip:rect\(0|clip-path:inset\((?:50|100)%|"
    r"(?:max-)?(?:width|height):0(?:px|em|rem|%)?(?:;|$|!)|transform:scale\(0|color:transparent"
)


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_HIDING_CLASSES = _set("d-none hidden is-hidden screen-reader-text sr-only visually-hidden visuallyhidden")

_RAW = _set(
    "audio canvas iframe math noembed noframes noscript object script select style svg template textarea "
    "title video xmp"
)
"""Elements whose inside is not read."""

_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
_BLOCKS = _set(
    "address article aside blockquote caption dd details dialog div dl dt fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header hgroup hr li main menu nav ol p pre section summary table tbody "
    "tfoot thead tr ul"
)
_ENDED_BY = {
    "p": _BLOCKS,
    "li": frozenset({"li"}),
    "dt": frozenset({"dt", "dd"}),
    "dd": frozenset({"dt", "dd"}),
    "td": frozenset({"td", "th", "tr", "tbody", "tfoot"}),
    "th": frozenset({"td", "th", "tr", "tbody", "tfoot"}),
    "tr": frozenset({"tr", "tbody", "tfoot"}),
}
"""Elements without an end tag of their own, and what comes instead."""


@dataclass(kw_only=True)
class Extract:
    """What a person would read of a page.

    Attributes:
        links: Text and address of each link, as the page writes it.
        is_cut: Whether the end of the page was left out.
    """

    title: str = ""
    text: str = ""
    links: list[tuple[str, str]] = field(default_factory=list)
    base: str = ""
    is_cut: bool = False


def read_html(page: str) -> Extract:
    """Gives the text of a page, its tables as lines with ` | ` between the cells, and its links."""
    reader = _Reader(page)
    reader.read()
    made = reader.made
    made.text = _tidied("".join(reader.parts))
    made.title = _flat(made.title)
    return made


def plain(fragment: str) -> str:
    """Gives the text of a piece of HTML on one line."""
    return _flat(read_html(fragment[:10_000]).text)


def without_invisible(text: str) -> str:
    """Gives `text` without the characters that a person does not see and a model reads."""
    return clean_text(text) if text.isascii() and text.isprintable() else _INVISIBLE.sub("", clean_text(text))


class _Reader:
    def __init__(self, page: str) -> None:
        self.made = Extract()
        self.parts: list[str] = []
        self._page = page
        self._open: list[str] = []
        self._counts: dict[str, int] = {}
        self._hidden_at: int | None = None
        self._hiding: set[str] = set()
        self._styles_left = _MAX_STYLE_CHARACTERS
        self._preformatted = 0
        self._size = 0
        self._link: tuple[str, int] | None = None

    def read(self) -> None:
        """Goes through the page once, from tag to tag."""
        page, at, tags = self._page, 0, 0
        while True:
            begin = page.find("<", at)
            self._take_text(page[at : begin if begin >= 0 else len(page)])
            if begin < 0:
                return
            tags += 1
            if tags > MAX_TAGS or self._size > MAX_TEXT_CHARACTERS:
                self.made.is_cut = True
                return
            at = self._after_mark(begin)
            if at < 0:
                return

    def _after_mark(self, begin: int) -> int:
        """Takes what begins with `<`; gives where it ends, or -1 if it has no end."""
        page = self._page
        if page.startswith("<!--", begin):
            end = page.find("-->", begin + 2)
            return end + 3 if end >= 0 else -1
        if page.startswith(("<!", "<?"), begin):
            end = page.find(">", begin)
            return end + 1 if end >= 0 else -1
        tag = _TAG.match(page, begin)
        if tag is None:
            if _BEGINS_TAG.match(page, begin):
                return -1
            self._take_text("<")
            return begin + 1
        if tag[1]:
            self._end(tag[2].lower())
            return tag.end()
        return self._begin(tag[2].lower(), tag[3], tag.end())

    def _begin(self, name: str, written: str, at: int) -> int:
        attributes = _attributes(written) if written else {}
        if name in _RAW:
            return self._after_raw(name, at)
        while self._open and name in _ENDED_BY.get(self._open[-1], ()):
            self._close()
        if name == "base" and not self.made.base:
            self.made.base = attributes.get("href", "")
        if name in _VOID:
            self._void(name, attributes)
            return at
        if name in _BLOCKS:
            self._take_mark("\n\n" if name in ("p", "table") or name[0] == "h" else "\n")
        self._open.append(name)
        self._counts[name] = self._counts.get(name, 0) + 1
        if self._hidden_at is None and (attributes or name == "dialog") and self._is_hidden(name, attributes):
            self._hidden_at = len(self._open)
        self._preformatted += name == "pre"
        if name == "a" and self._hidden_at is None and "href" in attributes:
            self._link = (attributes["href"], len(self.parts))
        elif name == "li":
            self._take_mark("- ")
        return at

    def _void(self, name: str, attributes: dict[str, str]) -> None:
        if name in ("br", "hr"):
            self._take_mark("\n")
        elif name == "img" and attributes.get("alt") and not self._is_hidden(name, attributes):
            self._take_text(f" {attributes['alt']} ")

    def _end(self, name: str) -> None:
        if name == "br":
            self._take_mark("\n")
        if not self._counts.get(name):
            return
        while self._open and self._close() != name:
            pass

    def _close(self) -> str:
        """Ends the innermost element and gives its name."""
        name = self._open.pop()
        self._counts[name] -= 1
        self._preformatted -= name == "pre"
        if name in ("td", "th"):
            self._take_mark(" | ")
        elif name in _BLOCKS:
            self._take_mark("\n\n" if name in ("p", "table") or name[0] == "h" else "\n")
        if name == "a" and self._link is not None:
            self._keep_link(*self._link)
        if self._hidden_at is not None and len(self._open) < self._hidden_at:
            self._hidden_at = None
        return name

    def _keep_link(self, href: str, since: int) -> None:
        self._link = None
        if self._hidden_at is None and len(self.made.links) < MAX_LINKS:
            self.made.links.append((_flat("".join(self.parts[since : since + 50])), unescape(href).strip()))

    def _after_raw(self, name: str, at: int) -> int:
        """Leaves out an element whose inside is not read; gives where it ends."""
        found = _end_of(name).search(self._page, at)
        inside = self._page[at : found.start() if found else len(self._page)]
        if name == "title" and not self.made.title:
            self.made.title = unescape(inside[:1_000])
        elif name == "style":
            inside = inside[: self._styles_left]
            self._styles_left -= len(inside)
            self._hiding.update(match[1].lower() for match in _HIDING_RULE.finditer(inside))
        return found.end() if found else -1

    def _is_hidden(self, name: str, attributes: dict[str, str]) -> bool:
        if "hidden" in attributes or attributes.get("aria-hidden", "").lower() == "true" or name == "dialog":
            return name != "dialog" or "open" not in attributes
        style = _BLANKS.sub("", attributes.get("style", "").lower())
        if style and _HIDING_STYLE.search(style):
            return True
        classes = attributes.get("class", "").lower().split()
        if not _HIDING_CLASSES.isdisjoint(classes):
            return True
        return bool(self._hiding) and (
            f"#{attributes.get('id', '').lower()}" in self._hiding
            or any(f".{one}" in self._hiding for one in classes)
        )

    def _take_text(self, text: str) -> None:
        if not text or self._hidden_at is not None:
            return
        if len(text) > MAX_TEXT_CHARACTERS:
            text, self.made.is_cut = text[:MAX_TEXT_CHARACTERS], True
        self._size += len(text)
        if "&" in text:
            text = unescape(text)
        self.parts.append(text if self._preformatted else _BLANKS.sub(" ", text))

    def _take_mark(self, mark: str) -> None:
        if self._hidden_at is None:
            self.parts.append(mark)


def _attributes(written: str) -> dict[str, str]:
    """The attributes of a tag; a long one is cut."""
    found: dict[str, str] = {}
    for match in _ATTRIBUTE.finditer(written[:20_000]):
        found.setdefault(match[1].lower(), match[2] or match[3] or match[4] or "")
    return found


_ends: dict[str, re.Pattern[str]] = {
    name: re.compile(rf"</{name}(?=[\s/>])[^>]*+>?", re.IGNORECASE) for name in _RAW
}


def _end_of(name: str) -> re.Pattern[str]:
    return _ends[name]


def _flat(text: str) -> str:
    return without_invisible(_BLANKS.sub(" ", text)).strip()


def _tidied(text: str) -> str:
    """Gives `text` without empty items and bars at the end of rows, and with single blank lines."""
    lines: list[str] = []
    empty = 0
    for line in without_invisible(text).split("\n"):
        bare = line.rstrip(" |\t\r")
        if bare.strip() in ("", "-"):
            empty += 1
            continue
        if lines and empty > 1:
            lines.append("")
        empty = 0
        lines.append(bare if line.startswith("  ") else bare.lstrip())
    return "\n".join(lines).strip()

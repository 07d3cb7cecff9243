"""The pieces that all HTML of ours is made of; text in, text out.

Everything that is not a constant goes through `escape`. Inline styles only, no ids, no scripts: what is written
here looks the same after the sanitisers of JupyterLab, nbviewer and GitHub, which at most drop the styles.
Colours are those of the page, so that dark themes work; a symbol never stands without its word.
"""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ..texts import shorten, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")

# MathJax would read `$…$` in a tool's output as LaTeX; these classes keep it out.
FRAME = (
    '<div class="mathjax_ignore tex2jax_ignore" '
    'style="line-height:1.5;font-variant:tabular-nums;overflow-wrap:anywhere">'
)
QUIET = "opacity:.7"
LINE = "margin:0"
SECTION = "margin:.3em 0"
INDENT = "margin-left:1.2em"
PRE = (
    "margin:.2em 0;padding:.4em .6em;white-space:pre-wrap;overflow-wrap:anywhere;max-height:24em;overflow:auto;"
    "text-align:left;background:rgba(128,128,128,.1);border-radius:3px;color:inherit"
)
CELL = "text-align:left;vertical-align:top;padding:.3em .4em"
NUMBER = "text-align:right;vertical-align:top;padding:.3em .4em"
_BADGE = "border:1px solid;border-radius:1em;padding:0 .6em;font-size:85%;white-space:nowrap"
_TABLE = "width:100%;margin:.3em 0;border-collapse:collapse;table-layout:fixed"
# All have about the same contrast, 4, on white and on the near-black of dark themes.
_COLORS = {"✓": "#2e8b57", "✗": "#d0504a", "⊘": "#8a7a3c"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """How much of each text and of each list is shown.

    Attributes:
        inside: How many rows of each list of a run inside this one; 0 shows one line of it.
    """

    characters: int
    rows: int
    inside: int = 0


def escape(text: str) -> str:
    """Gives any text as HTML text: markup is shown, invisible characters are escapes."""
    return html.escape(visible(text))


def cut(text: str, detail: Detail) -> str:
    """Gives the begin of any text as HTML text."""
    return escape(shorten(text, detail.characters))


def colored(symbol: str) -> str:
    """One of the symbols of `wording`, in its colour."""
    color = _COLORS.get(symbol)
    return f'<span style="color:{color}">{symbol}</span>' if color else symbol


def quiet(markup: str) -> str:
    """The same, less prominent."""
    return f'<span style="{QUIET}">{markup}</span>'


def badge(words: str) -> str:
    """A word or two in a frame, for what must not be overlooked."""
    return f'<span style="{_BADGE}">{escape(words)}</span>'


def badges(words: Sequence[str]) -> str:
    """All of them, each with the space before it."""
    return "".join(f" {badge(each)}" for each in words)


def pre(text: str, detail: Detail) -> str:
    """The begin of a text with its lines as they are."""
    # A parser drops the first line feed in <pre>; ours is there to be dropped instead of the text's.
    return f'<pre style="{PRE}">\n{cut(text, detail)}</pre>'


def named_pre(name: str, text: str) -> str:
    """A whole text with its lines as they are, under the name of what it is."""
    return f'<div style="{QUIET}">{name}</div><pre style="{PRE}">\n{escape(text)}</pre>'


def section(title: str, inside: str, *, is_open: bool = False) -> str:
    """A line that opens to `inside`."""
    return titled(escape(title), inside, is_open=is_open)


def titled(title: str, inside: str, *, is_open: bool = False) -> str:
    """The same with a title that is markup already."""
    opened = " open" if is_open else ""
    return (
        f'<details style="{SECTION}"{opened}><summary style="cursor:pointer">{title}</summary>'
        f'<div style="margin:.2em 0 .6em 1.2em">{inside}</div></details>'
    )


def opening(line: str, whole: str, detail: Detail) -> str:
    """A line of HTML that opens to the text `whole`, which is empty where the line says it all."""
    if not whole:
        return line
    return f'<details><summary style="cursor:pointer">{line}</summary>{pre(whole, detail)}</details>'


def table(
    columns: Mapping[str, str], items: Sequence[T], render: Callable[[T, Detail], str], detail: Detail
) -> str:
    """A table with a row for each item, or for the first and the last; `columns` maps titles to styles."""
    head = "".join(
        f'<th scope="col" style="{style};font-weight:600">{t}</th>' for t, style in columns.items()
    )

    def gap(left_out: str) -> str:
        return f'<tr><td style="{CELL};{QUIET}" colspan="{len(columns)}">{left_out}</td></tr>'

    rows = some(items, detail, lambda item: render(item, detail), gap)
    return f'<table style="{_TABLE}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def row(*cells: tuple[str, str]) -> str:
    """A row of a table, of pairs of a style and markup."""
    inner = "".join(f'<td style="{style}">{inside}</td>' for style, inside in cells)
    return f"<tr>{inner}</tr>"


def some(items: Sequence[T], detail: Detail, render: Callable[[T], str], gap: Callable[[str], str]) -> str:
    """All items, or the first and the last with the number of those left out between them."""
    if len(items) <= detail.rows:
        return "".join(map(render, items))
    half = detail.rows // 2
    left_out = (
        f"… {len(items) - 2 * half:,} of {len(items):,} not shown here; the run's frames have them all …"
    )
    return "".join([*map(render, items[:half]), gap(left_out), *map(render, items[len(items) - half :])])


def paragraph_gap(left_out: str) -> str:
    """A paragraph that says how many were left out."""
    return f'<p style="{SECTION};{QUIET}">{left_out}</p>'


def pretty(arguments: object) -> str:
    """The arguments of a call as indented JSON; empty if there are none."""
    if not arguments or isinstance(arguments, str):
        return str(arguments or "")
    return json.dumps(arguments, ensure_ascii=False, indent=2, default=str)

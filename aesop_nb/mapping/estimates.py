"""What a map may take, told from some of its rows before anything is spent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import prices
from ..events import Usage
from ..models.transcript import Reply
from ..store import default_store
from ..store.faults import Fault
from .row_briefs import RowBriefs

if TYPE_CHECKING:
    from ..engine.attempts import Brief
    from ..store.map_rows import StoredRow
    from .row_briefs import Binding
    from .rows import Row, Rows

_BYTES_PER_TOKEN = 4.0  # of English text, with the tokenizers in use; others take fewer bytes for a token
_LOOKED_UP_ROWS = 1_000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a map may take; each row is taken to need one request.

    Attributes:
        rows: How many there are; `None` where that is not known.
        stored_rows: Those of the rows looked at that are in the store already, and so cost nothing.
        rows_looked_at: How many that were.
        input_tokens: Of all rows that would be asked; `None` where their number is not known.
        output_tokens: The same; known only from rows like these that are in the store.
        cost_usd: US dollars; `None` where the price or the output is not known.
        cost_of_input_usd: What reading alone costs; `None` where the price is not known.
        based_on: Where the figures come from, in words.
    """

    rows: int | None
    stored_rows: int
    rows_looked_at: int
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    cost_of_input_usd: float | None
    based_on: str

    def __repr__(self) -> str:
        def said(value: int | None) -> str:
            return "unknown" if value is None else f"about {value:,}"

        def usd(value: float | None) -> str:
            return "unknown" if value is None else f"about USD {value:.4f}"

        rows = "unknown" if self.rows is None else f"{self.rows:,}"
        return "\n".join(
            [
                f"rows           {rows}; {self.stored_rows:,} of the {self.rows_looked_at:,} looked at are stored",
                f"input tokens   {said(self.input_tokens)}",
                f"output tokens  {said(self.output_tokens)}",
                f"cost           {usd(self.cost_usd)} ({usd(self.cost_of_input_usd)} of it for the input)",
                f"based on       {self.based_on}",
            ]
        )


def estimated(rows: Rows, brief: Brief, binding: Binding, sample_rows: int, *, reuse: bool) -> Estimate:
    """Gives the estimate for rows that were not drawn yet."""
    briefs = RowBriefs(brief, binding)
    drawn = rows.draw(max(_LOOKED_UP_ROWS, sample_rows))
    stored = _stored(briefs, drawn) if reuse else {}
    keys = [briefs.key_of(row) for row in drawn]
    unknown = [row for row, key in zip(drawn, keys, strict=True) if key is None or key not in stored]
    share = len(unknown) / len(drawn) if drawn else 0.0
    to_ask = None if rows.length is None else round(rows.length * share)
    paid = [row for row in stored.values() if row.input_tokens or row.output_tokens]
    sample = unknown[:sample_rows] or drawn[:sample_rows]
    read = sum(row.input_tokens for row in paid) / len(paid) if paid else _mean_input(briefs, sample)
    wrote = sum(row.output_tokens for row in paid) / len(paid) if paid else None
    input_tokens = None if to_ask is None else round(to_ask * read)
    output_tokens = None if to_ask is None or wrote is None else round(to_ask * wrote)
    return Estimate(
        rows=rows.length,
        stored_rows=len(drawn) - len(unknown),
        rows_looked_at=len(drawn),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=None if output_tokens is None else _cost(brief, input_tokens, output_tokens),
        cost_of_input_usd=_cost(brief, input_tokens, 0),
        based_on=_words(len(paid), len(sample)),
    )


def _words(paid: int, sampled: int) -> str:
    if paid:
        return f"{paid:,} rows of this map that are in the store"
    return (
        f"the text of {sampled:,} rows, at {_BYTES_PER_TOKEN:g} bytes a token; what is written is not known"
    )


def _stored(briefs: RowBriefs, rows: list[Row]) -> dict[str, StoredRow]:
    keys = {key for row in rows if (key := briefs.key_of(row)) is not None}
    try:
        return default_store().map_rows.completed(keys)
    except Fault:
        return {}


def _mean_input(briefs: RowBriefs, rows: list[Row]) -> float:
    """Mean tokens of the first request, from its length."""
    sizes = []
    for row in rows:
        brief = briefs.brief_of(row)
        request, _ = brief.request(brief.agents[0], brief.first_messages())
        texts = [str(getattr(message, "text", "")) for message in request.messages]
        texts += [
            f"{tool.name}{tool.description}{json.dumps(dict(tool.parameters))}" for tool in request.tools
        ]
        sizes.append(sum(len(text.encode("utf-8", "replace")) for text in texts) / _BYTES_PER_TOKEN)
    return sum(sizes) / len(sizes) if sizes else 0.0


def _cost(brief: Brief, input_tokens: int | None, output_tokens: int) -> float | None:
    if input_tokens is None:
        return None
    usage = Usage(requests=1, input_tokens=input_tokens, output_tokens=output_tokens)
    return prices.priced(Reply(usage=usage), brief.model_of(brief.agents[0])).cost_usd

"""What a person gave in confidence: the model gets a stand-in, a tool the value, and no record holds it."""

from __future__ import annotations

import base64
import contextlib
import html
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, quote_plus

from pydantic import BaseModel

from ..events import CallRequest

if TYPE_CHECKING:
    from ..models.transcript import Message

E = TypeVar("E", bound=BaseModel)

MIN_CHARACTERS = 4
"""Shorter secrets are refused: to take `a` out of every text would leave no text."""

MAX_CHARACTERS = 65_536
"""Longer ones are, too: every text that goes out is looked through for some twenty forms of each."""

_STAND_IN = re.compile(r"<secret:(\d{1,9})>")
_MOST_SECRETS = 1_000_000


class Withheld:
    """The secrets of one run, and of the runs around it. Lives in memory only, until `forget()`.

    Args:
        outer: Those of the run whose tool started this one; they are masked here, too, and no name stands for
            one here and for another one there.
    """

    def __init__(self, outer: Withheld | None = None) -> None:
        self._outer = outer
        self._outermost: Withheld = outer._outermost if outer else self
        self._last_number = 0
        self._values: dict[str, str] = {}
        self._forms: dict[str, str] = {}
        self._holders: set[object] = set()
        self._is_over = False
        if outer:
            outer._holders.add(self)

    def __repr__(self) -> str:
        return f"<Withheld: {len(self._values)} secrets>"

    def __bool__(self) -> bool:
        """Whether there is anything to mask."""
        return bool(self._values) or bool(self._outer)

    # What is kept ------------------------------------------------------------------------------------

    def keep(self, value: str) -> str:
        """Gives the stand-in for a secret; the same for the same secret."""
        known = next((name for name, kept in self._values.items() if kept == value), None)
        if known is not None:
            return known
        self._outermost._last_number += 1
        name = f"<secret:{self._outermost._last_number}>"
        self._values[name] = value
        # A name stands for itself, so that what is masked twice is masked once.
        self._forms = {name: name, **dict.fromkeys(_forms(value), name), **self._forms}
        return name

    def number_after(self, texts: Iterable[str]) -> None:
        """Gives no name to a secret that stands in one of these texts, where it meant another one."""
        used = [int(number) for text in texts for number in _STAND_IN.findall(text)]
        root = self._outermost
        root._last_number = max([root._last_number, *(number for number in used if number < _MOST_SECRETS)])

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Has `forget()` wait for the end of the block: a tool that is left behind still has the values."""
        holder = object()
        self._holders.add(holder)
        try:
            yield
        finally:
            self._let_go(holder)

    def forget(self) -> None:
        """Drops all values, as soon as neither a run inside nor a tool can write them anywhere."""
        self._is_over = True
        self._let_go(None)

    def _let_go(self, holder: object) -> None:
        self._holders.discard(holder)
        if self._is_over and not self._holders:
            self._values, self._forms = {}, {}
            if self._outer:
                self._outer._let_go(self)

    # What is put in and taken out --------------------------------------------------------------------

    def put_in(self, value: Any) -> Any:
        """Gives a JSON value with the secrets in the place of their stand-ins."""
        if not self._values:
            return value
        if isinstance(value, str):
            return _STAND_IN.sub(lambda found: self._values.get(found[0], found[0]), value)
        if isinstance(value, list):
            return [self.put_in(item) for item in value]
        if isinstance(value, dict):
            return {name: self.put_in(item) for name, item in value.items()}
        return value

    def is_used_in(self, arguments: Any) -> bool:
        """Whether a stand-in stands somewhere in a JSON value."""
        return bool(self._values) and self.put_in(arguments) != arguments

    def masked(self, text: str) -> str:
        """Gives a text with stand-ins in the place of the secrets, also where they are quoted or encoded."""
        found = [form for form in self._all_forms() if form[0] in text]
        return _replaced(text, sorted(found, key=lambda form: len(form[0]), reverse=True))

    def _all_forms(self) -> Iterator[tuple[str, str]]:
        yield from self._forms.items()
        if self._outer:
            yield from self._outer._all_forms()

    def masked_value(self, value: Any) -> Any:
        """The same for all texts of a JSON value."""
        if isinstance(value, str):
            return self.masked(value)
        if isinstance(value, list):
            return [self.masked_value(item) for item in value]
        if isinstance(value, dict):
            return {self.masked(name): self.masked_value(item) for name, item in value.items()}
        return value

    def masked_json(self, text: str) -> str:
        """The same for a text that should be JSON, and is JSON afterwards if it was before."""
        if self.masked(text) == text:
            return text
        try:
            return json.dumps(self.masked_value(json.loads(text)), ensure_ascii=False)
        except (ValueError, RecursionError):
            return self.masked(text)


def _replaced(text: str, forms: Sequence[tuple[str, str]]) -> str:
    """Puts a name in the place of each form, the longest first; a name is not looked through again."""
    if not forms:
        return text
    (form, name), *shorter = forms
    return name.join(_replaced(piece, shorter) for piece in text.split(form))


def _forms(value: str) -> Iterator[str]:
    """The value as tools and errors write it: as it is, without its edges, quoted, and encoded."""
    for text in (value, value.strip()):
        yield text
        yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1])
        yield from (quote(text), quote(text, safe=""), quote_plus(text), html.escape(text))
        data = text.encode("utf-8", "replace")
        yield from (data.hex(), data.hex().upper())
        for encoded in _in_base64(data):
            yield from (encoded, encoded.translate(_URL_SAFE))


_URL_SAFE = str.maketrans("+/", "-_")
_FEWEST_IN_BASE64 = 5


def _in_base64(data: bytes) -> Iterator[str]:
    """What stands in base64 for these bytes, alone or behind others, as in `user:password`."""
    yield base64.b64encode(data).decode()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data).decode()
        # Only what depends on no neighbour: six bits make a character.
        own = encoded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        if len(own) >= _FEWEST_IN_BASE64:
            yield own


# Where what is masked goes out -------------------------------------------------------------------------

_NAMES = frozenset({"type", "run_id", "number", "at", "call_id", "question_id", "kind", "source"})


def masked_event(event: E, withheld: Withheld) -> E:
    """Gives an event in which no text holds a secret; names that pair events stay as they are."""
    texts = {
        name: _masked_part(value, withheld)
        for name, value in event
        if name not in _NAMES and isinstance(value, (str, list, dict))
    }
    return event.model_copy(update=texts)


def _masked_part(value: Any, withheld: Withheld) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], CallRequest):
        return [
            call.model_copy(
                update={"arguments": withheld.masked_json(call.arguments)}
            )  # what the model wrote
            for call in value
        ]
    return withheld.masked_value(value)


def masked_messages(messages: Sequence[Message], withheld: Withheld) -> Sequence[Message]:
    """Gives a conversation in which no text holds a secret."""
    if not withheld:
        return messages
    return [replace(message, text=withheld.masked(message.text)) for message in messages]

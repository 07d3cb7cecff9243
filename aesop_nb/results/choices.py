"""Results that are one of, or some of, the objects that were given to choose from."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from ..texts import clean_text, one_line
from ..values import json_value, label, value_text
from .schemas import ResultMismatch

_MAX_SHOWN = 20
_LONGEST_LABEL = 80
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_NAMING = ("name", "title", "label", "id")
_JSON_TYPES: dict[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number"}
_NO_SCALAR = object()


@dataclass(frozen=True, eq=False)
class Option:
    """One object to choose.

    Attributes:
        scalar: What stands for it in JSON, or a marker that nothing simple does.
        names: Texts that mean it; the first is shown.
    """

    value: Any
    scalar: Any
    names: tuple[str, ...]

    @property
    def is_simple(self) -> bool:
        """Whether a JSON text, number, truth value or null stands for it."""
        return self.scalar is not _NO_SCALAR

    @property
    def is_number(self) -> bool:
        """Whether a number stands for it, so that a number must not be read as a position."""
        return type(self.scalar) in (int, float)


@dataclass(frozen=True, eq=False)
class Choice:
    """One of some options; the model answers with a label or a position, the object itself comes back."""

    options: tuple[Option, ...]
    enum_class: type[enum.Enum] | None = None

    @classmethod
    def of(cls, values: Iterable[Any]) -> Choice:
        """Makes the choice of `values`; equal texts and numbers count once, sets are put in order.

        Raises:
            UsageError: If there is nothing to choose from.
        """
        options = [_option(value) for value in values]
        if isinstance(values, (set, frozenset)):
            options.sort(key=lambda option: option.names)
        if not options:
            raise UsageError("There is nothing to choose from: the choices are empty.")
        return cls(tuple(_distinct(options)))

    @classmethod
    def of_enum(cls, members: type[enum.Enum]) -> Choice:
        """Makes the choice of an enumeration's members.

        Raises:
            UsageError: If it has none.
        """
        if not len(members):
            raise UsageError(f"There is nothing to choose from: {members.__name__} has no members.")
        return cls(cls.of(list(members)).options, members)

    @property
    def is_by_position(self) -> bool:
        """Whether the model must answer with positions, since the labels are long or not distinct."""
        labels = [option.names[0] for option in self.options]
        return not self._is_simple and (
            len(set(labels)) < len(labels) or max(map(len, labels)) > _LONGEST_LABEL
        )

    @property
    def _is_simple(self) -> bool:
        return all(option.is_simple for option in self.options)

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of an answer."""
        if self.is_by_position:
            lines = [f"{index} = {_detail(option)}" for index, option in enumerate(self.options)]
            text = "The number of the choice:\n" + "\n".join(lines)
            return {"type": "integer", "enum": list(range(len(self.options))), "description": text}
        if self._is_simple:
            made: dict[str, Any] = {"enum": [option.scalar for option in self.options]}
            kinds = {_JSON_TYPES.get(type(option.scalar)) for option in self.options}
        else:
            made = {"enum": [option.names[0] for option in self.options]}
            kinds = {"string"}
        if len(kinds) == 1 and None not in kinds:
            made["type"] = kinds.pop()
        if details := [text for option in self.options if (text := self._explained(option))]:
            made["description"] = "\n".join(details)
        return made

    def _explained(self, option: Option) -> str:
        if isinstance(option.value, enum.Enum):
            is_plain = option.scalar == option.names[0] or not option.is_simple
            return "" if is_plain else f"{value_text(option.scalar)} = {option.names[0]}"
        return "" if option.is_simple else f"{option.names[0]}: {_detail(option)}"

    def pick(self, answer: Any) -> Any:
        """Gives the object that `answer` means.

        Raises:
            ResultMismatch: If it means none of them, or more than one.
        """
        if isinstance(answer, str):
            answer = clean_text(answer)
        if isinstance(answer, dict) and isinstance(answer.get("index"), int) and "label" in answer:
            answer = answer["index"]  # what `to_json` gives for an object
        for option in self.options:
            if option.is_simple and type(option.scalar) is type(answer) and option.scalar == answer:
                return option.value
        found = self._by_position(answer) or self._by_name(answer) or self._by_content(answer)
        if len(found) == 1:
            return found[0].value
        if self.enum_class is not None and not found:
            try:
                return self.enum_class(answer)  # an enumeration may know more spellings: `_missing_`
            except (ValueError, KeyError, TypeError):
                pass
        problem = "means more than one of the choices" if found else "is not one of the choices"
        raise ResultMismatch(f"{one_line(repr(answer), 80)} {problem}. Allowed: {self._allowed()}.")

    def _by_position(self, answer: Any) -> list[Option]:
        if any(option.is_number for option in self.options):
            return []
        if isinstance(answer, str) and answer.strip().isdecimal() and not self._by_name(answer):
            answer = int(answer) if len(answer) < 10 else None
        if isinstance(answer, float) and answer.is_integer():
            answer = int(answer)
        is_position = type(answer) is int and 0 <= answer < len(self.options)
        return [self.options[answer]] if is_position else []

    def _by_name(self, answer: Any) -> list[Option]:
        if not isinstance(answer, str):
            return []
        exact = [option for option in self.options if answer in option.names]
        if exact:
            return exact
        wanted = _loose(answer)
        return [option for option in self.options if any(_loose(name) == wanted for name in option.names)]

    def _by_content(self, answer: Any) -> list[Option]:
        """Some models hand back the whole object instead of its name."""
        if not isinstance(answer, dict):
            return []
        return [
            option for option in self.options if not option.is_simple and json_value(option.value) == answer
        ]

    def _allowed(self) -> str:
        shown = [
            f"{index} = {one_line(option.names[0], _LONGEST_LABEL)}"
            if self.is_by_position
            else one_line(value_text(option.scalar) if option.is_number else repr(option.names[0]), 80)
            for index, option in enumerate(self.options[:_MAX_SHOWN])
        ]
        more = len(self.options) - _MAX_SHOWN
        return ", ".join(shown) + (f" and {more} more" if more > 0 else "")

    def find(self, value: Any) -> int | None:
        """Gives the position of an object that was picked; `None` if it is not one of them."""
        for index, option in enumerate(self.options):
            if option.value is value:
                return index
        for index, option in enumerate(self.options):
            if type(option.value) is type(value) and option.value == value:
                return index
        return None

    def to_json(self, value: Any) -> Any:
        """Gives the JSON value that stands for a picked object, or its position and label."""
        index = self.find(value)
        if index is None:
            return json_value(value)
        option = self.options[index]
        return option.scalar if option.is_simple else {"index": index, "label": option.names[0]}

    def to_text(self, value: Any) -> str:
        """Gives the label of a picked object."""
        index = self.find(value)
        return label(value) if index is None else self.options[index].names[0]


@dataclass(frozen=True, eq=False)
class Several:
    """Any number of some options."""

    choice: Choice

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of an answer."""
        return {"type": "array", "items": self.choice.schema, "uniqueItems": True}

    def pick(self, answer: Any) -> list[Any]:
        """Gives the objects that `answer` means, each once, in its order.

        Raises:
            ResultMismatch: If a part of it means none of them, or more than one.
        """
        parts: Sequence[Any] = answer if isinstance(answer, list) else [answer]
        if answer is None:
            raise ResultMismatch("A list of choices is needed; hand in [] if none fits.")
        picked: list[Any] = []
        for value in (self.choice.pick(part) for part in parts):
            if not any(value is before for before in picked):
                picked.append(value)
        return picked

    def to_json(self, value: Any) -> Any:
        """Gives the list of what stands for each picked object."""
        return [self.choice.to_json(item) for item in value]

    def to_text(self, value: Any) -> str:
        """Gives the labels of the picked objects."""
        return ", ".join(self.choice.to_text(item) for item in value) or "none"


def _option(value: Any) -> Option:
    if isinstance(value, enum.Enum):
        raw = value.value
        scalar = raw if _is_scalar(raw) else _NO_SCALAR
        names = (raw, value.name) if isinstance(raw, str) else (value.name, value_text(raw))
        return Option(value, scalar, tuple(dict.fromkeys(clean_text(name) for name in names)))
    if isinstance(value, str):
        return Option(value, value, (clean_text(value),))
    if _is_scalar(value):
        return Option(value, value, tuple(dict.fromkeys((value_text(value), str(value)))))
    return Option(value, _NO_SCALAR, _object_names(value))


def _is_scalar(value: Any) -> bool:
    return value is None or type(value) in _JSON_TYPES


def _object_names(value: Any) -> tuple[str, ...]:
    if callable(value) and isinstance(name := getattr(value, "__name__", None), str):
        return (name,)
    names = [name for field in _NAMING if isinstance(name := getattr(value, field, None), str) and name]
    return tuple(dict.fromkeys([clean_text(name) for name in names[:1]] or [_ADDRESS.sub("", label(value))]))


def _detail(option: Option) -> str:
    return _ADDRESS.sub("", one_line(value_text(option.value), 300))


def _distinct(options: list[Option]) -> list[Option]:
    """Two equal texts or numbers are one choice; two objects with one label stay two."""
    seen: set[tuple[type, Any]] = set()
    kept = []
    for option in options:
        key = (type(option.value), option.scalar)
        if not option.is_simple or key not in seen:
            kept.append(option)
        seen.add(key)
    return kept


def _loose(text: str) -> str:
    return " ".join(text.replace("_", " ").split()).strip("\"'`.").casefold()

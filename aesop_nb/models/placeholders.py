"""Values for a JSON schema: what is known by name where it fits, else examples, else obvious placeholders."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from .fitting import Schema, definition, fits, number_fits
from .formats import formatted_text
from .patterns import matching_text

MAX_ROWS = 20
"""A list has one item for each known one, up to this many."""

_PLACEHOLDER_ROWS = 2
_PLACEHOLDER_COLUMNS = ("<column 1>", "<column 2>")
_LEADING = ("name", "title", "text", "item", "value", "id", "key", "label", "query")
_YES = {"yes": True, "true": True, "y": True, "no": False, "false": False, "n": False}
_COMPLAINT = re.compile(r"^- result([^:\n]*):", re.MULTILINE)


class Unfillable(ValueError):
    """No value can be made; the text says for what."""


class _Endless(Unfillable):
    """A type holds itself; the way that led here has no end."""


def plain_name(name: str) -> str:
    """Gives a name without case, blanks and punctuation, so that `Founded On` and `founded_on` are one."""
    return "".join(character for character in name.casefold() if character.isalnum())


@dataclass(frozen=True)
class Facts:
    """What is known, by plain name; nearer layers come first."""

    layers: tuple[Mapping[str, Sequence[Any]], ...] = ()

    @classmethod
    def of(cls, *known: Mapping[str, Any]) -> Facts:
        """Makes facts of mappings from names to JSON values, the most trusted first."""
        return cls(tuple({plain_name(str(name)): [value] for name, value in one.items()} for one in known))

    def nearer(self, known: Mapping[str, Any]) -> Facts:
        """Gives these facts with `known` before them."""
        return Facts((*Facts.of(known).layers, *self.layers))

    def named(self, name: str) -> Iterator[Any]:
        """Gives what is known under a name."""
        wanted = plain_name(name)
        for layer in self.layers:
            yield from layer.get(wanted, ())

    def tables(self) -> Iterator[list[dict[str, Any]]]:
        """Gives every list of objects that is known."""
        for layer in self.layers:
            for values in layer.values():
                yield from (value for value in values if _is_table(value))

    def texts(self) -> Iterator[str]:
        """Gives every text that is known."""
        for layer in self.layers:
            for values in layer.values():
                yield from (value for value in values if isinstance(value, str))


@dataclass(frozen=True)
class _Spot:
    """Where in the value we are; `number` counts from 1 within a list."""

    name: str
    facts: Facts
    path: tuple[str, ...] = ()
    number: int = 1
    refs: frozenset[str] = frozenset()

    def child(self, name: str, facts: Facts) -> _Spot:
        return replace(self, name=name, facts=facts, path=(*self.path, name))

    def item(self, number: int, facts: Facts) -> _Spot:
        name = "item" if self.name == "result" else _singular(self.name)
        return replace(self, name=name, facts=facts, number=number)


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Makes values for the parts of one schema.

    Attributes:
        root: The whole schema, which references point into.
        facts: What may be used where the name and the type fit.
        rows: A list from the inputs: a list result gets one item for each of its items.
        attempt: 0 at first; another number gives another value.
        complaint: What was said about the value made before.
        fills_optional: Whether a field that may be left out is filled although nothing is known about it.
    """

    root: Schema
    facts: Facts = Facts()
    rows: Sequence[Any] = ()
    attempt: int = 0
    complaint: str = ""
    fills_optional: bool = True

    def make(self, node: Schema, name: str) -> Any:
        """Gives a value for `node`, a part of the root.

        Raises:
            Unfillable: If none can be made.
        """
        return self._make(node, _Spot(name, self.facts))

    def _make(self, node: Schema | bool, spot: _Spot) -> Any:
        if isinstance(node, bool):
            node = {}
        node, spot = self._opened(node, spot)
        for value in self._offered(node, spot):
            return value
        if "const" in node:
            return node["const"]
        if "enum" in node:
            return self._one_of(node["enum"], spot)
        for value in self._suggested(node, spot):
            return value
        branches = [*node.get("anyOf", ()), *node.get("oneOf", ())]
        if isinstance(node.get("type"), list):
            branches = [{**node, "type": kind} for kind in node["type"]]
        return self._first_of(branches, spot) if branches else self._typed(node, spot)

    def _opened(self, node: Schema, spot: _Spot) -> tuple[Schema, _Spot]:
        """Follows references and joins `allOf`; a reference met on the way to itself has no end."""
        while "$ref" in node or "allOf" in node:
            parts = list(node.get("allOf", ()))
            if reference := node.get("$ref"):
                if reference in spot.refs:
                    raise _Endless(f"{reference} holds itself")
                spot = replace(spot, refs=spot.refs | {reference})
                parts.insert(0, definition(str(reference), self.root))
            node = _joined([*parts, {k: v for k, v in node.items() if k not in ("$ref", "allOf")}])
        return node, spot

    def _is_disputed(self, spot: _Spot) -> bool:
        """Whether the complaint is about this part, or names no part."""
        if not self.attempt:
            return False
        paths = [tuple(re.findall(r"[^.\[\]]+", path)) for path in _COMPLAINT.findall(self.complaint)]
        return not paths or any(
            spot.path[: len(path)] == path or _is_within(spot.path, path) for path in paths
        )

    def _shift(self, spot: _Spot) -> int:
        return spot.number - 1 + (self.attempt if self._is_disputed(spot) else 0)

    def _offered(self, node: Schema, spot: _Spot) -> Iterator[Any]:
        if self._is_disputed(spot):
            return
        for known in spot.facts.named(spot.name):
            yield from (
                form for form in _forms(known) if not _has_parts(form, node) and fits(form, node, self.root)
            )
        labels = [option for option in node.get("enum", ()) if isinstance(option, str) and option]
        for text in spot.facts.texts() if labels else ():
            yield from (label for label in labels if _mentions(text, label))

    def _suggested(self, node: Schema, spot: _Spot) -> Iterator[Any]:
        """The examples and the default of the schema, as far as they fit."""
        examples = [value for value in node.get("examples", ()) if fits(value, node, self.root)]
        if examples:
            yield examples[self._shift(spot) % len(examples)]
        if "default" in node and not self._is_disputed(spot) and fits(node["default"], node, self.root):
            yield node["default"]

    def _one_of(self, options: Sequence[Any], spot: _Spot) -> Any:
        return options[self._shift(spot) % len(options)]

    def _first_of(self, branches: Sequence[Schema], spot: _Spot) -> Any:
        """The first branch that a value can be made for; null comes last, for it says the least."""
        known = [value for value in spot.facts.named(spot.name) if isinstance(value, dict)]
        ordered = sorted(
            branches,
            key=lambda branch: (
                branch.get("type") == "null",
                not any(fits(value, branch, self.root) for value in known),
            ),
        )
        problem = Unfillable("no type is allowed")
        for branch in ordered:
            try:
                return self._make(branch, spot)
            except Unfillable as exc:
                problem = exc
        raise problem

    def _typed(self, node: Schema, spot: _Spot) -> Any:
        kind = node.get("type")
        if kind is None:
            kind = "object" if "properties" in node else "array" if "items" in node else "string"
        if kind == "object":
            return self._object(node, spot)
        if kind == "array":
            return self._array(node, spot)
        if kind in ("integer", "number"):
            return _number(node, kind, self._shift(spot), spot.name)
        if kind == "boolean":
            return bool(self._shift(spot) % 2)
        return None if kind == "null" else self._text(node, spot)

    # Objects and lists -------------------------------------------------------------------------------

    def _object(self, node: Schema, spot: _Spot) -> dict[str, Any]:
        own = next((value for value in spot.facts.named(spot.name) if isinstance(value, dict)), None)
        facts = spot.facts.nearer(own) if own else spot.facts
        required = node.get("required", ())
        made: dict[str, Any] = {}
        for name, part in node.get("properties", {}).items():
            is_wanted = name in required or self.fills_optional or any(True for _ in facts.named(name))
            try:
                if is_wanted:
                    made[name] = self._make(part, spot.child(name, facts))
            except Unfillable:
                if name in required:
                    raise
        if "properties" not in node or len(made) < node.get("minProperties", 0):
            made |= self._entries(node, spot, node.get("minProperties", 0) - len(made))
        return made

    def _entries(self, node: Schema, spot: _Spot, fewest: int) -> dict[str, Any]:
        """Entries of a dict: one, or as many as there must be."""
        patterns = node.get("patternProperties") or {}
        part = next(iter(patterns.values()), node.get("additionalProperties", True))
        if part is False:
            return {}
        names = {"type": "string", "pattern": next(iter(patterns))} if patterns else node.get("propertyNames")
        made: dict[str, Any] = {}
        for number in range(spot.number, spot.number + max(fewest, 1) * 3):
            try:
                key = self._key(names, replace(spot, name="key", number=number, facts=Facts()))
                made[key] = self._make(part, replace(spot.child(key, Facts()), name="value", number=number))
            except _Endless:
                if fewest > 0:
                    raise
                return {}
            if len(made) >= max(fewest, 1):
                return made
        raise Unfillable(f"{spot.name} needs {fewest} different keys")

    def _key(self, names: Schema | None, spot: _Spot) -> str:
        if names is not None:
            return str(self._make({"type": "string", **names} if "$ref" not in names else names, spot))
        if "[key]" in self.complaint:
            return str(spot.number)  # most kinds of keys can be read from a digit
        return "key" if spot.number == 1 else f"key {spot.number}"

    def _array(self, node: Schema, spot: _Spot) -> list[Any]:
        fewest, most = node.get("minItems", 0), node.get("maxItems")
        first, rest = (
            node.get("prefixItems", []),
            node.get("items", {} if "prefixItems" not in node else False),
        )
        made = [self._make(part, spot.item(index + 1, spot.facts)) for index, part in enumerate(first)]
        if rest is False or (first and len(made) >= fewest):
            return made
        if self._is_free_table(rest, spot):
            return self._table(node, spot)
        known = self._known_items(spot)
        count = min(
            max(fewest, len(known) or _PLACEHOLDER_ROWS), most if most is not None else MAX_ROWS + fewest
        )
        try:
            return self._items(node, rest, spot, known, (made, count, fewest))
        except _Endless:
            if fewest > len(made):
                raise
            return made

    def _is_free_table(self, part: Schema | bool, spot: _Spot) -> bool:
        """Whether the result is rows whose columns are left to the model, as of a plain DataFrame."""
        told = {"properties", "patternProperties", "propertyNames", "minProperties", "$ref", "allOf", "anyOf"}
        return (
            not spot.path
            and not isinstance(part, bool)
            and part.get("type") == "object"
            and part.get("additionalProperties", True) in (True, {})
            and not told & part.keys()
            and "[key]" not in self.complaint  # the keys are no texts
        )

    def _table(self, node: Schema, spot: _Spot) -> list[Any]:
        """The rows of a known table, or placeholders that all have the same columns."""
        fewest, most = node.get("minItems", 0), node.get("maxItems", MAX_ROWS)
        named = (value for value in spot.facts.named(spot.name) if _is_table(value))
        found = next((rows for rows in (*named, *spot.facts.tables()) if len(rows) >= fewest), None)
        if found and not self._is_disputed(spot):
            return list(found[: min(most, max(fewest, MAX_ROWS))])
        count = min(max(fewest, len(self._known_items(spot)) or _PLACEHOLDER_ROWS), most)
        spots = [replace(spot, name="value", number=number) for number in range(1, count + 1)]
        return [
            {column: self._make({}, value.child("value", Facts())) for column in _PLACEHOLDER_COLUMNS}
            for value in spots
        ]

    def _items(
        self,
        node: Schema,
        part: Schema | bool,
        spot: _Spot,
        known: Sequence[Any],
        plan: tuple[list[Any], int, int],
    ) -> list[Any]:
        made, count, fewest = plan
        is_set = bool(node.get("uniqueItems"))
        for number in range(1, count * (3 if is_set else 1) + 1):
            if len(made) >= count:
                break
            item = known[number - 1] if number <= len(known) else None
            value = self._make(part, spot.item(number, self._item_facts(item, part, spot)))
            if not (is_set and value in made):
                made.append(value)
        if len(made) < fewest:
            raise Unfillable(f"{spot.name} needs {fewest} different items, and {len(made)} could be made")
        return made

    def _known_items(self, spot: _Spot) -> Sequence[Any]:
        found = next(
            (value for value in spot.facts.named(spot.name) if isinstance(value, list) and value), None
        )
        return (found if found is not None else self.rows if not spot.path else [])[:MAX_ROWS]

    def _item_facts(self, item: Any, part: Schema | bool, spot: _Spot) -> Facts:
        """What is known about one item: the fields of an object, or the field that a plain value stands for."""
        if isinstance(item, dict):
            return spot.facts.nearer({**item, spot.item(1, Facts()).name: item})
        if item is None or isinstance(part, bool):
            return spot.facts
        opened, _ = self._opened(part, replace(spot, refs=frozenset()))
        fields = opened.get("properties", {})
        if fields:
            plain = {plain_name(name): name for name in fields}
            leading = next((plain[name] for name in _LEADING if name in plain), next(iter(fields)))
            return spot.facts.nearer({leading: item})
        is_input = any(item is row for row in self.rows)  # an input handed back as a result would mislead
        return spot.facts if is_input else spot.facts.nearer({spot.item(1, Facts()).name: item})

    # Texts -------------------------------------------------------------------------------------------

    def _text(self, node: Schema, spot: _Spot) -> str:
        shift = self._shift(spot)
        fewest, most = node.get("minLength", 0), node.get("maxLength")
        if node.get("contentMediaType") == "application/json":
            return json.dumps(self._make(node.get("contentSchema", {}), spot))
        if kind := node.get("format"):
            text = formatted_text(kind, shift, self.complaint if self._is_disputed(spot) else "")
            if text is not None:
                return text
        if pattern := node.get("pattern"):
            found = matching_text(pattern, min_length=fewest, max_length=most, shift=shift)
            if found is None:
                raise Unfillable(f"no text could be made for the pattern {pattern!r} of {spot.name!r}")
            return found
        text = f"<{spot.name.replace('_', ' ')}{f' {shift + 1}' if shift else ''}>"
        if most is not None and len(text) > most:
            text = (
                (text.strip("<>")[: max(0, most - len(str(shift)))] + str(shift))[:most]
                if shift
                else text[1:]
            )
            text = text[:most]
        return text.ljust(fewest, "_")


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) and row for row in value)


def _is_within(path: tuple[str, ...], complaint: tuple[str, ...]) -> bool:
    """Whether `path` leads to where the complaint is; a complaint also names the branches of unions."""
    steps = iter(complaint)
    return all(part in steps for part in path)


def _joined(parts: Sequence[Schema]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            if key == "properties":
                made[key] = {**made.get(key, {}), **value}
            elif key in ("required", "allOf"):
                made[key] = [*made.get(key, ()), *value]
            else:
                made[key] = value
    return made


def _has_parts(value: Any, node: Schema) -> bool:
    """Whether `value` is filled in part by part instead, since other facts may know more of its parts."""
    if isinstance(value, list):
        return any(isinstance(item, dict) for item in value)
    return isinstance(value, dict) and bool(node.keys() & {"properties", "anyOf", "oneOf"})


def _forms(known: Any) -> Iterator[Any]:
    """What is known, and other ways to write it: `"42"` as a number, 42 as a text, `yes` as a truth value."""
    yield known
    if isinstance(known, (int, float)):
        yield str(known).lower() if isinstance(known, bool) else str(known)
    elif isinstance(known, str):
        text = known.strip()
        if text.casefold() in _YES:
            yield _YES[text.casefold()]
        try:
            yield json.loads(text)
        except (ValueError, RecursionError):
            return


def _mentions(text: str, label: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(label)}(?!\w)", text[:10_000], re.IGNORECASE) is not None


def _singular(name: str) -> str:
    if name.endswith("ies") and len(name) > 4:
        return name[:-3] + "y"
    return name[:-1] if name.endswith("s") and not name.endswith("ss") and len(name) > 3 else name


def _number(node: Schema, kind: str, shift: int, name: str) -> int | float:
    """The number nearest to 0 that keeps the bounds and the step; `shift` steps further on."""
    step = Decimal(str(node.get("multipleOf", 1)))
    low = max((Decimal(str(node[k])) for k in ("minimum", "exclusiveMinimum") if k in node), default=None)
    high = min((Decimal(str(node[k])) for k in ("maximum", "exclusiveMaximum") if k in node), default=None)
    candidates = [Decimal(0)]
    if low is not None:
        first = (low / step).to_integral_value(ROUND_CEILING) * step
        candidates += [first, first + step]
    if high is not None:
        last = (high / step).to_integral_value(ROUND_FLOOR) * step
        candidates += [last, last - step]
    if low is not None and high is not None and kind == "number" and "multipleOf" not in node:
        candidates.append((low + high) / 2)
    starts = [value for value in candidates if number_fits(value, node)]
    for value in [
        *(value + sign * shift * step for value in starts for sign in (1, -1)),
        *(_between(low, high, shift) if kind == "number" and "multipleOf" not in node else ()),
        *starts,
    ]:
        if number_fits(value, node):
            return int(value) if value == value.to_integral_value() else float(value)
    raise Unfillable(f"no number is within the bounds of {name!r}")


def _between(low: Decimal | None, high: Decimal | None, shift: int) -> list[Decimal]:
    return [] if low is None or high is None else [low + (high - low) / (shift + 2)]

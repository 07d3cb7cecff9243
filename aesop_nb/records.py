"""How a type and a value look as a row: their fields, in order, with annotations; no pandas here."""

from __future__ import annotations

import dataclasses
import enum
import functools
import keyword
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeGuard, Union

import pydantic
from typing_extensions import get_type_hints, is_typeddict

from .texts import clean_text

_LISTS = (list, set, frozenset, tuple)


def bare(annotation: Any) -> Any:
    """Gives `annotation` without `Annotated`, `NewType`, `type` aliases and root models around it."""
    while True:
        if typing.get_origin(annotation) is Annotated:
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        elif isinstance(annotation, type) and issubclass(annotation, pydantic.RootModel):
            annotation = annotation.model_fields["root"].annotation
        else:
            return annotation


def members(annotation: Any) -> list[Any]:
    """Gives the bare members of a union without `None`, or the annotation as the only one."""
    annotation = bare(annotation)
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return [member for part in typing.get_args(annotation) for member in members(part)]
    return [] if annotation in (None, types.NoneType) else [annotation]


def record_types(annotation: Any) -> list[Any]:
    """Gives the members of `annotation` if all of them have named fields, else an empty list."""
    found = members(annotation)
    return found if all(_is_record_type(member) for member in found) else []


def is_mapping(annotation: Any) -> bool:
    """Whether `annotation` is `dict` or another mapping without declared fields."""
    cls = typing.get_origin(annotation) or annotation
    return isinstance(cls, type) and issubclass(cls, Mapping) and not is_typeddict(cls)


def mapped(annotation: Any) -> Any:
    """Gives the annotation of the values of a mapping."""
    arguments = typing.get_args(annotation)
    return arguments[1] if len(arguments) == 2 else Any


def is_list(annotation: Any) -> bool:
    """Whether `annotation` stands for a collection: a list, tuple, set or sequence, but not a text."""
    cls = typing.get_origin(annotation) or annotation
    if not isinstance(cls, type) or issubclass(cls, (str, bytes, bytearray, Mapping)) or _is_record_type(cls):
        return False
    return issubclass(cls, _LISTS) or cls in (Collection, Sequence)


def listed(annotation: Any) -> Any:
    """Gives the annotation of the items of a collection."""
    arguments = tuple(part for part in typing.get_args(annotation) if part is not Ellipsis)
    return Union[arguments] if arguments else Any  # noqa: UP007  the parts are known at run time only


def items(value: Any) -> list[Any]:
    """Gives the items of a collection, those of a set in a stable order; `None` has none."""
    if value is None:
        return []
    if not isinstance(value, (set, frozenset)):
        return list(value)
    try:
        return sorted(value)
    except TypeError:
        return sorted(value, key=repr)


def fields(record: Any) -> dict[str, Any]:
    """Gives name → annotation of a model, dataclass, `TypedDict` or `NamedTuple` class."""
    cls = typing.get_origin(record) or record
    if issubclass(cls, pydantic.BaseModel):
        declared = {n: f.annotation for n, f in cls.model_fields.items() if not f.exclude}
        return declared | {n: f.return_type for n, f in cls.model_computed_fields.items()}
    try:
        hints = get_type_hints(cls)
    except NameError:  # a forward reference to something local to a function
        hints = {}
    if dataclasses.is_dataclass(cls):
        return {field.name: hints.get(field.name, Any) for field in dataclasses.fields(cls)}
    names = getattr(cls, "_fields", None) or hints
    return {name: hints.get(name, Any) for name in names}


def merged_fields(records: Sequence[Any]) -> dict[str, Any]:
    """Gives the fields of several classes as one row has them; a name they share gets the union."""
    merged: dict[str, Any] = {}
    for record in records:
        for name, annotation in fields(record).items():
            known = merged.get(name, annotation)
            merged[name] = annotation if known == annotation else Union[known, annotation]  # noqa: UP007
    return merged


def titles(records: Sequence[Any]) -> dict[str, str]:
    """Gives name → title of the fields that carry, as an alias, a title Python cannot use as a name."""
    return {
        name: field.alias
        for cls in _classes(records)
        if issubclass(cls, pydantic.BaseModel)
        for name, field in cls.model_fields.items()
        if field.alias and not _is_field_name(field.alias)
    }


def _classes(records: Sequence[Any]) -> list[type]:
    return [typing.get_origin(record) or record for record in records]


def _is_field_name(name: str) -> bool:
    return (
        name.isidentifier()
        and not keyword.iskeyword(name)
        and not name.startswith(("_", "model_"))
        and not hasattr(pydantic.BaseModel, name)
    )


def unwrap(value: Any) -> Any:
    """Gives what is inside a root model; anything else as it is."""
    while isinstance(value, pydantic.RootModel):
        value = value.root
    return value


def is_record(value: Any) -> bool:
    """Whether `value` has named fields."""
    cls: Any = type(value)
    return _is_record_class(cls)


@functools.lru_cache(maxsize=256)
def _is_record_class(cls: Any) -> bool:
    return issubclass(cls, Mapping) or _is_record_type(cls)


def get(record: Any, name: Any) -> Any:
    """Gives one field of a record; `None` where it has none of that name."""
    if isinstance(record, dict) or isinstance(record, Mapping):  # noqa: SIM101  the first is ten times faster
        return unwrap(record.get(name))
    return unwrap(getattr(record, name, None)) if isinstance(name, str) else None


def names(rows: Iterable[Any]) -> list[Any]:
    """Gives the names that records have themselves, which may be more than their type declares.

    In the order in which they are first seen; a row that is `None` has none.
    """
    found: dict[Any, None] = {}
    seen: set[type] = {type(None)}
    for row in rows:
        cls = type(row)
        if issubclass(cls, dict) or isinstance(row, Mapping):
            found.update(dict.fromkeys(row))
            continue
        if cls not in seen:
            seen.add(cls)
            found.update(dict.fromkeys(fields(cls)))
        if issubclass(cls, pydantic.BaseModel) and row.model_extra:
            found.update(dict.fromkeys(row.model_extra))
    return list(found)


def enum_value(value: Any) -> Any:
    """Gives the value of an enum member; anything else as it is."""
    return value.value if isinstance(value, enum.Enum) else value


def plain(value: Any) -> Any:
    """Gives `value` as dicts and lists that need none of its classes; sets become sorted lists.

    Enum members give their values. Objects of other kinds (Decimal, date, UUID) stay as they are.
    """
    return _plain(value, frozenset())


def _plain(value: Any, above: frozenset[int]) -> Any:
    value = unwrap(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, str):
        return clean_text(value)
    if not (is_record(value) or isinstance(value, _LISTS)):
        return value
    if id(value) in above:
        return "…"  # the object holds itself
    above = above | {id(value)}
    if is_record(value):
        return {_key(name): _plain(get(value, name), above) for name in names([value])}
    parts = [_plain(item, above) for item in items(value)]
    return tuple(parts) if isinstance(value, tuple) else parts


def _key(name: Any) -> Any:
    return clean_text(name) if isinstance(name, str) else name


def _is_record_type(annotation: Any) -> TypeGuard[type]:
    cls = typing.get_origin(annotation) or annotation
    if not isinstance(cls, type):
        return False
    if issubclass(cls, pydantic.BaseModel):
        return not issubclass(cls, pydantic.RootModel)
    return (
        dataclasses.is_dataclass(cls)
        or is_typeddict(cls)
        or (issubclass(cls, tuple) and hasattr(cls, "_fields"))
    )

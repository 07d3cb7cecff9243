"""The rows of whatever a map is given, drawn a few at a time and never all at once."""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from ..errors import UsageError
from ..texts import nearest, one_line
from ..values import is_frame
from .cells import cell

if TYPE_CHECKING:
    import pandas as pd

Row: TypeAlias = tuple[Any, ...]
"""The cells of the columns that were asked for, in that order."""


class Rows(Protocol):
    """Rows to be drawn once.

    Attributes:
        names: The columns; `None` where each row is one value.
        value_name: What a single value is called, as a Series has a name.
        length: How many rows there are; `None` where that is not known.
        is_slow: Whether drawing may take time, so that it is done in a thread.
    """

    names: tuple[Hashable, ...] | None
    value_name: str
    length: int | None
    is_slow: bool

    def want(self, columns: Sequence[Hashable]) -> None:
        """Says which columns the rows are to have."""
        ...

    def draw(self, count: int) -> list[Row]:
        """Gives the next rows; fewer than asked for at the end."""
        ...

    def index(self, drawn: int) -> pd.Index[Any]:
        """Gives the index of the first so many rows."""
        ...

    def label(self, position: int) -> str:
        """Names a row for a person."""
        ...


def rows_of(data: Any, *, limit: int | None = None, sample: int | None = None) -> Rows:
    """Gives the rows of a DataFrame, a Series, or an iterable of dicts or of values.

    Args:
        data: What was given; it is not changed, and changes to it afterwards do not count.
        limit: The first so many rows only.
        sample: So many rows only, picked at random but always the same, in their order.

    Raises:
        UsageError: If these are no rows.
    """
    if limit is not None and sample is not None:
        raise UsageError("limit= and sample= exclude one another.")
    if is_frame(data):
        return FrameRows(data, limit, sample)
    if isinstance(data, (str, bytes, Mapping)) or not isinstance(data, Iterable):
        raise UsageError(
            f"{one_line(repr(data), 80)} is no table: give a DataFrame, a Series, or a list of dicts or of values."
        )
    return ListRows(data, limit, sample)


def picked(length: int, limit: int | None, sample: int | None) -> Sequence[int]:
    """Gives the positions of the rows that are wanted."""
    if sample is not None and sample < length:
        return sorted(random.Random(0).sample(range(length), sample))  # noqa: S311
    return range(length if limit is None else min(limit, length))


class FrameRows:
    """The rows of a DataFrame or a Series."""

    is_slow = False

    def __init__(self, data: Any, limit: int | None, sample: int | None) -> None:
        chosen = picked(len(data), limit, sample)
        taken = data if len(chosen) == len(data) else data.iloc[list(chosen)]
        self.length: int | None = len(chosen)
        self.names: tuple[Hashable, ...] | None = None if data.ndim == 1 else tuple(data.columns)
        self.value_name = str(data.name) if data.ndim == 1 and data.name is not None else "value"
        self._columns: list[Any] = []
        self._data = taken
        self._index: pd.Index[Any] = taken.index.copy()
        self._at = 0

    def want(self, columns: Sequence[Hashable]) -> None:
        """Says which columns the rows are to have."""
        data = self._data
        if self.names is None:
            self._columns = [_own(data)] * len(columns)
        else:
            self._columns = [_own(data.iloc[:, self.names.index(name)]) for name in columns]
        del self._data

    def draw(self, count: int) -> list[Row]:
        """Gives the next rows; fewer than asked for at the end."""
        begin, self._at = self._at, min(len(self._index), self._at + count)
        if not self._columns:
            return [()] * (self._at - begin)
        cells = [map(cell, column.iloc[begin : self._at].tolist()) for column in self._columns]
        return list(zip(*cells, strict=True))

    def index(self, drawn: int) -> pd.Index[Any]:
        """Gives the index of the first so many rows; that of the frame, whatever it holds."""
        return self._index

    def label(self, position: int) -> str:
        """Names a row by its label in the index."""
        return one_line(str(self._index[position]), 80)


def _own(column: Any) -> Any:
    """Gives a column that later changes of the frame do not reach; pandas 3 copies only when something changes."""
    return column.copy(deep=int(sys.modules["pandas"].__version__.split(".")[0]) < 3)


class ListRows:
    """The items of an iterable: dicts, whose keys are the columns, or values."""

    def __init__(self, data: Iterable[Any], limit: int | None, sample: int | None) -> None:
        self.length: int | None = len(data) if isinstance(data, Sized) else None
        self.is_slow = not isinstance(data, (list, tuple, range))
        self.value_name = "value"
        self._positions: Sequence[int] | None = None
        items = iter(data)
        if self.length is not None:
            self._positions = picked(self.length, limit, sample)
            items = _at(items, self._positions) if sample is not None else itertools.islice(items, limit)
            self.length = len(self._positions)
        elif sample is not None:
            raise UsageError("sample= needs data whose length is known, as that of a list is.")
        elif limit is not None:
            items = itertools.islice(items, limit)
        first = list(itertools.islice(items, 1))
        self._items = itertools.chain(first, items)
        self.names: tuple[Hashable, ...] | None = (
            tuple(first[0]) if first and isinstance(first[0], Mapping) else None
        )
        self._columns: Sequence[Hashable] = ()

    def want(self, columns: Sequence[Hashable]) -> None:
        """Says which columns the rows are to have."""
        self._columns = columns

    def draw(self, count: int) -> list[Row]:
        """Gives the next rows; fewer than asked for at the end.

        Raises:
            UsageError: If an item is no dict where the first one was, or lacks a key.
        """
        return [self._row(item) for item in itertools.islice(self._items, count)]

    def _row(self, item: Any) -> Row:
        if self.names is None:
            return tuple(cell(item) for _ in self._columns)
        if not isinstance(item, Mapping):
            raise UsageError(f"All rows must be dicts, as the first one is, not {one_line(repr(item), 80)}.")
        for name in self._columns:
            if name not in item:
                raise UsageError(f"A row has no {name!r}.{nearest(str(name), map(str, item))}")
        return tuple(cell(item[name]) for name in self._columns)

    def index(self, drawn: int) -> pd.Index[Any]:
        """Gives the positions of the rows in the data."""
        import pandas as pd

        if self._positions is None or isinstance(self._positions, range):
            return pd.RangeIndex(drawn if self.length is None else self.length)
        return pd.Index(self._positions)

    def label(self, position: int) -> str:
        """Names a row by its position in the data."""
        return str(position if self._positions is None else self._positions[position])


def _at(items: Iterator[Any], positions: Sequence[int]) -> Iterator[Any]:
    wanted = set(positions)
    return (item for place, item in enumerate(items) if place in wanted)

"""Gives pandas its `df.aesop`, whether it is imported before this package, after it, or never."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def register_when_pandas_is_there() -> None:
    """Registers the accessors now if pandas is loaded, else at the end of its import; imports nothing for it."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and hasattr(pandas, "Series"):
        _register(pandas)
    elif not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())


def _register(pandas: Any) -> None:
    for kind, owner in (("dataframe", pandas.DataFrame), ("series", pandas.Series)):
        if "aesop" not in vars(owner):
            register = getattr(pandas.api.extensions, f"register_{kind}_accessor")
            register("aesop")(_frame_accessor if kind == "dataframe" else _series_accessor)


def _frame_accessor(data: Any) -> Any:
    from .accessor import FrameAccessor

    return FrameAccessor(data)


def _series_accessor(data: Any) -> Any:
    from .accessor import SeriesAccessor

    return SeriesAccessor(data)


class _Watch:
    """Finds pandas as all others do, and has the accessors registered once it is loaded.

    An import hook, since `from aesop_nb import task` stands above `import pandas` where imports are sorted.
    """

    def __init__(self) -> None:
        self._is_looking = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Gives what the other finders give for pandas, and nothing for all else."""
        if name != "pandas" or self._is_looking:
            return None
        self._is_looking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._is_looking = False
        loader: Any = spec.loader if spec is not None else None
        if loader is None:
            return spec
        load = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            _register(module)

        loader.exec_module = exec_module
        return spec

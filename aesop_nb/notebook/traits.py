"""`%config AesopMagics`: every field of `settings` as a trait that reads and writes it."""

from __future__ import annotations

import inspect
import types
import typing
from typing import Any

import docstring_parser
import traitlets

from ..config import Settings, settings
from ..errors import UsageError


class _OfSettings(traitlets.TraitType[Any, Any]):
    """A trait without a value of its own."""

    def get(self, obj: Any, cls: Any = None) -> Any:
        return getattr(settings, str(self.name))

    def set(self, obj: Any, value: Any) -> None:
        """Raises our own error, which says what fits, in the place of traitlets'."""
        try:
            setattr(settings, str(self.name), value)
        except UsageError as exc:
            raise traitlets.TraitError(str(exc)) from None


class Bool(_OfSettings, traitlets.Bool[Any, Any]):
    """Shown by `%config` as `<Bool>`."""


class Float(_OfSettings, traitlets.Float[Any, Any]):
    """Shown by `%config` as `<Float>`."""


class Unicode(_OfSettings, traitlets.Unicode[Any, Any]):
    """Shown by `%config` as `<Unicode>`."""


_KINDS = {bool: Bool, float: Float, int: Float}


def settings_traits() -> dict[str, traitlets.TraitType[Any, Any]]:
    """Gives a trait for each setting, by name, with the sentence that `Settings` has for it as its help."""
    texts = {
        param.arg_name: param.description or ""
        for param in docstring_parser.parse(inspect.getdoc(Settings) or "").params
    }
    return {
        name: _kind(info.annotation)(
            default_value=info.get_default(), allow_none=True, help=texts[name].replace("`", "")
        ).tag(config=True)
        for name, info in Settings.model_fields.items()
    }


def _kind(annotation: Any) -> type[_OfSettings]:
    is_union = isinstance(annotation, types.UnionType)
    kinds = typing.get_args(annotation) if is_union else (annotation,)
    return _KINDS.get(kinds[0], Unicode)

"""Which model answers: the one that was named, the configured one, or the rehearsal."""

from __future__ import annotations

import os
from functools import lru_cache

from ..config import settings
from ..errors import ModelNotConfigured, UsageError
from .openai_model import OpenAIModel
from .rehearsal import RehearsalModel
from .transcript import Model

DEFAULT_OPENAI_MODEL = "gpt-5-mini"
"""Used where there is a key of OpenAI's and no model is named."""

HOW_TO_CONNECT = (
    "set OPENAI_API_KEY, or OPENAI_BASE_URL and AESOP_MODEL for a local or other OpenAI-compatible server, "
    "or aesop_nb.settings.model"
)


def choose_model(model: Model | str | None = None) -> Model:
    """Gives the model to use where `model` was named, or `None`.

    The order is: the argument, `settings.model`, `AESOP_MODEL`, OpenAI's own variables, the rehearsal.

    Raises:
        ModelNotConfigured: If a named model has no key or address, or a model is required and none is named.
        UsageError: If `model` is something else.
    """
    name = model or settings.model or os.environ.get("AESOP_MODEL") or None
    if isinstance(name, str):
        return _named(name)
    if isinstance(name, Model):
        return name
    if name is not None:
        raise UsageError(f"model must be a name or an object with `reply`, not {name!r}.")
    if _base_url() is not None:
        raise ModelNotConfigured(
            "OPENAI_BASE_URL is set but no model is named. Set AESOP_MODEL or aesop_nb.settings.model to a "
            "model that this server offers."
        )
    if os.environ.get("OPENAI_API_KEY"):
        return _named(DEFAULT_OPENAI_MODEL)
    if _is_required():
        raise ModelNotConfigured(f"A model is required (require_model) and none is named: {HOW_TO_CONNECT}.")
    return _rehearsal()


def _named(name: str) -> Model:
    if name == "rehearsal":
        if _is_required():
            raise ModelNotConfigured(
                f"A real model is required (require_model), not a rehearsal: {HOW_TO_CONNECT}."
            )
        return _rehearsal()
    base_url, key = _base_url(), os.environ.get("OPENAI_API_KEY")
    if base_url is None and not key:
        raise ModelNotConfigured(f"Model {name!r} needs a key: {HOW_TO_CONNECT}.")
    return _openai(name, base_url, settings.api, hash(key))


def _is_required() -> bool:
    """Whether a rehearsal is forbidden, also by a variable that was set after the import.

    A word that is not understood forbids it: of two mistakes, made-up results are the worse one.
    """
    told = os.environ.get("AESOP_REQUIRE_MODEL", "").strip().lower()
    return settings.require_model or told not in ("", "0", "false", "f", "no", "n", "off")


def _base_url() -> str | None:
    return settings.base_url or os.environ.get("OPENAI_BASE_URL") or None


@lru_cache(maxsize=64)
def _openai(name: str, base_url: str | None, api: str, key_hash: int) -> Model:
    """One model object per name, service and key, so that it keeps what it learned of the service."""
    return OpenAIModel(name, base_url=base_url, api=api)


@lru_cache(maxsize=1)
def _rehearsal() -> Model:
    return RehearsalModel()

"""What replies cost, by the prices that the installed `genai-prices` holds; the only door to it.

Nothing is looked up on the network. What has no known price has none: an unknown cost is never 0.
"""

from __future__ import annotations

import importlib
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .errors import UsageError
from .events import Usage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from .models.transcript import Model, Reply

_NOT_FOR_SALE = ("localhost", "127.", "0.0.0.0", "::1", "host.docker.internal")  # noqa: S104  names to know, not to listen at


def priced(reply: Reply, model: Model) -> Usage:
    """Gives the usage of a reply of `model` with its cost in US dollars, where its price is known.

    A cost that the model has filled in itself stays. A service may answer with the exact version of the model
    that was asked for; that one's price counts if it has one.
    """
    usage = reply.usage
    if usage.cost_usd is not None or not usage.total_tokens:
        return usage
    base_url = _shop(model)
    if base_url is None:
        return usage
    for name in dict.fromkeys((reply.model, model.name)):
        cost = _cost(usage, name, base_url)
        if cost is not None:
            return usage.model_copy(update={"cost_usd": cost})
    return usage


def prepare(models: Collection[Model], max_cost_usd: float | None = None) -> None:
    """Loads the list of prices in a thread of its own if one of `models` may have a price.

    Loading takes half a second, and the first reply should find it done.

    Raises:
        UsageError: If there is a limit of cost, and it cannot be kept.
    """
    if max_cost_usd is not None:
        _refuse_unpriced(models, max_cost_usd)
    if not _loading and any(_shop(model) for model in models):
        _loading.append(threading.Thread(target=_load, name="aesop-prices", daemon=True))
        _loading[0].start()


def _shop(model: Model) -> str | None:
    """The address of the service that would send the bill; `None` for a model on this machine or without one."""
    base_url = getattr(model, "base_url", None)
    if not isinstance(base_url, str) or model.is_rehearsal:
        return None
    return base_url if _is_for_sale(base_url) else None


@lru_cache(maxsize=256)
def _is_for_sale(base_url: str) -> bool:
    try:
        host = urlsplit(base_url).hostname or ""
    except ValueError:
        return False
    return bool(host) and not host.startswith(_NOT_FOR_SALE)


@lru_cache(maxsize=256)
def _is_known(name: str, base_url: str) -> bool:
    return _cost(Usage(requests=1, input_tokens=1, output_tokens=1), name, base_url) is not None


def _cost(usage: Usage, name: str, base_url: str) -> float | None:
    library = _library()
    if library is None:
        return None
    counted: dict[str, int] = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    if usage.cached_tokens:
        counted["cache_read_tokens"] = min(usage.cached_tokens, usage.input_tokens)
    try:
        found = library.calc_price(library.Usage(**counted), name, provider_api_url=base_url)
    except (LookupError, ValueError):
        return None
    return float(found.total_price)


def _refuse_unpriced(models: Iterable[Model], limit: float) -> None:
    unpriced = ", ".join(dict.fromkeys(model.name for model in models if not _has_price(model)))
    if unpriced:
        advice = "" if _library() else " Prices come with pip install 'aesop_nb[cost]'."
        raise UsageError(
            f"max_cost_usd={limit:g} cannot be kept: no price is known for {unpriced}.{advice} "
            "Use max_tokens instead."
        )


def _has_price(model: Model) -> bool:
    base_url = _shop(model)
    return base_url is not None and _is_known(model.name, base_url)


_loading: list[threading.Thread] = []


def _load() -> None:
    _is_known("gpt-5-mini", "https://api.openai.com/v1")  # the first question reads the whole list


@lru_cache(maxsize=1)
def _library() -> Any:
    """The list of prices, or `None` where the extra is not installed."""
    try:
        return importlib.import_module("genai_prices")
    except ImportError:
        return None

"""What a service's failures become: errors that say what happened, what to check and whether to try again."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from ..errors import ModelError, ModelRefused, ModelReplyInvalid, ModelUnavailable, UsageError
from ..texts import one_line
from .keys import KEY_VARIABLE, Key

SHOWN_CHARACTERS = 200
"""How much of what a service sent an error may show."""

QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_TRANSIENT = frozenset({408, 409, 425, 429})
_USED_HEADERS = ("retry-after", "retry-after-ms", "location", "x-request-id", "apim-request-id")
_OPENAI_HOSTS = ("openai.com", "openai.azure.com", "cognitiveservices.azure.com", "services.ai.azure.com")
_CHECK_KEY = f"Check {KEY_VARIABLE}, or api_key= of the model."
_CHECK_URL = "Check base_url (AESOP_BASE_URL or OPENAI_BASE_URL; most end in /v1)"


@lru_cache(maxsize=256)
def _is_openai(base_url: str) -> bool:
    name = (urlsplit(base_url).hostname or "").rstrip(".")
    return any(name == host or name.endswith("." + host) for host in _OPENAI_HOSTS)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go: a base URL and the key that belongs to it.

    Raises:
        UsageError: If the URL is not a plain `http` or `https` one.
    """

    base_url: str
    key: Key

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.base_url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if usable and ("@" in parts.netloc or parts.query or parts.fragment):
            raise UsageError(
                "base_url may hold no user name, password, query or fragment; give the key as api_key=."
            )
        if not usable:
            raise UsageError(
                f"base_url={self.base_url!r} is not an http or https address, such as 'http://localhost:11434/v1'."
            )

    @property
    def host(self) -> str:
        """The host, with its port if one is written."""
        return urlsplit(self.base_url).netloc

    @property
    def is_openai(self) -> bool:
        """Whether OpenAI or Azure is asked, and not somebody who speaks like them."""
        return _is_openai(self.base_url)

    def shown(self, text: str) -> str:
        """Gives a service's text as an error may show it: one line, escaped, short, without keys."""
        return one_line(self.key.mask_all(text[: SHOWN_CHARACTERS * 8]), SHOWN_CHARACTERS)


@dataclass(frozen=True, slots=True)
class Rejection:
    """An HTTP answer with a status that is no success."""

    status: int
    headers: Mapping[str, str]
    message: str
    code: str

    @classmethod
    def read(cls, status: int, headers: Mapping[str, str], body: bytes, key: Key) -> Rejection:
        """Finds the message and the code in the forms that services use for errors; `key` is masked in all."""
        kept = {name: key.mask(headers[name]) for name in _USED_HEADERS if name in headers}
        text = key.mask(body.decode("utf-8", "replace"))
        try:
            content: Any = json.loads(text)
        except (ValueError, RecursionError):
            return cls(status, kept, text, "")
        message, code = error_in(content)
        return cls(status, kept, message or text, code)


def error_in(content: Any) -> tuple[str, str]:
    """Gives the message and the code of an error body; both are empty if it is none."""
    if isinstance(content, list) and content:
        content = content[0]
    if not isinstance(content, dict):
        return "", ""
    error = content.get("error") or content.get("message") or content.get("detail")
    if not isinstance(error, dict):
        return ("" if error is None else _text(error)), ""
    code = error.get("code") or error.get("type")
    message = error.get("message")
    return _text(message if message is not None else error), ("" if code is None else _text(code))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def error_from(rejection: Rejection, endpoint: Endpoint, model: str) -> ModelError:
    """Gives the error for an answer with a status that is no success."""
    status, host = rejection.status, endpoint.host
    kind: type[ModelError] = ModelRefused
    retryable, says, advice = False, f"{host} rejected the request", ""
    if status < 400:
        location = endpoint.shown(rejection.headers.get("location", "")) or "nowhere"
        kind = ModelReplyInvalid
        says = f"{host} redirects to {location!r}, which is not followed: the key stays with its service"
        advice = f"{_CHECK_URL}."
    elif status == 402 or rejection.code in QUOTA_CODES:
        says, advice = f"The account at {host} has no quota left", "Check its plan and billing."
    elif status == 401:
        says, advice = f"{host} did not accept the API key", _CHECK_KEY
    elif status == 403:
        says, advice = f"{host} does not allow this with this API key", _CHECK_KEY
    elif status == 404:
        says = f"{host} does not know the model {model!r} or the address"
        advice = f"Check the model's name, and {_CHECK_URL[0].lower()}{_CHECK_URL[1:]}."
    elif status in _TRANSIENT or status >= 500:
        kind, retryable = ModelUnavailable, True
        says = f"{host} is asked too often" if status == 429 else f"{host} failed"
    request_id = _request_id(rejection, endpoint)
    return kind(
        _sentence(says, rejection, endpoint, request_id, advice),
        retryable=retryable,
        retry_after_seconds=retry_after(rejection.headers) if retryable else None,
        status_code=status,
        request_id=request_id,
    )


def _sentence(
    says: str, rejection: Rejection, endpoint: Endpoint, request_id: str | None, advice: str
) -> str:
    told = endpoint.shown(rejection.message).rstrip(".")
    if rejection.status < 400 or told.lower().startswith(("<!doctype", "<html")):
        told = ""  # a page for people; the status says more
    number = f"{rejection.status} {endpoint.shown(rejection.code)}".rstrip()
    request = f", request {request_id}" if request_id else ""
    return " ".join(filter(None, [f"{says} ({number}{request})" + (f": {told}." if told else "."), advice]))


def _request_id(rejection: Rejection, endpoint: Endpoint) -> str | None:
    found = rejection.headers.get("x-request-id") or rejection.headers.get("apim-request-id")
    return one_line(found, SHOWN_CHARACTERS) if found else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Gives the seconds that a service asks us to wait, or `None`; it may write milliseconds or a date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            seconds = _seconds_until(value)
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return None


def _seconds_until(date: str) -> float:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return math.nan


def unreachable(endpoint: Endpoint, cause: BaseException) -> ModelUnavailable:
    """Gives the error for a connection that could not be made or that broke off."""
    root = cause
    while root.__cause__ is not None:
        root = root.__cause__
    name, told = type(root).__name__, endpoint.shown(str(root) or str(cause))
    advice = f" {_CHECK_URL}, and whether the service runs." if name.startswith("Connect") else ""
    return ModelUnavailable(
        f"The connection to {endpoint.host} failed ({name}{': ' if told else ''}{told}).{advice}",
        retryable=True,
    )


def silent(endpoint: Endpoint, idle_seconds: float) -> ModelUnavailable:
    """Gives the error for a service that sent nothing for too long."""
    return ModelUnavailable(
        f"{endpoint.host} sent no data for {idle_seconds:g} seconds. "
        "settings.idle_timeout_seconds (AESOP_IDLE_TIMEOUT_SECONDS) sets how long to wait.",
        retryable=True,
    )

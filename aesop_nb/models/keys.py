"""Keys of model services: held so that no repr, log, pickle or traceback shows them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from ..errors import UsageError

KEY_VARIABLE = "OPENAI_API_KEY"

_MASK = "[key]"
_SHORTEST_MASKED = 8  # a shorter word is no key, and blanking it would blank ordinary text
_KEY_SHAPED = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|hf|nvapi|pplx|key)[-_][\w*•….\-]{6,}"  # OpenAI and those that follow it
    r"|\bAIza[\w\-]{10,}"  # Google
    r"|\beyJ[\w\-]{8,}\.[\w\-.]+"  # JSON web tokens
    r"|(?<=[Bb]earer )[^\s'\",;]+"
    r"|\b[0-9a-fA-F]{32,}\b",  # Azure
)


class Key:
    """A key, or the lack of one; `repr` says "set" or "not set" and nothing else.

    It is equal to another `Key` with the same value. A pickle of it does not hold the key:
    the process that reads the pickle takes its own `OPENAI_API_KEY`.

    Raises:
        UsageError: If it holds characters that cannot be sent in a header.
    """

    __slots__ = ("_reveal",)

    def __init__(self, value: str | None) -> None:
        value = (value or "").strip()
        if not (value.isascii() and value.isprintable()) or " " in value:
            value = ""  # a traceback with variables shows this one too
            raise UsageError(
                f"The API key holds spaces or characters that no key has. Check api_key= or {KEY_VARIABLE}."
            )
        # A closure instead of an attribute: `vars()` and tracebacks with variables print attributes.
        self._reveal: Callable[[], str] = lambda: value

    @classmethod
    def from_environment(cls) -> Key:
        """The key in `OPENAI_API_KEY`."""
        return cls(os.environ.get(KEY_VARIABLE))

    def __bool__(self) -> bool:
        return bool(self._reveal())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self._reveal() == other._reveal()

    def __hash__(self) -> int:
        return hash(self._reveal())

    def __repr__(self) -> str:
        return "set" if self else "not set"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Key.from_environment, ())

    def __copy__(self) -> Key:
        return self

    def __deepcopy__(self, memo: object) -> Key:
        return self

    def sign(self, request: Any) -> Any:
        """Puts the key, if there is one, into the headers of an HTTP request and gives the request back."""
        request.headers.pop("Authorization", None)
        if self:
            request.headers["Authorization"] = f"Bearer {self._reveal()}"
        return request

    def mask(self, text: str) -> str:
        """Gives `text` without this very key."""
        value = self._reveal()
        return text.replace(value, _MASK) if len(value) >= _SHORTEST_MASKED and value in text else text

    def begun(self, text: str) -> int:
        """Gives how many characters at the end of `text` could be the beginning of this very key."""
        value = self._reveal()
        if len(value) < _SHORTEST_MASKED:
            return 0
        sizes = range(min(len(value) - 1, len(text)), 0, -1)
        return next((size for size in sizes if text.endswith(value[:size])), 0)

    def mask_bytes(self, raw: bytes) -> bytes:
        """Gives `raw` without this very key."""
        value = self._reveal().encode()
        return raw.replace(value, _MASK.encode()) if len(value) >= _SHORTEST_MASKED and value in raw else raw

    def mask_all(self, text: str) -> str:
        """Gives `text` without this key and without anything that looks like a key."""
        return _KEY_SHAPED.sub(_MASK, self.mask(text))

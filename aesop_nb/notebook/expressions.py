"""Python expressions that a person writes into a cell: in `{{…}}`, and as values of options."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from types import CodeType
from typing import Any, TypeAlias

from pydantic import BaseModel

from ..errors import UsageError
from ..texts import nearest, one_line
from ..values import is_frame, value_text

Namespace: TypeAlias = Mapping[str, Any]
"""The variables of the notebook."""

NOT_COMPILED = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What `compile` raises for a text that is no expression; the last two when it is nested too deeply."""

_MAX_EXPRESSION = 2_000  # an expression inside a text is short; a stray `{{` in a long one stays cheap


def render(text: str, namespace: Namespace) -> str:
    r"""Gives `text` with each `{{expression}}` replaced by its value; `\{{` stands for `{{`.

    Texts go in as they are; mappings, lists, models, dataclasses and DataFrames as the model reads inputs
    (JSON, or a summary of the table); anything else as its `str`. Nothing else in the text changes.

    Raises:
        UsageError: If an expression is not one, names something unknown or raises.
    """
    parts: list[str] = []
    done = 0
    while (start := text.find("{{", done)) >= 0:
        if text[start - 1 : start] == "\\" and start > done:
            parts += [text[done : start - 1], "{{"]
            done = start + 2
            continue
        code, source, end = _expression(text, start)
        value = _value_of(code, dict(namespace), f"{{{{{source}}}}}")
        parts += [text[done:start], _inserted(value, source)]
        done = end
    return "".join([*parts, text[done:]])


def _expression(text: str, start: int) -> tuple[CodeType, str, int]:
    """The shortest expression that begins at `start` and ends before `}}`, and where the text goes on."""
    problem = "it is not closed"
    shown = text[start : start + 60]
    window = text[: start + _MAX_EXPRESSION]
    end = window.find("}}", start + 2)
    if end >= 0:
        problem, shown = "it is no expression", text[start : end + 2]
    while end >= 0:
        source = text[start + 2 : end].strip()
        try:
            return compiled(source), source, end + 2
        except NOT_COMPILED:
            end = window.find("}}", end + 1)  # the braces may belong to a dict or a text in the expression
    raise UsageError(
        f"{one_line(shown)} cannot be filled in: {problem}. Write \\{{{{ for braces, or use --raw."
    )


def _inserted(value: Any, source: str) -> str:
    if isinstance(value, str):
        return value
    try:
        is_record = isinstance(value, BaseModel) or dataclasses.is_dataclass(value)
        if is_record or is_frame(value) or isinstance(value, Mapping | list | tuple | set | frozenset):
            return value_text(value)
        return str(value)
    except Exception as exc:
        raise UsageError(f"{{{{{one_line(source)}}}}} has no text: {_named(exc)}.") from exc


def evaluate(source: str, namespace: Namespace, shown: str) -> Any:
    """Gives the value of a Python expression.

    Raises:
        UsageError: If it is no expression, names something unknown or raises; the message begins with `shown`.
    """
    try:
        code = compiled(source.strip())
    except NOT_COMPILED as exc:
        reason = exc.msg if isinstance(exc, SyntaxError) else exc
        raise UsageError(
            f"{one_line(shown)} is no expression: {reason}. One with spaces needs quotes around it."
        ) from None
    return _value_of(code, dict(namespace), shown)


def compiled(source: str) -> CodeType:
    """Gives the code of an expression; raises one of `NOT_COMPILED` if it is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        return compile(source, "<aesop_nb>", "eval", dont_inherit=True)


def _value_of(code: CodeType, names: dict[str, Any], shown: str) -> Any:
    try:
        return eval(code, names)  # noqa: S307  the person's own expression, in the person's own notebook
    except Exception as exc:
        missing = exc.name if isinstance(exc, NameError) else None
        if missing is None or missing in names or isinstance(exc, UnboundLocalError):
            raise UsageError(f"{one_line(shown)} raised {_named(exc)}.") from exc
        raise UsageError(
            f"{one_line(shown)}: there is no {missing!r} in this notebook.{nearest(missing, own_names(names))}"
        ) from exc


def own_names(namespace: Namespace) -> list[str]:
    """Gives the names the person may mean: without private ones and those IPython puts there."""
    return [
        name
        for name, value in list(namespace.items())
        if not name.startswith("_") and name not in ("In", "Out") and not is_shells(value)
    ]


def is_shells(value: Any) -> bool:
    """Whether a variable is IPython's own `exit`, `open` or the like."""
    try:
        module = str(getattr(value, "__module__", ""))
        return module.startswith("IPython") or getattr(value, "__wrapped__", None) is open
    except Exception:  # noqa: BLE001  # an object of the person's that cannot be looked at
        return False


def _named(exc: BaseException) -> str:
    return one_line(f"{type(exc).__name__}: {exc}", 200)

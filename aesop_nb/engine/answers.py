"""What a question wants for an answer: read from the model's call, and checked before an answer is taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, get_args

from ..events import AnswerKind
from ..models.transcript import ToolSpec
from ..texts import clean_text, one_line
from .withheld import MAX_CHARACTERS, MIN_CHARACTERS

MAX_TIME_LIMIT_SECONDS = 7 * 86_400.0
"""The longest time limit that a model may set for an answer."""

MAX_QUESTION_CHARACTERS = 20_000
MAX_CHOICES = 500
MAX_CHOICE_CHARACTERS = 2_000
"""What a model may put before a person; it is told to ask for less."""

_KINDS: tuple[AnswerKind, ...] = get_args(AnswerKind)

TALK_TO_USER = ToolSpec(
    name="talk_to_user",
    description=(
        "Ask the person who gave the task, when only they can know or decide. Ask one clear question; "
        "give `choices` when the answer is one of a few, or a `kind` when it must be a number, a date or a "
        "yes or no. A password or key is asked for with kind `secret`: you get a stand-in for it and write "
        "that into the arguments of the tool that needs it. What comes back is the person's answer."
    ),
    parameters={
        "type": "object",
        "properties": {
            "question": {"type": "string", "minLength": 1},
            "choices": {"type": "array", "items": {"type": "string"}, "default": []},
            "kind": {
                "type": "string",
                "enum": list(_KINDS),
                "default": "text",
                "description": "What the answer must be; a date is written YYYY-MM-DD.",
            },
            "default": {
                "anyOf": [{"type": "string"}, {"type": "null"}],
                "default": None,
                "description": "What is taken if the person does not answer.",
            },
            "time_limit_seconds": {
                "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}],
                "default": None,
                "description": "How long to wait; then the default is taken, or the question is skipped.",
            },
            "optional": {
                "type": "boolean",
                "default": False,
                "description": "Whether you can go on without an answer.",
            },
        },
        "required": ["question"],
        "additionalProperties": False,
    },
    kind="user",
)


class AnswerMismatch(ValueError):
    """An answer is not what the question wants; the text says what is expected and never holds a secret."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a person is asked.

    Attributes:
        question: The words.
        choices: Answers to choose from; another one may be given where it fits `kind`.
        kind: What the answer must be.
        default: What is taken when the time is over or nobody is there; it fits `kind`.
        time_limit_seconds: How long the person has, or `None`.
        is_optional: Whether the agent can do without an answer.
    """

    question: str
    choices: tuple[str, ...] = ()
    kind: AnswerKind = "text"
    default: str | None = None
    time_limit_seconds: float | None = None
    is_optional: bool = False

    @property
    def can_be_skipped(self) -> bool:
        """Whether the person may pass the question over; a free text always may be."""
        return self.is_optional or self.kind == "text"

    @property
    def expected(self) -> str:
        """What is expected of an answer, in a few words; empty where any text will do."""
        return _EXPECTED[self.kind]

    def checked(self, answer: str) -> str:
        """Gives the answer as the model reads it: `yes` for `Y`, `2026-03-01` for `20260301`.

        Raises:
            AnswerMismatch: If it is not what is expected.
        """
        answer = clean_text(answer)
        if self.choices and (choice := _choice(self.choices, answer)) is not None:
            return choice
        try:
            return _READERS[self.kind](answer)
        except ValueError:
            shown = "that" if self.kind == "secret" else repr(one_line(answer, 60))
            raise AnswerMismatch(f"{self.expected} is expected, and {shown} is none") from None


def _choice(choices: tuple[str, ...], answer: str) -> str | None:
    if answer in choices:
        return answer
    folded = answer.strip().casefold()
    return next((choice for choice in choices if choice.strip().casefold() == folded), None)


# One reader for each kind: it gives the answer in its one form, or raises ValueError -------------------

_YES = frozenset({"yes", "y", "true", "1"})
_NO = frozenset({"no", "n", "false", "0"})


def _yes_or_no(answer: str) -> str:
    word = answer.strip().casefold()
    if word not in _YES | _NO:
        raise ValueError
    return "yes" if word in _YES else "no"


def _whole_number(answer: str) -> str:
    return str(int(answer))


def _number(answer: str) -> str:
    value = float(answer)
    if not math.isfinite(value):
        raise ValueError
    return repr(value)


def _date(answer: str) -> str:
    return date.fromisoformat(answer.strip()).isoformat()


def _secret(answer: str) -> str:
    if not MIN_CHARACTERS <= len(answer.strip()) <= len(answer) <= MAX_CHARACTERS:
        raise ValueError
    return answer


_READERS: Mapping[AnswerKind, Callable[[str], str]] = {
    "text": str,
    "yes_no": _yes_or_no,
    "int": _whole_number,
    "float": _number,
    "date": _date,
    "secret": _secret,
}
_EXPECTED: Mapping[AnswerKind, str] = {
    "text": "",
    "yes_no": "yes or no",
    "int": "a whole number, such as 42,",
    "float": "a number, such as 3.5,",
    "date": "a date, such as 2026-03-31,",
    "secret": f"a secret of at least {MIN_CHARACTERS} and at most {MAX_CHARACTERS:,} characters",
}


_SKIPPED = {
    "time_limit": "The person did not answer in time; the question was skipped.",
    "nobody": "Nobody was there to answer; the question was skipped.",
}


def told_of_answer(answer: str, source: str, *, is_skipped: bool) -> str:
    """Gives what the model is told of an answer that is no secret."""
    return _SKIPPED.get(source, "The person skipped this question.") if is_skipped else answer


# The model's call --------------------------------------------------------------------------------------


def read_question(arguments: Mapping[str, Any]) -> Question:
    """Gives what a `talk_to_user` call asks.

    Raises:
        ValueError: If it asks nothing, or its parts do not fit each other; the words are for the model.
    """
    question, choices = arguments.get("question"), arguments.get("choices") or []
    kind, default = arguments.get("kind") or "text", arguments.get("default")
    optional = arguments.get("optional") or False
    if not isinstance(question, str) or not question.strip():
        raise ValueError("`question` must be a text that asks something")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise ValueError(f"`question` must have at most {MAX_QUESTION_CHARACTERS:,} characters")
    if kind not in _KINDS:
        raise ValueError(f"`kind` must be one of {', '.join(_KINDS)}")
    if not isinstance(optional, bool):
        raise ValueError("`optional` must be true or false")
    asked = Question(
        question=clean_text(question),
        kind=kind,
        time_limit_seconds=_time_limit(arguments.get("time_limit_seconds")),
        is_optional=optional,
    )
    return replace(
        asked,
        choices=_choices(choices, asked),
        default=None if default is None else _fitting("default", default, asked),
    )


def _choices(choices: Any, question: Question) -> tuple[str, ...]:
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise ValueError("`choices` must be a list of texts")
    if choices and question.kind in ("yes_no", "secret"):
        raise ValueError(f"`choices` do not go with a question of kind {question.kind}")
    if not all(choice.strip() and len(choice) <= MAX_CHOICE_CHARACTERS for choice in choices):
        raise ValueError(f"`choices` must have 1 to {MAX_CHOICE_CHARACTERS:,} characters each")
    if len(choices) > MAX_CHOICES:
        raise ValueError(f"`choices` must be at most {MAX_CHOICES}")
    return tuple(dict.fromkeys(_fitting("choices", choice, question) for choice in choices))


def _fitting(name: str, value: Any, question: Question) -> str:
    if question.kind == "secret":
        raise ValueError(f"`{name}` does not go with a question of kind secret")
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"`{name}` must be a text")
    try:
        return question.checked(str(value))
    except AnswerMismatch as exc:
        raise ValueError(f"`{name}` does not fit: {exc}") from exc


def _time_limit(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError("`time_limit_seconds` must be a number above 0")
    return min(float(value), MAX_TIME_LIMIT_SECONDS)

"""What Tab offers inside `%%aesop` and `%aesop`: what can stand there, and nothing else."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from ..agents import Agent
from ..config import settings
from ..errors import UsageError
from ..models.transcript import Model
from ..sessions import recent_runs
from ..tools import Tool
from .cells import TARGET, is_runnable, is_tool, type_names
from .commands import COMMANDS
from .expressions import Namespace, own_names
from .options import FLAGS, Option
from .parsing import BLANKS, Rest

_CELL = re.compile(r"\s*%%aesop(?=\s|$)")
_LINE = re.compile(r"\s*(?:[^\s=%#'\"]+(?:\s*,\s*[^\s=%#'\"]+)*\s*=\s*)?%aesop[ \t]")
_PYTHON_CELLS = re.compile(r"\s*%%(?:capture|prun|time|timeit)\b")
_NAME = re.compile(r"(?:[^\W\d]\w*)?\Z")
_BUILTIN_TYPES = ("bool", "dict", "float", "int", "list", "set", "str", "tuple", "None")


@dataclass(frozen=True)
class Offer:
    """What may stand at the cursor.

    Attributes:
        fragment: What is typed of it already.
        words: All that may stand there, with the kind of each as the list shows it.
    """

    fragment: str = ""
    words: Mapping[str, str] | None = None

    @property
    def matches(self) -> list[tuple[str, str]]:
        """The words that go on from the fragment."""
        return [(word, kind) for word, kind in (self.words or {}).items() if word.startswith(self.fragment)]


class _NoneOfThem(list[Any]):
    """No completions, and those of other matchers are not wanted either.

    IPython asks a matcher's list whether it has anything before it lets `suppress` count, so that an empty one
    cannot suppress: https://github.com/ipython/ipython/blob/9.18.0/IPython/core/completer.py
    """

    def __len__(self) -> int:
        return 1


def matcher_for(namespace: Namespace) -> Callable[[CompletionContext], Any]:
    """Gives the matcher to put into `ip.Completer.custom_matchers`."""

    @context_matcher(identifier="aesop_nb")  # type: ignore[untyped-decorator, unused-ignore]
    def match(context: CompletionContext) -> dict[str, Any]:
        offer = offer_at(_before(context), namespace)
        if offer is None:
            return {"completions": [], "suppress": False}
        found = [SimpleCompletion(word, type=kind) for word, kind in offer.matches]
        return {
            "completions": found or _NoneOfThem(),
            "matched_fragment": offer.fragment,
            "suppress": True,
            "ordered": True,
        }

    return match


def _before(context: CompletionContext) -> str:
    """All of the cell before the cursor."""
    lines = context.full_text.split("\n")
    start = sum(len(line) + 1 for line in lines[: context.cursor_line])
    return context.full_text[: start + context.cursor_position]


def offer_at(before: str, namespace: Namespace) -> Offer | None:
    """Gives what may stand behind `before`, the text of a cell up to the cursor; `None` outside our magics."""
    first, line_feed, rest = before.partition("\n")
    if in_cell := _CELL.match(first):
        if line_feed:
            return _in_text(rest, namespace, is_raw=bool(re.search(r"\s--raw(\s|$)", first)))
        line = first[in_cell.end() :]
        if not line:  # the name of the magic itself is IPython's
            return None
        if target := TARGET.match(line):
            line = line[target.end() :]
        return _in_options(line, namespace, takes_text=False)
    if first.lstrip().startswith("%%") and not _PYTHON_CELLS.match(first):
        return None
    line = before[before.rfind("\n") + 1 :]
    if in_line := _LINE.match(line):
        return _in_line(line[in_line.end() :], namespace)
    return None


def _in_line(line: str, namespace: Namespace) -> Offer:
    line = line.lstrip(BLANKS)
    if line.startswith("-"):
        return _in_options(line, namespace, takes_text=True)
    name, *behind = re.split(r"\s", line, maxsplit=1)
    if not behind:
        return Offer(name, dict.fromkeys(COMMANDS, "subcommand"))
    command = COMMANDS.get(name)
    if command is None:
        return Offer()
    if "OPTIONS" in command.arguments:
        return _in_options(behind[0], namespace, takes_text=True)
    fragment = behind[0].lstrip(BLANKS)
    if re.search(r"\s", fragment):  # it is about the first word only
        return Offer()
    words: dict[str, str] = {}
    for metavar in re.findall(r"[A-Z]+", command.arguments):
        words |= _words(metavar, namespace)
    return Offer(fragment, words)


# Inside the options ----------------------------------------------------------------------------------


def _in_options(line: str, namespace: Namespace, *, takes_text: bool) -> Offer:
    ends_with_blank = line[-1:] in BLANKS
    rest = Rest(line)
    given: set[str] = set()
    while rest.text:
        if not rest.is_option:
            if not takes_text or (rest.text.strip() in ("-", "--") and not ends_with_blank):
                return Offer(rest.text, _flags(given)) if rest.text.startswith("-") else Offer()
            return _in_text(rest.text, namespace, is_raw="raw" in given)
        shown = rest.text
        flag, is_glued = rest.next_flag()
        option = FLAGS.get(flag)
        if not rest.text and not is_glued and not ends_with_blank:
            return Offer(shown, _flags(given))
        if option is None:
            return Offer()
        given.add(option.key)
        if option.kind == "flag":
            continue
        value = shown[len(flag) + 1 :] if is_glued else rest.text
        try:
            if rest.text:
                rest.next_value(option)
        except UsageError:  # an open quote: the cursor is inside this value
            return _in_value(option, value, namespace)
        if not rest.text and (not ends_with_blank or not value.strip()):
            return _in_value(option, value, namespace)
    return Offer("", _flags(given))


def _flags(given: set[str]) -> dict[str, str]:
    """The options that can still be given, the long names first."""
    options = [
        option for option in dict.fromkeys(FLAGS.values()) if option.repeatable or option.key not in given
    ]
    longs = {option.long: "option" for option in options}
    return longs | {option.short: "option" for option in options if option.short}


def _in_value(option: Option, value: str, namespace: Namespace) -> Offer:
    if option.choices:
        return Offer(value.lstrip("'\" "), dict.fromkeys(option.choices, "value"))
    match option.kind:
        case "names":
            return Offer(re.split(r"[,'\"\s]", value)[-1], _words(option.metavar, namespace))
        case "expression":
            name = _NAME.search(value)
            is_new = option.metavar != "TYPE" and "=" in value
            if name is None or value[: name.start()].endswith("."):
                return Offer()
            return Offer(name[0], _words("EXPR" if is_new else option.metavar, namespace))
        case _:
            return Offer(value.lstrip("'\""), _words(option.metavar, namespace))


def _in_text(text: str, namespace: Namespace, *, is_raw: bool) -> Offer:
    """Names inside `{{…}}`, nothing elsewhere."""
    start = text.rfind("{{")
    is_open = start >= 0 and "}}" not in text[start:] and text[start - 1 : start] != "\\"
    name = _NAME.search(text)
    if is_raw or not is_open or name is None or text[: name.start()].endswith("."):
        return Offer()
    return Offer(name[0], _words("EXPR", namespace))


# What the words of the help stand for ----------------------------------------------------------------


def _words(metavar: str, namespace: Namespace) -> dict[str, str]:
    find = _SOURCES.get(metavar.partition("[")[0])
    return find(namespace) if find else {}


def _variables(namespace: Namespace, fits: Callable[[Any], bool], kind: str) -> dict[str, str]:
    found = {}
    for name in sorted(own_names(namespace)):
        with contextlib.suppress(Exception):  # an object of the person's that cannot be looked at
            if fits(namespace[name]):
                found[name] = kind
    return found


def _models(namespace: Namespace) -> dict[str, str]:
    """Variables that hold a model, and the names that are set or were used."""
    held = _variables(
        namespace, lambda value: isinstance(value, Model) and not isinstance(value, type), "model"
    )
    used = [run.log.created.model for run in reversed(recent_runs()) if run.log.created]
    named = [settings.model, os.environ.get("AESOP_MODEL"), *used]
    return held | {name: "model" for name in named if name and not re.search(r"[\s,]", name)}


def _types(namespace: Namespace) -> dict[str, str]:
    known = dict.fromkeys((*_BUILTIN_TYPES, *type_names(""), "DataFrame"), "type")
    return _variables(namespace, lambda value: isinstance(value, type), "type") | known


def _is_tool(value: Any) -> bool:
    """Whether it is likely a tool: not every object that can be called was meant as one."""
    return is_tool(value) and (isinstance(value, Tool) or inspect.isroutine(value))


_SOURCES: Mapping[str, Callable[[Namespace], dict[str, str]]] = {
    "ID": lambda _: {run.id: "run" for run in reversed(recent_runs())},
    "MODEL": _models,
    "TOOLS": lambda namespace: _variables(namespace, _is_tool, "function"),
    "AGENTS": lambda namespace: _variables(namespace, lambda value: isinstance(value, Agent), "agent"),
    "TASK": lambda namespace: _variables(namespace, is_runnable, "task"),
    "TYPE": _types,
    "NAME": lambda namespace: _variables(namespace, lambda _: True, "variable"),
    "EXPR": lambda namespace: _variables(namespace, lambda _: True, "variable"),
}
"""What completion offers for a word of the help, by name and kind."""

"""The options of `%%aesop` and `%aesop ask`: one table that feeds the parser, the help and completion."""

from __future__ import annotations

import io
import itertools
import re
import shlex
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import UsageError
from ..texts import nearest, one_line
from .expressions import NOT_COMPILED, compiled

Kind = Literal["flag", "text", "expression", "names", "whole number", "number"]
"""How the value of an option is read; `names` are separated by commas."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option.

    Attributes:
        long: Its name with two dashes.
        short: Its name with one dash, or empty.
        kind: How its value is read.
        metavar: How the help names the value; empty for a flag.
        help: What it does, in a sentence.
        repeatable: Whether it may be given several times.
        limit: The field of `TaskConfig` it sets, or empty.
    """

    long: str
    short: str = ""
    kind: Kind = "text"
    metavar: str = ""
    help: str
    repeatable: bool = False
    limit: str = ""

    @property
    def key(self) -> str:
        """How the value is found among those that were given."""
        return self.long.removeprefix("--")

    @property
    def flags(self) -> tuple[str, ...]:
        """All ways to write its name."""
        return (self.short, self.long) if self.short else (self.long,)


def _limit(long: str, limit: str, kind: Kind, metavar: str, text: str) -> Option:
    return Option(long=long, kind=kind, metavar=metavar, limit=limit, help=text)


OPTIONS = (
    Option(long="--name", short="-n", metavar="TEXT", help="A short name for the task."),
    Option(long="--out", short="-o", metavar="NAME", help="Bind the result to NAME, like `NAME <<`."),
    Option(
        long="--returns",
        short="-r",
        kind="expression",
        metavar="EXPR",
        help='The type of the result: int, list[Company], \'Literal["bug", "idea"]\'. Without it: str.',
    ),
    Option(
        long="--columns",
        short="-c",
        metavar="SPEC",
        help='A table with these columns: "name, staff:int?, founded:date?". Types: str, int, float, bool, '
        "date, datetime; ? lets a value be missing.",
    ),
    Option(
        long="--input",
        short="-i",
        kind="expression",
        metavar="NAME[=EXPR]",
        repeatable=True,
        help="Give the agent a variable of the notebook, or the value of EXPR under this name. Repeatable.",
    ),
    Option(
        long="--tools",
        short="-t",
        kind="names",
        metavar="NAMES",
        repeatable=True,
        help="Functions of the notebook the agent may use, separated by commas. Repeatable.",
    ),
    Option(
        long="--agents",
        short="-a",
        kind="names",
        metavar="NAMES",
        repeatable=True,
        help="Agents of the notebook who do it, separated by commas. Repeatable.",
    ),
    Option(long="--user", short="-u", kind="flag", help="Let the agent ask you questions."),
    Option(
        long="--answer",
        metavar="TEXT",
        repeatable=True,
        help="An answer given beforehand; the first one answers the first question. Repeatable.",
    ),
    Option(
        long="--default",
        metavar="TEXT",
        help="What is answered where nobody can be asked; without it such a run fails.",
    ),
    Option(
        long="--model",
        short="-m",
        metavar="NAME",
        help="The model: a name such as gpt-5-mini, or a variable that holds a model.",
    ),
    _limit("--max-seconds", "max_duration_seconds", "number", "N", "Time for the whole run."),
    _limit("--max-tokens", "max_tokens", "whole number", "N", "Input and output tokens together."),
    _limit("--max-turns", "max_turns", "whole number", "N", "Replies of the model."),
    _limit("--max-tool-calls", "max_tool_calls", "whole number", "N", "Tool calls, failed ones included."),
    _limit("--max-cost", "max_cost_usd", "number", "USD", "US dollars; needs a model of known price."),
    _limit("--max-pages", "max_pages", "whole number", "N", "Web pages that may be fetched."),
    Option(
        long="--allow",
        kind="names",
        metavar="DOMAIN",
        repeatable=True,
        limit="allowed_domains",
        help="A host, with its sub-domains, that web tools may read. Repeatable.",
    ),
    _limit("--retries", "max_retries", "whole number", "N", "How often a failed request is sent again."),
    Option(long="--memory", metavar="SCOPE", help="Where the agent remembers: task, session or permanent."),
    Option(long="--lazy", kind="flag", help="Give the Task and do not run it."),
    Option(long="--bg", kind="flag", help="Start it and give the Run at once; it works on while you do."),
    Option(long="--raw", kind="flag", help="Leave {{…}} in the text as it is."),
)
"""All options, in the order of the help."""

FLAGS: Mapping[str, Option] = {flag: option for option in OPTIONS for flag in option.flags}
"""Every way to write an option's name."""

_MAX_PIECES = 100  # of a line, that are tried as one expression
_BLANKS = " \t\r\n"
_TYPE_WORDS = ("type", "result", "result-type", "return-type", "return_type", "result_type")
_TYPE_HINT = " The type of the result is named by -r or --returns."
_EXCLUSIVE = (("--returns", "--columns"), ("--lazy", "--bg"), ("--lazy", "--answer"))


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a line: without its quotes, and as it was written."""

    text: str
    raw: str


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """A line that was read.

    Attributes:
        given: The value of each option that was given, by `Option.key`; a list for repeatable ones.
        text: What follows the options, as it was written.
    """

    given: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""


def parse_options(line: str, *, takes_text: bool = False) -> Parsed:
    """Reads the options of a line, quoted as in a shell.

    Args:
        line: What follows `%%aesop NAME <<` or `%aesop ask`.
        takes_text: Whether free text follows the options; it begins at the first word that is none.

    Raises:
        UsageError: If an option is unknown, has no usable value, is given twice or excludes another one.
    """
    given: dict[str, Any] = {}
    rest = _Rest(line)
    text = ""
    while rest.text:
        if rest.is_option:
            _read_option(rest, given)
        elif takes_text:
            text = _free_text(rest.text)
            break
        else:
            raise UsageError(_stray_word(rest.text))
    for one, other in _EXCLUSIVE:
        if one[2:] in given and other[2:] in given:
            raise UsageError(f"{one} and {other} exclude one another.")
    return Parsed(given=given, text=text)


class _Rest:
    """What is still unread of a line. Free text may follow, so nothing is read ahead."""

    _assignment = re.compile(r"(?:[^\W\d]\w*=)?")

    def __init__(self, line: str) -> None:
        self.text = line.strip(_BLANKS)

    @property
    def is_option(self) -> bool:
        """Whether an option is next; `--` alone and a negative number are none."""
        return re.match(r"--?[^\W\d]", self.text) is not None

    def next_flag(self) -> tuple[str, bool]:
        """Takes an option's name, and says whether its value is glued to it by `=`."""
        flag, glue = re.match(r"([^\s=]*)(=?)", self.text).groups()  # type: ignore[union-attr]  # always matches
        self.text = self.text[len(flag + glue) :]
        if not glue:
            self.text = self.text.strip(_BLANKS)
        elif self.text[:1] in ("", *_BLANKS):
            self.text = f"''{self.text}"
        return flag, bool(glue)

    def next_expression(self) -> Word | None:
        """Takes the shortest piece that is Python, as it is: `Literal["a", "b"]`, `x=df["a"]`.

        Gives `None` where quotes stand around it, so that it is a word of the shell, and where there is none.
        """
        match = self._assignment.match(self.text)
        start = match.end() if match else 0
        if self.text[start : start + 1] in ("'", '"'):
            return None
        for border in itertools.islice(re.finditer(r"\s+|\Z", self.text), _MAX_PIECES):
            piece = self.text[: border.start()]
            try:
                compiled(piece[start:])
            except NOT_COMPILED:
                continue
            self.text = self.text[border.end() :]
            return Word(piece, piece)
        return None

    def next_word(self) -> Word:
        """Takes one word as a shell splits it."""
        stream = io.StringIO(self.text)
        lexer = shlex.shlex(stream, posix=True)
        lexer.whitespace, lexer.whitespace_split, lexer.commenters = _BLANKS, True, ""
        try:
            word = lexer.get_token()
        except ValueError as exc:
            if "quotation" not in str(exc):
                raise UsageError(f"A backslash is left open: {one_line(self.text, 80)}.") from None
            raise UsageError(
                f"An unbalanced quote is left open: {one_line(self.text, 80)}. Close it, or put the value in "
                "quotes of the other kind."
            ) from None
        raw = self.text[: stream.tell()].strip(_BLANKS)
        self.text = self.text[stream.tell() :].strip(_BLANKS)
        return Word(word or "", raw)


def _read_option(rest: _Rest, given: dict[str, Any]) -> None:
    flag, is_glued = rest.next_flag()
    option = FLAGS.get(flag)
    if option is None:
        hint = _TYPE_HINT if flag.strip("-") in _TYPE_WORDS else nearest(flag, FLAGS)
        raise UsageError(f"There is no option {one_line(flag)!r}.{hint} %%aesop? shows them all.")
    if option.kind == "flag":
        if is_glued:
            raise UsageError(f"{flag} takes no value.")
        given[option.key] = True
        return
    if not is_glued and (not rest.text or (rest.is_option and re.split(r"[\s=]", rest.text)[0] in FLAGS)):
        raise UsageError(f"{flag} needs a value: {flag} {option.metavar}.")
    word = (option.kind == "expression" and rest.next_expression()) or rest.next_word()
    made = _read_value(option, flag, word)
    if option.repeatable:
        given.setdefault(option.key, []).extend(made if option.kind == "names" else [made])
    elif option.key in given:
        raise UsageError(f"{flag} is given twice.")
    else:
        given[option.key] = made


def _read_value(option: Option, flag: str, word: Word) -> Any:
    match option.kind:
        case "names":
            names = [name.strip() for name in word.text.split(",") if name.strip()]
            if not names:
                raise UsageError(f"{flag} {word.text!r} names nothing.")
            return names
        case "whole number" | "number":
            try:
                return int(word.text) if option.kind == "whole number" else float(word.text)
            except ValueError:
                raise UsageError(f"{flag} takes a {option.kind}, not {one_line(word.text)!r}.") from None
        case _:
            return word.text


def _stray_word(text: str) -> str:
    word = text.split()[0]
    if any(piece.startswith("<<") for piece in text.split()):
        return "NAME << stands at the beginning of the line and takes one name: %%aesop bakeries << …"
    return (
        f"{one_line(word)!r} is no option. What is to be done stands in the lines below; a value with spaces "
        "needs quotes."
    )


def _free_text(text: str) -> str:
    """The text without a `--` in front; an option behind it would silently become a part of it."""
    if text.split()[0] == "--":
        return unquote(text[2:])
    for word in text.split():
        if word.partition("=")[0] in FLAGS:
            raise UsageError(
                f"Options stand before the text, and {word!r} stands in it. Move it to the front, or write -- "
                "before the text if it belongs there."
            )
    return unquote(text)


def unquote(text: str) -> str:
    """Gives free text without the quotes around the whole of it."""
    text = text.strip()
    quote = text[:1]
    if quote in ("'", '"') and len(text) > 1 and text.endswith(quote) and quote not in text[1:-1]:
        return text[1:-1]
    return text


def options_help() -> str:
    """Every option with what it does, one after the other, for `%%aesop?`."""
    return "\n".join(_option_help(option) for option in OPTIONS)


def _option_help(option: Option) -> str:
    head = f"  {', '.join(option.flags)} {option.metavar}".rstrip()
    text = textwrap.wrap(option.help, 72)
    if len(head) > 26:
        return "\n".join([head, *(f"{'':28}{line}" for line in text)])
    return "\n".join([f"{head:28}{text[0]}", *(f"{'':28}{line}" for line in text[1:])])

"""Reads the line of a cell or of `%aesop ask`: options as in a shell, then free text."""

from __future__ import annotations

import io
import itertools
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import UsageError
from ..texts import nearest, one_line
from .expressions import NOT_COMPILED, compiled
from .options import EXCLUSIVE, FLAGS, Option

_MAX_PIECES = 100  # of a line, that are tried as one expression
BLANKS = " \t\r\n"
_TYPE_WORDS = ("type", "result", "result-type", "return-type", "return_type", "result_type")
_TYPE_HINT = " The type of the result is named by -r or --returns."


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
    rest = Rest(line)
    text = ""
    while rest.text:
        if rest.is_option:
            _read_option(rest, given)
        elif takes_text:
            text = _free_text(rest.text)
            break
        else:
            raise UsageError(_stray_word(rest.text))
    for one, other in EXCLUSIVE:
        if one[2:] in given and other[2:] in given:
            raise UsageError(f"{one} and {other} exclude one another.")
    return Parsed(given=given, text=text)


class Rest:
    """What is still unread of a line. Free text may follow, so nothing is read ahead."""

    _assignment = re.compile(r"(?:[^\W\d]\w*=)?")

    def __init__(self, line: str) -> None:
        self.text = line.strip(BLANKS)

    @property
    def is_option(self) -> bool:
        """Whether an option is next; `--` alone and a negative number are none."""
        return re.match(r"--?[^\W\d]", self.text) is not None

    def next_flag(self) -> tuple[str, bool]:
        """Takes an option's name, and says whether its value is glued to it by `=`."""
        flag, glue = re.match(r"([^\s=]*)(=?)", self.text).groups()  # type: ignore[union-attr]  # always matches
        self.text = self.text[len(flag + glue) :]
        if not glue:
            self.text = self.text.strip(BLANKS)
        elif self.text[:1] in ("", *BLANKS):
            self.text = f"''{self.text}"
        return flag, bool(glue)

    def next_value(self, option: Option) -> Word:
        """Takes the value of an option."""
        return (option.kind == "expression" and self.next_expression()) or self.next_word()

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
        lexer.whitespace, lexer.whitespace_split, lexer.commenters = BLANKS, True, ""
        try:
            word = lexer.get_token()
        except ValueError as exc:
            if "quotation" not in str(exc):
                raise UsageError(f"A backslash is left open: {one_line(self.text, 80)}.") from None
            raise UsageError(
                f"An unbalanced quote is left open: {one_line(self.text, 80)}. Close it, or put the value in "
                "quotes of the other kind."
            ) from None
        raw = self.text[: stream.tell()].strip(BLANKS)
        self.text = self.text[stream.tell() :].strip(BLANKS)
        return Word(word or "", raw)


def _read_option(rest: Rest, given: dict[str, Any]) -> None:
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
    made = _read_value(option, flag, rest.next_value(option))
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
        case _ if option.choices and word.text not in option.choices:
            raise UsageError(
                f"{flag} {one_line(word.text)!r} is none of {', '.join(option.choices)}."
                f"{nearest(word.text, option.choices)}"
            )
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

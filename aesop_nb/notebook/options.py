"""The options of `%%aesop` and `%aesop ask`: one table that feeds the parser, the help and completion."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["flag", "text", "expression", "names", "whole number", "number"]
"""How the value of an option is read; `names` are separated by commas."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option.

    Attributes:
        long: Its name with two dashes.
        short: Its name with one dash, or empty.
        kind: How its value is read.
        metavar: How the help names the value; empty for a flag. Completion offers what it stands for.
        choices: All values there are; empty for any.
        help: What it does, in a sentence.
        example: How it is written; its name alone for a flag.
        repeatable: Whether it may be given several times.
        limit: The field of `TaskConfig` it sets, or empty.
    """

    long: str
    short: str = ""
    kind: Kind = "text"
    metavar: str = ""
    choices: tuple[str, ...] = ()
    help: str
    example: str
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


def _flag(long: str, text: str, *, short: str = "") -> Option:
    return Option(long=long, short=short, kind="flag", help=text, example=short or long)


def _limit(long: str, limit: str, kind: Kind, example: str, text: str, *, metavar: str = "N") -> Option:
    return Option(long=long, kind=kind, metavar=metavar, limit=limit, help=text, example=f"{long} {example}")


def _choice(long: str, text: str, metavar: str, *choices: str) -> Option:
    return Option(long=long, metavar=metavar, choices=choices, help=text, example=f"{long} {choices[1]}")


OPTIONS = (
    Option(
        long="--name",
        short="-n",
        metavar="TEXT",
        help="A short name for the task.",
        example="-n 'find bakeries'",
    ),
    Option(
        long="--out",
        short="-o",
        metavar="VARIABLE",
        help="Bind the result to VARIABLE, like `VARIABLE <<` at the beginning of the line.",
        example="-o bakeries",
    ),
    Option(
        long="--returns",
        short="-r",
        kind="expression",
        metavar="TYPE",
        help="The type of the result, a Python expression. Without it: str.",
        example="""-r int, -r list[Company], -r 'Literal["bug", "idea"]'""",
    ),
    Option(
        long="--columns",
        short="-c",
        metavar="SPEC",
        help="A table with these columns. Types: str, int, float, bool, date, datetime; ? lets a value be "
        "missing.",
        example='-c "name, staff:int?, founded:date?"',
    ),
    Option(
        long="--input",
        short="-i",
        kind="expression",
        metavar="NAME[=EXPR]",
        repeatable=True,
        help="Give the agent a variable of the notebook, or the value of EXPR under this name. Repeatable.",
        example="-i review -i total=df['staff'].sum()",
    ),
    Option(
        long="--tools",
        short="-t",
        kind="names",
        metavar="TOOLS",
        repeatable=True,
        help="Functions of the notebook the agent may use, separated by commas. Repeatable.",
        example="-t search,fetch",
    ),
    Option(
        long="--agents",
        short="-a",
        kind="names",
        metavar="AGENTS",
        repeatable=True,
        help="Agents of the notebook who do it, separated by commas. Repeatable.",
        example="-a writer,critic",
    ),
    _flag("--user", "Let the agent ask you questions.", short="-u"),
    Option(
        long="--answer",
        metavar="TEXT",
        repeatable=True,
        help="An answer given beforehand; the first one answers the first question. Repeatable.",
        example="--answer yes --answer 'the second one'",
    ),
    Option(
        long="--default",
        metavar="TEXT",
        help="What is answered where nobody can be asked; without it such a run fails.",
        example="--default 'decide yourself'",
    ),
    Option(
        long="--model",
        short="-m",
        metavar="MODEL",
        help="The model: a name, or a variable that holds a model.",
        example="-m gpt-5-mini",
    ),
    _limit("--max-seconds", "max_duration_seconds", "number", "60", "Time for the whole run."),
    _limit("--max-tokens", "max_tokens", "whole number", "20000", "Input and output tokens together."),
    _limit("--max-turns", "max_turns", "whole number", "8", "Replies of the model."),
    _limit("--max-tool-calls", "max_tool_calls", "whole number", "10", "Tool calls, failed ones included."),
    _limit(
        "--max-cost",
        "max_cost_usd",
        "number",
        "0.05",
        "US dollars; needs a model of known price.",
        metavar="USD",
    ),
    _limit("--max-pages", "max_pages", "whole number", "5", "Web pages that may be fetched."),
    Option(
        long="--allow",
        kind="names",
        metavar="DOMAIN",
        repeatable=True,
        limit="allowed_domains",
        help="A host, with its sub-domains, that web tools may read. Repeatable.",
        example="--allow wikipedia.org --allow arxiv.org",
    ),
    _limit("--retries", "max_retries", "whole number", "4", "How often a failed request is sent again."),
    _choice(
        "--memory", "How long what the agent remembers is kept.", "SCOPE", "task", "session", "permanent"
    ),
    Option(
        long="--run",
        metavar="TASK",
        help="Run a Task or a @task function of the notebook, with the other options in the place of its own. "
        "-i gives its inputs; the text of the cell is added to its instructions. Without a text, which a cell "
        "must have, write %aesop --run TASK.",
        example="--run classify -i text=review",
    ),
    _flag("--reuse", "Give the result of a completed run of the very same task, if there is one."),
    _flag("--lazy", "Give the Task and do not run it."),
    _flag("--bg", "Start it and give the Run at once; it works on while you do."),
    _flag("--dry-run", "Show what would be sent and what it could cost; send and run nothing."),
    _choice("--view", "How much the live view shows.", "LEVEL", "full", "compact", "off"),
    _flag("--raw", "Leave {{…}} in the text as it is."),
)
"""All options, in the order of the help."""

FLAGS: Mapping[str, Option] = {flag: option for option in OPTIONS for flag in option.flags}
"""Every way to write an option's name."""

EXCLUSIVE = (
    ("--returns", "--columns"),
    ("--lazy", "--bg"),
    ("--lazy", "--answer"),
    ("--lazy", "--dry-run"),
    ("--bg", "--dry-run"),
)
"""Options that cannot be given together."""


def options_help() -> str:
    """Every option with what it does and an example, one after the other, for `%%aesop?`."""
    return "\n".join(_option_help(option) for option in OPTIONS)


def _option_help(option: Option) -> str:
    value = f"{{{','.join(option.choices)}}}" if option.choices else option.metavar
    head = f"  {', '.join(option.flags)} {value}".rstrip()
    text = textwrap.wrap(option.help, 72)
    if option.example not in option.flags:
        text.append(f"e.g. {option.example}")
    if len(head) > 26:
        text.insert(0, "")
    lines = [f"{head:28}{text[0]}".rstrip(), *(f"{'':28}{line}" for line in text[1:])]
    return "\n".join(lines)

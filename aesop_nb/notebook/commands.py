"""The subcommands of `%aesop`: one table that feeds the dispatch, the help and completion."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config import settings
from ..errors import UsageError
from ..models.choosing import choose_model
from ..models.transcript import Model
from ..sessions import find_run, last_run, recent_runs, runs
from ..texts import nearest, one_line
from .cells import Cell
from .doctor import doctor, model_line
from .options import options_help, unquote
from .outcomes import Block, Text, result_of, run_cell
from .wording import duration, plain_line

if TYPE_CHECKING:
    from ..running import Run
    from .expressions import Namespace

_NOTHING = "Nothing has run yet. A cell that begins with %%aesop runs a task; %aesop help says more."


@dataclass(frozen=True, kw_only=True)
class Notebook:
    """What a subcommand needs of the shell: its variables, and a way to add some."""

    namespace: Namespace
    bind: Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Command:
    """One subcommand.

    Attributes:
        name: The first word after `%aesop`.
        arguments: What follows it, as the help writes it.
        help: What it gives, in a sentence.
        function: Called with the notebook and what follows the name.
    """

    name: str
    arguments: str = ""
    help: str
    function: Callable[[Notebook, str], Any]


def run_line(line: str, notebook: Notebook) -> Any:
    """Does what the line behind `%aesop` says; an empty one shows the status.

    Raises:
        UsageError: If there is no such subcommand, or it cannot use what follows.
    """
    name, _, rest = line.strip().partition(" ")
    if asks_for_help(line):
        name, rest = "help", ""
    command = COMMANDS.get(name or "status")
    if command is None:
        raise UsageError(
            f"There is no %aesop {one_line(name)!r}.{nearest(name, COMMANDS)} %aesop help shows them all."
        )
    rest = rest.strip()
    if rest and not command.arguments:
        raise UsageError(f"%aesop {name} takes nothing more, not {one_line(rest)!r}.")
    return command.function(notebook, rest)


def asks_for_help(line: str) -> bool:
    """Whether the first word behind `%aesop`, `%aesop ask` or `%%aesop` is `-h` or `--help`."""
    words = line.split(maxsplit=2)
    return next(iter(words[1:] if words[:1] == ["ask"] else words), "") in ("-h", "--help")


# Which run is meant ----------------------------------------------------------------------------------


def _latest() -> Run[Any]:
    found = last_run()
    if found is None:
        raise UsageError(_NOTHING)
    return found


def _under_way() -> list[Run[Any]]:
    """The runs that have not ended, without those that tools of others have started."""
    recent = recent_runs()
    inner = {child.id for run in recent for child in run.children}
    return [run for run in recent if not run.status.is_final and run.id not in inner]


def _only(candidates: list[Run[Any]], which: str) -> Run[Any]:
    if len(candidates) > 1:
        ids = ", ".join(f"{run.id} ({one_line(run.log.task, 30)})" for run in candidates[-5:])
        raise UsageError(f"Several runs {which}: {ids}. Say which one.")
    return candidates[0]


def _named_or_latest(text: str) -> Run[Any]:
    return find_run(_one_word(text)) if text else _latest()


def _one_word(text: str) -> str:
    if len(text.split()) > 1:
        raise UsageError(f"One run is named here, not {one_line(text)!r}.")
    return text


# The subcommands -------------------------------------------------------------------------------------


def _status(_: Notebook, rest: str) -> Text:
    recent = recent_runs()
    if not recent:
        return Text(_NOTHING)
    shown = dict.fromkeys([*_under_way(), recent[-1]])
    return Text("\n".join(_status_line(run) for run in shown))


def _status_line(run: Run[Any]) -> str:
    if run.status.is_final:
        return plain_line(run.log)
    parts = [f"{run.status} {one_line(run.log.task, 80)}", run.current_action]
    if run.question:
        parts.append(f"{one_line(run.question, 200)} (%aesop answer {run.id} …)")
    parts += [duration(run.duration_seconds), f"run {run.id}"]
    return " · ".join(part for part in parts if part)


def _runs(_: Notebook, rest: str) -> Any:
    return runs()


def _show(_: Notebook, rest: str) -> Block:
    return Block(_named_or_latest(rest).log)


def _events(_: Notebook, rest: str) -> Any:
    return _named_or_latest(rest).events_df()


def _wait(_: Notebook, rest: str) -> Any:
    if rest:
        return result_of(find_run(_one_word(rest)))
    return result_of(_only(_under_way() or [_latest()], "are under way"))


def _cancel(_: Notebook, rest: str) -> Text:
    under_way = _under_way()
    if not rest and not under_way:
        return Text("Nothing is under way.")
    run = find_run(_one_word(rest)) if rest else under_way[-1]
    run.cancel()
    with contextlib.suppress(TimeoutError):  # stubborn work is shown as it is: cancelling…
        run.wait_for_end(1.0)
    return Text(_status_line(run))


def _answer(_: Notebook, rest: str) -> Text:
    asking = [run for run in recent_runs() if run.question]
    first, behind = (*rest.split(maxsplit=1), "", "")[:2]
    if first.startswith("r") and first[1:].isdecimal():
        run, text = find_run(first), behind
    elif asking:
        run, text = _only(asking, "wait for an answer"), rest
    else:
        raise UsageError("No run waits for an answer.")
    if not text:
        raise UsageError(f"There is no answer. Write for example: %aesop answer {run.id} yes")
    run.answer(unquote(text))
    return Text(f"answered {run.id}: {one_line(unquote(text))}")


def _ask(notebook: Notebook, rest: str) -> Any:
    return run_cell(Cell.read_line(rest), notebook.namespace, notebook.bind)


def _model(notebook: Notebook, rest: str) -> Text:
    if rest:
        name = unquote(_one_word(rest))
        if isinstance(notebook.namespace.get(name), Model):
            raise UsageError(
                f"{name!r} is a model object, and the setting is a name. Give it to a cell: %%aesop -m {name}"
            )
        if name:
            choose_model(name)
        settings.model = name or None
    return Text(model_line())


def _doctor(_: Notebook, rest: str) -> Text:
    return Text(doctor())


def _help(_: Notebook, rest: str) -> Text:
    return Text(f"{line_help()}\n\n{cell_help()}")


_ID = "[ID]"

COMMANDS: Mapping[str, Command] = {
    command.name: command
    for command in (
        Command(name="status", help="The latest run and those under way; %aesop alone.", function=_status),
        Command(name="tasks", help="The runs of this session as a DataFrame.", function=_runs),
        Command(name="runs", help="The same.", function=_runs),
        Command(name="show", arguments=_ID, help="A run as the saved notebook shows it.", function=_show),
        Command(name="events", arguments=_ID, help="What happened in it, as a DataFrame.", function=_events),
        Command(name="wait", arguments=_ID, help="Wait for its end and give its result.", function=_wait),
        Command(name="cancel", arguments=_ID, help="Cancel it.", function=_cancel),
        Command(name="answer", arguments="[ID] TEXT", help="Answer its question.", function=_answer),
        Command(
            name="ask",
            arguments="[OPTIONS] TEXT",
            help="Run a task from one line, with the options of %%aesop; a ? at the very end needs quotes.",
            function=_ask,
        ),
        Command(
            name="model",
            arguments="[NAME]",
            help="The model in use; with a name, use that one; with '', go back to the default.",
            function=_model,
        ),
        Command(name="doctor", help="What is set up, and what to do where it is not well.", function=_doctor),
        Command(name="help", help="This, and the options of %%aesop.", function=_help),
    )
}
"""All subcommands, in the order of the help."""


def line_help() -> str:
    """What `%aesop?` shows: every subcommand, every option of `ask`, examples."""
    lines = [f"  {f'{command.name} {command.arguments}':24}{command.help}" for command in COMMANDS.values()]
    return "\n".join(
        [
            "Manage tasks: %aesop SUBCOMMAND.",
            "",
            "Subcommands (without ID the latest run, or the one under way, is meant):",
            *lines,
            "",
            "Options of ask (they stand before the text):",
            options_help(),
            "",
            "Examples:",
            "  n = %aesop ask -r int How many letters has {{word}}",
            "  %aesop cancel",
            "  df = %aesop runs",
            "  %aesop answer r3 The second one",
        ]
    )


def cell_help() -> str:
    """What `%%aesop?` shows: the form of a cell, every option, examples."""
    return f"""Run a task: %%aesop [NAME <<] [OPTIONS], and below it what is to be done.

The first paragraph is the objective, the rest says how. {{{{expression}}}} is replaced by its value;
write \\{{{{ for two braces. The result is shown, and bound to NAME; tables are DataFrames.
Values with spaces or quotes in them stand in quotes, as in a shell.

Options:
{options_help()}

Examples:
  %%aesop
  Say in one sentence what the file {{{{path}}}} is for.

  %%aesop bakeries << --columns "name, country, staff:int?" -t search --max-seconds 60
  Find five European bakery chains founded after {{{{year}}}}.

  Prefer primary sources; leave a field empty rather than guess.

  %%aesop kind << -r 'Literal["bug", "idea", "praise"]' -i review
  Say what kind of feedback this is."""

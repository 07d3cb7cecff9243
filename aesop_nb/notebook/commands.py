"""The subcommands of `%aesop`: one table that feeds the dispatch, the help and completion."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..config import settings
from ..errors import UsageError
from ..history.histories import runs
from ..mapping.map_runs import MapRun
from ..models.choosing import choose_model
from ..models.transcript import Model
from ..quick import result_of
from ..sessions import find_run, recent_runs
from ..tasks import Task
from ..texts import nearest, one_line
from .cells import Cell
from .doctor import doctor, model_line
from .history_commands import HISTORY, kept_or_latest
from .map_html import MapBlock
from .memory_commands import MEMORY
from .options import options_help
from .outcomes import Block, Text, run_cell, shown
from .parsing import unquote
from .replies import reply
from .run_trees import run_tree_df
from .subcommands import (
    ID,
    NOTHING_RAN,
    Command,
    Notebook,
    latest,
    named_or_latest,
    one_word,
    only,
    under_way,
)
from .task_code import task_code
from .wording import duration, plain_line

if TYPE_CHECKING:
    from ..running import Run


def run_line(line: str, notebook: Notebook) -> Any:
    """Does what the line behind `%aesop` says; an empty one shows the status.

    Raises:
        UsageError: If there is no such subcommand, or it cannot use what follows.
    """
    name, rest = (*line.split(maxsplit=1), "", "")[:2]
    if asks_for_help(line):
        name, rest = "help", ""
    elif name.startswith("-"):  # IPython sends who writes %%aesop above nothing here
        name, rest = "ask", line
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


# The subcommands -------------------------------------------------------------------------------------


def _status(_: Notebook, rest: str) -> Text:
    recent = recent_runs()
    if not recent:
        return Text(NOTHING_RAN)
    told = dict.fromkeys([*under_way(), recent[-1]])
    return Text("\n".join(_status_line(run) for run in told))


def _status_line(run: Run[Any]) -> str:
    if run.status.is_final:
        return plain_line(run.log)
    parts = [f"{run.status} {one_line(run.log.task, 80)}", run.current_action]
    if run.question:
        parts.append(f"{one_line(run.question, 200)} (%aesop answer {run.id} …)")
    parts += [duration(run.duration_seconds), f"run {run.id}"]
    return " · ".join(part for part in parts if part)


def _tasks(_: Notebook, rest: str) -> Any:
    return run_tree_df(recent_runs())


def _runs(_: Notebook, rest: str) -> Any:
    return runs()


def _show(_: Notebook, rest: str) -> Block | MapBlock:
    run = kept_or_latest(rest)
    return MapBlock(run) if isinstance(run, MapRun) else Block(run.log, getattr(run, "children", ()))


def _events(_: Notebook, rest: str) -> Any:
    return kept_or_latest(rest).events_df()


def _wait(_: Notebook, rest: str) -> Any:
    run = find_run(one_word(rest)) if rest else only(under_way() or [latest()], "are under way")
    return shown(result_of(run))


def _cancel(_: Notebook, rest: str) -> Text:
    active = under_way()
    if not rest and not active:
        return Text("Nothing is under way.")
    run = find_run(one_word(rest)) if rest else active[-1]
    run.cancel()
    with contextlib.suppress(TimeoutError):  # stubborn work is shown as it is: cancelling…
        run.wait_for_end(1.0)
    return Text(_status_line(run))


def _retry(_: Notebook, rest: str) -> Any:
    return shown(result_of(named_or_latest(rest).retry()))


def _resume(_: Notebook, rest: str) -> Any:
    run: Any = kept_or_latest(rest)  # a stored one says how to go on with it
    return shown(result_of(run.resume()))


def _answer(_: Notebook, rest: str) -> Text:
    asking = [run for run in recent_runs() if run.question]
    first, behind = (*rest.split(maxsplit=1), "", "")[:2]
    if first[:1] in ("r", "u") and first[1:].isdecimal():
        run, text = find_run(first), behind
    elif asking:
        run, text = only(asking, "wait for an answer"), rest
    else:
        raise UsageError("No run waits for an answer.")
    return Text(reply(run, text))


def _ask(notebook: Notebook, rest: str) -> Any:
    return run_cell(Cell.read_line(rest), notebook.namespace, notebook.bind)


def _code(notebook: Notebook, rest: str) -> Text:
    found = notebook.namespace.get(one_word(rest, "run or task")) if rest else None
    code = task_code(found if isinstance(found, Task) else named_or_latest(rest).task, notebook.namespace)
    notebook.write_next(code.source)
    return Text("\n".join(["The next cell holds it as a @task function.", *code.notes]))


def _model(notebook: Notebook, rest: str) -> Text:
    if rest:
        name = unquote(one_word(rest, "model"))
        if isinstance(notebook.namespace.get(name), Model):
            raise UsageError(
                f"{name!r} is a model object, and the setting is a name. Give it to a cell: %%aesop -m {name}"
            )
        if name:
            choose_model(name)
        settings.model = name or None
    return Text(model_line())


def _doctor(_: Notebook, rest: str) -> Text:
    if rest not in ("", "--check"):
        raise UsageError(f"%aesop doctor takes --check and nothing else, not {one_line(rest)!r}.")
    return Text(doctor(check=bool(rest)))


def _help(_: Notebook, rest: str) -> Text:
    return Text(f"{line_help()}\n\n{cell_help()}")


_OWN = (
    Command(name="status", help="The latest run and those under way; %aesop alone.", function=_status),
    Command(
        name="tasks",
        help="The runs of this session with those inside them, as a DataFrame.",
        example="df = %aesop tasks",
        function=_tasks,
    ),
    Command(name="runs", help="All runs as a DataFrame.", example="df = %aesop runs", function=_runs),
    Command(name="show", arguments=ID, help="A run as the saved notebook shows it.", function=_show),
    Command(
        name="events",
        arguments=ID,
        help="What happened in it, as a DataFrame.",
        example="df = %aesop events r7",
        function=_events,
    ),
    Command(
        name="wait",
        arguments=ID,
        help="Wait for its end and give its result.",
        example="value = %aesop wait",
        function=_wait,
    ),
    Command(name="cancel", arguments=ID, help="Cancel it.", function=_cancel),
    Command(name="retry", arguments=ID, help="Run its task again and give the result.", function=_retry),
    Command(
        name="resume",
        arguments=ID,
        help="Go on where a failed or cancelled run stopped, and give the result.",
        function=_resume,
    ),
    Command(
        name="answer",
        arguments="[ID] TEXT",
        help="Answer its question (--skip passes it over), or approve or deny its call.",
        example="%aesop answer r3 The second one",
        function=_answer,
    ),
    Command(
        name="ask",
        arguments="[OPTIONS] TEXT",
        help="Run a task from one line, with the options of %%aesop; a ? at the very end needs quotes.",
        example="n = %aesop ask -r int How many letters has {{word}}",
        function=_ask,
    ),
    Command(
        name="code",
        arguments="[ID|TASK]",
        help="Write the task of a run, or a Task, as a @task function into the next cell.",
        example="%aesop code r7",
        function=_code,
    ),
    Command(
        name="model",
        arguments="[MODEL]",
        help="The model in use; with a name, use that one; with '', go back to the default.",
        example="%aesop model gpt-5-mini",
        function=_model,
    ),
    MEMORY,
    *HISTORY,
    Command(
        name="doctor",
        arguments="[--check]",
        help="What is set up, and what to do where it is not well; --check also asks the model.",
        function=_doctor,
    ),
    Command(name="help", help="This, and the options of %%aesop.", function=_help),
)

COMMANDS: Mapping[str, Command] = {command.name: command for command in _OWN}
"""All subcommands, in the order of the help."""


def line_help() -> str:
    """What `%aesop?` shows: every subcommand, every option of `ask`, examples."""
    lines = [_command_help(command) for command in COMMANDS.values()]
    examples = [f"  {command.example}" for command in COMMANDS.values() if command.example]
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
            *examples,
        ]
    )


def _command_help(command: Command) -> str:
    head = f"  {command.name} {command.arguments}".rstrip()
    return f"{head:25} {command.help}"


def cell_help() -> str:
    """What `%%aesop?` shows: the form of a cell, every option, examples."""
    return f"""Run a task: %%aesop [VARIABLE <<] [OPTIONS], and below it what is to be done.

The first paragraph is the objective, the rest says how. {{{{expression}}}} is replaced by its value;
write \\{{{{ for two braces. The result is shown, and bound to VARIABLE; tables are DataFrames.
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
  Say what kind of feedback this is.

  %%aesop --run kind_of -i text=review
  Be strict about what counts as a bug."""

"""`%%aesop` and `%aesop` in a real shell, with a scripted model in a variable."""

from __future__ import annotations

import contextlib
import datetime
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pydantic
import pytest
from helping import eventually
from shells import Notebook, fresh_shell

from aesop_nb import Run, Task, TaskCancelled, TaskFailed, settings, tool
from aesop_nb.config import temporary_settings
from aesop_nb.models.transcript import ModelRequest, SystemMessage
from aesop_nb.notebook import magics
from aesop_nb.notebook.commands import COMMANDS
from aesop_nb.notebook.options import FLAGS
from aesop_nb.sessions import find_run
from aesop_nb.testing import call, failure, result


class Company(pydantic.BaseModel):
    name: str
    staff: int | None = None


@pytest.fixture
def bare_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A shell of its own, without the magics."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    with fresh_shell() as shell:
        yield shell


@pytest.fixture
def nb(bare_shell: Any, capsys: pytest.CaptureFixture[str]) -> Iterator[Notebook]:
    magics.register(bare_shell)
    bare_shell.user_ns["Company"] = Company
    yield Notebook(bare_shell, capsys.readouterr)
    magics.unregister(bare_shell)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


class Gate:
    """A tool that holds its run until the test opens it."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.reached = threading.Event()

    def __call__(self) -> str:
        self.reached.set()
        assert self.open.wait(20)
        return "opened"


def hold(gate: Gate) -> Callable[[], str]:
    def hold() -> str:
        """Waits."""
        return gate()

    return hold


def texts(request: ModelRequest) -> str:
    return "\n---\n".join(
        message.text for message in request.messages if not isinstance(message, SystemMessage)
    )


# Loading ---------------------------------------------------------------------------------------------


def test_registering_twice_and_unregistering_leave_the_shell_as_it_was(
    bare_shell: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    frame_html = pd.DataFrame._repr_html_
    before = (
        bare_shell.CustomTB,
        bare_shell.show_usage_error.__func__,
        dict(bare_shell.magics_manager.registry),
    )
    known = {kind: set(found) for kind, found in bare_shell.magics_manager.magics.items()}
    magics.register(bare_shell)
    magics.register(bare_shell)
    assert bare_shell.find_line_magic("aesop") is not None
    assert bare_shell.find_cell_magic("aesop") is not None
    magics.unregister(bare_shell)
    magics.unregister(bare_shell)
    assert (
        bare_shell.CustomTB,
        bare_shell.show_usage_error.__func__,
        dict(bare_shell.magics_manager.registry),
    ) == before
    assert {kind: set(found) for kind, found in bare_shell.magics_manager.magics.items()} == known
    assert pd.DataFrame._repr_html_ is frame_html
    assert capsys.readouterr() == ("", "")


def test_unregistering_leaves_a_magic_of_that_name_that_is_not_ours(bare_shell: Any) -> None:
    magics.register(bare_shell)
    bare_shell.register_magic_function(lambda line: line, "line", "aesop")
    magics.unregister(bare_shell)
    assert bare_shell.find_line_magic("aesop") is not None
    assert bare_shell.find_cell_magic("aesop") is None


@pytest.mark.parametrize("cell", ["%%aesop?", "%aesop?", "%aesop help", "%aesop -h", "%aesop ask --help"])
def test_help_names_every_option_and_has_examples(nb: Notebook, cell: str) -> None:
    nb.run(cell)
    assert all(re.search(rf"(?<!\S){re.escape(flag)}\b", nb.printed) for flag in FLAGS)
    assert "Examples:" in nb.printed
    if cell != "%%aesop?":
        assert all(f"  {name} " in nb.printed for name in COMMANDS)


# What a cell gives -----------------------------------------------------------------------------------


def test_a_cell_shows_its_result_once_and_leaves_it_in_out(nb: Notebook) -> None:
    nb.script("Paul")
    assert nb.run("%%aesop -m m\nName a bakery") == "Paul"
    assert nb.printed.count("Paul") == 1
    assert nb["_"] == "Paul"


@pytest.mark.parametrize("line", ["df << -m m", "-o df -m m", "--out=df -m m"])
@pytest.mark.parametrize("kind", ["-r list[Company]", "-c 'name, staff:int?'"])
def test_a_table_is_bound_and_shown_as_a_frame(nb: Notebook, line: str, kind: str) -> None:
    nb.script(result([{"name": "Paul", "staff": 5}, {"name": "Kamps", "staff": None}]))
    shown = nb.run(f"%%aesop {line} {kind}\nList bakeries")
    assert type(nb["df"]) is pd.DataFrame
    assert shown is nb["df"]
    assert nb["df"].dtypes.astype(str).to_dict() == {"name": "str", "staff": "Int64"}
    assert nb["df"]["name"].tolist() == ["Paul", "Kamps"]
    assert nb["df"].attrs["aesop"]["run_id"].startswith("r")
    assert "Kamps" in nb.printed


def test_an_empty_table_keeps_its_columns(nb: Notebook) -> None:
    nb.script(result([]))
    assert list(nb.run("%%aesop -m m -c 'a:int, b'\nList").columns) == ["a", "b"]


@pytest.mark.parametrize(
    ("kind", "handed_in", "value"),
    [
        ("int", 42, 42),
        ("list[str]", ["a", "b"], ["a", "b"]),
        ("Company", {"name": "Paul"}, Company(name="Paul")),
        ("date", "2026-01-02", datetime.date(2026, 1, 2)),
        ("""'Literal["bug", "idea"]'""", "idea", "idea"),
        ('["x", "y"]', "y", "y"),
    ],
)
def test_what_is_no_table_comes_as_it_is(nb: Notebook, kind: str, handed_in: Any, value: Any) -> None:
    nb.script(result(handed_in))
    assert nb.run(f"%%aesop v << -m m -r {kind}\nGo") == value
    assert nb["v"] == value


def test_no_result_shows_nothing(nb: Notebook) -> None:
    nb.script(result())
    assert nb.run("%%aesop -m m -r None\nGo") is None
    assert nb.printed == ""


def test_a_failed_run_raises_its_own_error_and_leaves_the_name_alone(nb: Notebook) -> None:
    nb.script(failure("no bakeries there"))
    nb.run("df = 'before'")
    error = nb.fail("%%aesop df << -m m\nGo")
    assert isinstance(error, TaskFailed)
    assert error.run is not None
    assert nb["df"] == "before"
    assert "no bakeries there" in nb.printed + nb.errors
    assert "Traceback" not in nb.printed + nb.errors


def test_lazy_gives_the_task_and_sends_nothing(nb: Notebook) -> None:
    model = nb.script("Paul")
    task = nb.run("%%aesop t << -m m --lazy\nName a bakery")
    assert isinstance(task, Task)
    assert task is nb["t"]
    assert model.requests == []
    assert nb.run("t.run()") == "Paul"


def test_tools_inputs_and_answers_reach_the_run(nb: Notebook) -> None:
    def search(query: str) -> str:
        """Searches."""
        return f"found {query}"

    model = nb.script(call("search", query="Lille"), call("talk_to_user", question="Which?"), result("done"))
    nb.shell.push({"search": search, "city": "Lille"})
    assert nb.run("%%aesop r << -m m -t search -i city -u --answer 'the second'\nGo") == "done"
    tools = [spec.name for spec in model.requests[0].tools]
    assert {"search", "talk_to_user"} <= set(tools)
    assert "city:\nLille" in texts(model.requests[0])
    assert "found Lille" in texts(model.requests[1])
    assert "the second" in texts(model.requests[2])


def test_ipython_expands_nothing_in_the_options(nb: Notebook) -> None:
    nb.shell.user_ns["x"] = 7
    assert nb.run("%%aesop --lazy -n '{x} $x'\nGo").name == "{x} $x"


def test_without_user_the_agent_is_not_offered_to_ask(nb: Notebook) -> None:
    model = nb.script("done")
    nb.run("%%aesop -m m\nGo")
    assert "talk_to_user" not in [spec.name for spec in model.requests[0].tools]


# The text --------------------------------------------------------------------------------------------

BODY = """Explain {"a": {"b": 1}} and f"{x!r:>10} {y}" $HOME ${x} %d %timeit !ls

{k: v for k, v in d.items()}  \t
   indented, spaces at the end  \n
>>> a = [1]
... b
In [3]: x
{{x}} \\{{x}} ünïcode \u202e 🦊 what?"""


def test_the_body_reaches_the_model_as_it_was_typed(nb: Notebook) -> None:
    model = nb.script("ok")
    nb.shell.user_ns["x"] = 7
    nb.run(f"%%aesop -m m\n{BODY}\n")
    expected = BODY.replace("\\{{x}}", "\0").replace("{{x}}", "7").replace("\0", "{{x}}")
    assert texts(model.requests[0]) == re.sub(r"\n(?:[ \t]*\n)+", "\n\n", expected, count=1)


def test_raw_sends_braces_too(nb: Notebook) -> None:
    model = nb.script("ok")
    nb.run(f"%%aesop -m m --raw\n{BODY}\n")
    assert texts(model.requests[0]) == BODY


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("%%aesop -m m\nGo {{nope}}", "{{nope}}: there is no 'nope' in this notebook."),
        ("%%aesop -m m\nGo {{1/0}}", "{{1/0}} raised ZeroDivisionError: division by zero."),
        ("%%aesop --modle m\nGo", "Did you mean '--model'?"),
        ("%%aesop -m m --lasy\nGo", "Did you mean '--lazy'?"),
        ("%%aesop class << -m m\nGo", "'class' is a word of Python's own"),
        ("%%aesop 1x << -m m\nGo", "'1x' is none"),
        ("%%aesop -m m\n  \n", "The cell is empty"),
        ("%%aesop -m m\n", "the cell body is empty"),
        ("%%aesop -m m -t serch\nGo", "Did you mean 'search'?"),
        ("%%aesop -m m -t xyz\nGo", "no 'xyz' in this notebook. There are: search."),
        ("%%aesop -m m -i xyz\nGo", "no 'xyz' in this notebook."),
        ("%%aesop -m m --max-turns 0\nGo", "--max-turns 0 does not fit"),
        ("%%aesop -m m --max-cost 1\nGo", "max_cost_usd=1 cannot be kept"),
        ("%%aesop -m m -r int -c a\nGo", "exclude one another"),
        ("%%aesop -m m -c 'a, a'\nGo", "Column 'a' is written twice"),
        ("%%aesop -m m -r Unknown\nGo", "there is no 'Unknown'"),
        ("%%aesop -m gpt-5-mini\nGo", "needs a key"),
        ("%aesop ask -m m -r Unknown Go", "there is no 'Unknown'"),
        ("%aesop ask", "nothing to ask"),
        ("%aesop statsu", "Did you mean 'status'?"),
        ("%aesop help now", "takes nothing more, not 'now'"),
        ("%aesop doctor now", "not 'now'"),
        ("%aesop wait r0", "There is no run 'r0'"),
    ],
)
def test_a_mistake_is_one_line_and_sends_nothing(nb: Notebook, cell: str, message: str) -> None:
    model = nb.script("never")
    nb.shell.push({"search": abs, "before": len(nb.run("df = %aesop runs\ndf"))})
    assert message in nb.mistake(cell)
    assert model.requests == []
    assert nb.run("df = %aesop runs\nlen(df) - before") == 0


def test_a_required_model_that_is_not_there_is_one_line(nb: Notebook) -> None:
    with temporary_settings(require_model=True):
        assert "A model is required" in nb.mistake("%%aesop\nGo")


# In the background -----------------------------------------------------------------------------------


def test_in_the_background_the_run_comes_at_once_and_all_ways_give_its_result(
    nb: Notebook, gate: Gate
) -> None:
    nb.script(call("hold"), result(42))
    nb.shell.user_ns["hold"] = hold(gate)
    nb.run("%%aesop -r int\nwarm up")
    begun = time.monotonic()
    run = nb.run("%%aesop r << -m m -t hold -r int --bg\nCount")
    assert time.monotonic() - begun < 0.2
    assert isinstance(run, Run)
    assert run is nb["r"]
    assert not run.status.is_final
    gate.open.set()
    assert nb.run("%aesop wait") == 42
    assert nb.run(f"%aesop wait {run.id}") == 42
    assert nb.run("await r") == 42
    assert run.result == 42


def test_waiting_gives_a_table_as_a_frame(nb: Notebook) -> None:
    nb.script(result([{"a": 1}]))
    nb.run("%%aesop -m m -c a:int --bg\nGo")
    nb.run("df = %aesop wait")
    assert nb["df"]["a"].tolist() == [1]


def test_cancelling_twice_is_fine(nb: Notebook, gate: Gate) -> None:
    nb.script(call("hold"))
    nb.shell.user_ns["hold"] = hold(gate)
    run = nb.run("%%aesop r << -m m -t hold --bg\nGo")
    assert gate.reached.wait(20)
    assert "running" in repr(nb.run("%aesop"))
    assert "cancelled" in repr(nb.run("%aesop cancel"))
    assert "cancelled" in repr(nb.run(f"%aesop cancel {run.id}"))
    assert repr(nb.run("%aesop cancel")) == "Nothing is under way."
    assert isinstance(nb.fail("%aesop wait"), TaskCancelled)


def test_which_of_several_must_be_said(nb: Notebook, gate: Gate) -> None:
    nb.shell.user_ns["hold"] = hold(gate)
    runs = []
    for _ in range(2):
        nb.script(call("hold"), "done")
        runs.append(nb.run("%%aesop -m m -t hold --bg\nGo"))
    message = nb.mistake("%aesop wait")
    assert all(run.id in message for run in runs)
    assert len(repr(nb.run("%aesop")).splitlines()) == 2
    gate.open.set()
    assert [nb.run(f"%aesop wait {run.id}") for run in runs] == ["done", "done"]


@pytest.fixture
def asking(nb: Notebook, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Run[Any]]:
    """Starts a run whose question waits for `answer()`."""
    monkeypatch.setattr("aesop_nb.tasks.find_audience", lambda: "widget")

    def start(cell: str) -> Run[Any]:
        asked = threading.Event()
        nb.script(
            call("talk_to_user", question="Which one?"), lambda request: texts(request).split("---\n")[-1]
        )
        nb.run(f"t = {cell}") if cell.startswith("%") else nb.run(f"%%aesop t << --lazy -m m -u\n{cell}")
        run: Run[Any] = nb["t"].start()
        run.on("user_asked", lambda event: asked.set())
        assert run.question or asked.wait(20)
        return run

    return start


def test_a_question_is_shown_and_answered_from_a_line(
    nb: Notebook, asking: Callable[[str], Run[Any]]
) -> None:
    run = asking("Choose")
    with contextlib.suppress(TimeoutError):
        run.wait_for_end(0.05)
    assert "Which one?" in repr(nb.run("%aesop status"))
    nb.run("%aesop answer the  second one, isn't it")
    assert run.wait() == "the  second one, isn't it"
    second = asking("Choose")
    nb.run(f"%aesop answer {second.id} 'yes?'")
    assert second.wait() == "yes?"
    assert "waits for no answer" in nb.mistake(f"%aesop answer {second.id} again")


def test_an_answer_without_a_text_is_an_error(nb: Notebook, asking: Callable[[str], Run[Any]]) -> None:
    run = asking("Choose")
    assert "There is no answer" in nb.mistake(f"%aesop answer {run.id}")
    run.cancel()


def test_a_call_is_decided_about_from_a_line(nb: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aesop_nb.tasks.find_audience", lambda: "widget")
    deleted: list[str] = []

    def delete(path: str) -> str:
        deleted.append(path)
        return "deleted"

    nb.script(*[call("delete", path=path) for path in "abcd"], "done")
    nb.shell.user_ns["delete"] = tool(delete, requires_approval=True)
    run = nb.run("%%aesop --bg -m m -t delete\nTidy up")

    def decided(text: str) -> str:
        assert eventually(lambda: run.log.approval is not None)
        approval = run.log.approval
        said = repr(nb.run(f"%aesop answer {run.id} {text}"))
        assert eventually(lambda: approval.approved is not None)
        return said

    assert eventually(lambda: run.log.approval is not None)
    for nothing in ("", "fine by me", "approve it"):
        assert "waits for approval of a call" in nb.mistake(f"%aesop answer {run.id} {nothing}".strip())
    assert "denied the call" in decided("deny too early")
    assert "approved the call" in decided("approve")
    assert "approved the call" in decided("'approve all'")
    assert nb.run(f"%aesop wait {run.id}") == "done"
    assert deleted == ["b", "c", "d"]
    assert run.log.approvals[0].reason == "too early"


def test_a_question_is_skipped_and_a_secret_given_from_a_line(
    nb: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aesop_nb.tasks.find_audience", lambda: "widget")
    got: list[str] = []
    nb.script(
        call("talk_to_user", question="Which?"),
        call("talk_to_user", question="Key?", kind="secret"),
        call("use", key="<secret:1>"),
        "done",
    )
    nb.shell.user_ns["use"] = tool(lambda key: got.append(key), name="use", description="")
    run = nb.run("%%aesop --bg -m m -u -t use\nAsk")
    assert eventually(lambda: run.question == "Which?")
    assert "skipped" in repr(nb.run(f"%aesop answer {run.id} --skip"))
    assert eventually(lambda: run.question == "Key?")
    assert "saved with the notebook" in nb.mistake(f"%aesop answer {run.id} hunter2")
    assert "cannot be skipped" in nb.mistake(f"%aesop answer {run.id} --skip")
    prompts: list[str] = []
    monkeypatch.setattr("getpass.getpass", lambda prompt: prompts.append(prompt) or "hunter22")
    assert repr(nb.run(f"%aesop answer {run.id}")) == f"answered {run.id} with a secret"
    assert nb.run(f"%aesop wait {run.id}") == "done"
    assert (prompts, got) == (["Key? "], ["hunter22"])
    assert "hunter22" not in "".join(event.model_dump_json() for event in run.events)


def test_a_secret_typed_too_late_answers_no_other_question(
    nb: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aesop_nb.tasks.find_audience", lambda: "widget")
    nb.script(
        call("talk_to_user", question="Key?", kind="secret", time_limit_seconds=0.2),
        call("talk_to_user", question="Name?"),
        lambda request: texts(request).split("---\n")[-1],
    )
    run = nb.run("%%aesop --bg -m m -u\nAsk")

    def type_slowly(prompt: str) -> str:
        assert eventually(lambda: run.question == "Name?")
        return "hunter22"

    assert eventually(lambda: run.question == "Key?")
    monkeypatch.setattr("getpass.getpass", type_slowly)
    assert "waits for no answer" in nb.mistake(f"%aesop answer {run.id}")
    assert run.question == "Name?"
    run.answer("Ann")
    assert run.wait() == "Ann"


# The other subcommands -------------------------------------------------------------------------------


def test_ask_is_assignable_and_takes_the_options(nb: Notebook) -> None:
    model = nb.script(result(3), result(4))
    nb.shell.user_ns["word"] = "fox"
    nb.run("n = %aesop ask -m m -r int How many letters has {{word}}, {word} $word isn't it")
    assert nb["n"] == 3
    assert texts(model.requests[0]) == "How many letters has fox, {word} $word isn't it"
    assert nb.run('%aesop ask -m m -r int -o k "How many?"') == 4
    assert nb["k"] == 4
    assert texts(model.requests[1]) == "How many?"


def test_runs_and_events_are_frames(nb: Notebook) -> None:
    nb.script("one")
    nb.run("%%aesop -m m -n first\nGo")
    nb.run("df = %aesop runs")
    assert type(nb["df"]) is pd.DataFrame
    assert nb["df"].iloc[-1][["task", "status"]].tolist() == ["first", "completed"]
    run_id = nb["df"].iloc[-1]["run_id"]
    assert nb.run(f"%aesop events {run_id}")["type"].iloc[-1] == "run_completed"
    assert nb.run("%aesop events")["run_id"].iloc[0] == run_id
    assert nb.run("%aesop tasks")["run_id"].iloc[-1] == run_id


def test_show_gives_the_block_of_a_run(nb: Notebook) -> None:
    nb.script("one")
    nb.run("%%aesop -m m -n '<b>first</b>'\nGo")
    block = nb.run("%aesop show")
    data, _ = nb.shell.display_formatter.format(block)
    assert "completed" in data["text/html"]
    assert "&lt;b&gt;first" in data["text/html"]
    assert "<b>first" not in data["text/html"]
    assert data["text/plain"].startswith("completed ✓ <b>first</b>")


def test_the_model_is_shown_and_set(nb: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "rehearsal" in repr(nb.run("%aesop model"))
    assert "needs a key" in nb.mistake("%aesop model gpt-5")
    assert settings.model is None
    monkeypatch.setenv("OPENAI_API_KEY", "sk-sentinel-0123456789abcdef")
    assert repr(nb.run("%aesop model gpt-5")).startswith("gpt-5 (from settings.model) at OpenAI")
    assert settings.model == "gpt-5"
    assert "gpt-5-mini (the default where OPENAI_API_KEY is set)" in repr(nb.run("%aesop model ''"))
    assert settings.model is None
    nb.script()
    assert "%%aesop -m m" in nb.mistake("%aesop model m")


# The doctor ------------------------------------------------------------------------------------------


def test_the_doctor_says_what_to_do(nb: Notebook) -> None:
    text = repr(nb.run("%aesop doctor"))
    assert "a rehearsal, not a language model" in text
    assert "To connect a model, set OPENAI_API_KEY" in text
    assert "OPENAI_API_KEY is not set" in text
    assert "IPython in a terminal" in text
    assert "NeedsHuman" in text
    assert re.search(r"versions +Python \d.*ipython \d.*openai \d.*pandas \d", text)


def test_the_ids_in_lines_are_those_of_runs(nb: Notebook) -> None:
    nb.script("one")
    nb.run("%%aesop -m m\nGo")
    shown = re.search(r"run (r\d+)", repr(nb.run("%aesop")))
    assert shown is not None
    assert find_run(shown[1]).result == "one"


def test_a_line_is_split_at_any_blank_and_says_what_it_wanted(nb: Notebook) -> None:
    nb.script("one")
    run_id = re.search(r"run (r\d+)", repr(nb.run("%%aesop -m m\nGo\n") and nb.run("%aesop")))
    assert run_id is not None
    assert nb.run(f"%aesop show\t{run_id[1]}") is not None
    assert "One model is named here, not 'a b'" in nb.mistake("%aesop model a b")


def test_a_text_result_is_shown_as_it_reads(nb: Notebook) -> None:
    nb.script("One line.\nAnother\x1b[2J line.")
    nb.run("%%aesop said << -m m\nWrite.")
    assert "One line.\nAnother\\x1b[2J line." in nb.printed
    assert nb["said"] == nb["_"] == "One line.\nAnother\x1b[2J line."
    assert type(nb["said"]) is str


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_a_cell_that_asks_for_help_gets_it_and_runs_nothing(nb: Notebook, flag: str) -> None:
    nb.run(f"%%aesop {flag}\nGo.")
    assert "--columns" in nb.printed
    assert "Example" in nb.printed or "%%aesop" in nb.printed

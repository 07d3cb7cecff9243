"""The options that do more than describe a task, the subcommands beside them, `ask()` and `%config`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytest
from helping import at_every_start
from shells import Notebook, fresh_shell
from traitlets.config import Config

from aesop_nb import (
    Task,
    TaskConfig,
    UsageError,
    ask,
    instructions,
    scopes,
    settings,
    task,
    temporary_settings,
)
from aesop_nb.dry_runs import DryRun
from aesop_nb.errors import TaskFailed
from aesop_nb.notebook import magics
from aesop_nb.notebook.options import EXCLUSIVE, FLAGS, OPTIONS
from aesop_nb.testing import ScriptedModel, call, failure, result


def search(query: str) -> str:
    """Searches."""
    return f"found {query}"


@pytest.fixture
def nb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Notebook]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    with fresh_shell() as shell:
        magics.register(shell)
        shell.push({"search": search, "year": 1999})
        yield Notebook(shell, capsys.readouterr)


def test_every_option_has_an_example_in_the_help_and_can_be_parsed(nb: Notebook) -> None:
    nb.run("%%aesop?")
    for option in OPTIONS:
        assert option.example.split()[0] in (option.long, option.short)
        assert option.kind == "flag" or f"e.g. {option.example}" in nb.printed
    assert {flag for pair in EXCLUSIVE for flag in pair} <= set(FLAGS)


# --dry-run -------------------------------------------------------------------------------------------


def test_a_dry_run_shows_what_would_be_sent_and_sends_nothing(nb: Notebook) -> None:
    model = nb.script(result(3))
    line = "-m m -r int -t search -u -i year --max-tokens 5000 --max-turns 4 --retries 1"
    dry = nb.run(f"%%aesop plan << {line} --dry-run\nCount {{{{year}}}}\n\nBe quick")
    assert isinstance(dry, DryRun)
    assert dry is nb["plan"]
    assert model.requests == []
    assert nb.run("%aesop") is not None
    assert nb.run(f"%%aesop {line}\nCount {{{{year}}}}\n\nBe quick") == 3
    (sent,) = model.requests
    assert dry.messages == sent.messages
    assert dry.tools == sent.tools
    assert dry.result_schema == {"type": "integer"}
    assert (dry.model, dry.agent, dry.task) == (model.name, "Aesop", "Count 1999")
    assert dry.limits == TaskConfig(max_tokens=5000, max_turns=4, max_retries=1).model_dump(mode="json")
    assert (dry.tokens_at_most, dry.requests_at_most, dry.cost_usd_at_most) == (5000, 8, None)
    size = sum(len(message.text) for message in sent.messages)
    assert size < dry.input_tokens_at_most < size + 4_000


def test_a_dry_run_reads_as_a_text(nb: Notebook) -> None:
    nb.script()
    nb.run("%%aesop -m m --dry-run -t search --max-turns 3\nSay \x1b[2J hello")
    for part in (
        "nothing was sent",
        "Say \\x1b[2J hello",
        "search: Searches.",
        "max_turns = 3",
        "cost       not known",
    ):
        assert part in nb.printed


def test_a_dry_run_makes_no_run(nb: Notebook) -> None:
    nb.script()
    started = []
    with at_every_start(started.append):
        nb.run("%aesop ask -m m --dry-run Say hello")
    assert started == []


def test_a_dry_run_knows_the_bound_of_a_cost() -> None:
    dry = ask("Go", model=ScriptedModel(), dry_run=True)
    assert dry.cost_usd_at_most is None
    assert dry.tokens_at_most is None
    assert "no bound" in repr(dry)


def test_a_price_bounds_the_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("genai_prices")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-sentinel-0123456789abcdef")
    dry = ask("Go", model="gpt-5-mini", max_tokens=1_000_000, dry_run=True)
    assert dry.cost_usd_at_most is not None
    assert 0.1 < dry.cost_usd_at_most < 50
    assert f"at most USD {dry.cost_usd_at_most:.4f}" in repr(dry)
    assert "sentinel" not in repr(dry)


def test_a_dry_run_has_words_for_results_that_are_not_there(nb: Notebook) -> None:
    before = Task("Find out", name="findings", model=nb.script("42"))
    nb.shell.user_ns["before"] = before
    dry = nb.run("%%aesop -m m --dry-run -i before\nWrite")
    assert "<the result of findings>" in dry.messages[1].text
    assert any("findings runs first" in note for note in dry.notes)
    before.run()
    assert "before:\n42" in nb.run("%%aesop -m m --dry-run -i before\nWrite").messages[1].text


# --run -----------------------------------------------------------------------------------------------


def test_a_task_of_the_notebook_is_run_as_it_is(nb: Notebook) -> None:
    made = Task("Say", model=nb.script("hello"))
    nb.shell.user_ns["t"] = made
    assert nb.run("%%aesop said << --run t\n ") == "hello"
    assert len(made.runs) == 1


def test_options_of_the_cell_take_the_place_of_the_tasks(nb: Notebook) -> None:
    nb.script()
    nb.shell.user_ns["t"] = Task(
        "Say", instructions="Softly.", context={"a": 1}, tools=[search], config=TaskConfig(max_turns=3)
    )
    made = nb.run(
        "%%aesop --run t --lazy -m m -i year -r int --max-tokens 100 -n x\nBriefly.\n\nIn {{year}}."
    )
    assert (made.objective, made.instructions) == ("Say", "Softly.\n\nBriefly.\n\nIn 1999.")
    assert dict(made.context) == {"a": 1, "year": 1999}
    assert (made.result_type, made.model, made.name) == (int, nb["m"], "x")
    assert made.config.given() == {"max_turns": 3, "max_tokens": 100}
    assert [found.name for found in made.tools] == ["search"]


def test_a_task_function_is_run_with_inputs(nb: Notebook) -> None:
    nb.script(result("bug"), result("idea"))

    @task(model=nb["m"])
    def classify(text: str) -> Literal["bug", "idea"]:
        """Say what it is."""

    nb.shell.push({"classify": classify, "text": "It crashes"})
    assert nb.run("kind = %aesop ask --run classify -i text\nkind") == "bug"
    assert nb.run("%aesop ask --run classify -i \"text='Fly!'\"") == "idea"
    assert nb["m"].requests[1].context == {"text": "Fly!"}
    assert "classify(): missing a required argument: 'text'" in nb.mistake("%aesop ask --run classify")
    assert "--run: there is no 'clasify' in this notebook. Did you mean 'classify'?" in nb.mistake(
        "%aesop ask --run clasify"
    )
    assert "'year' is an int, neither a Task nor" in nb.mistake("%aesop ask --run year")


def test_options_alone_on_a_line_are_those_of_ask(nb: Notebook) -> None:
    """IPython wants a text below `%%aesop` and points to `%aesop` where there is none."""
    nb.shell.user_ns["t"] = Task("Say", model=nb.script("hello", "again"))
    assert "Did you mean the line magic %aesop" in nb.mistake("%%aesop --run t")
    assert nb.run("%aesop --run t") == "hello"
    assert nb.run("%aesop -m m Say it") == "again"
    assert "There is no option '--rnu'. Did you mean '--run'?" in nb.mistake("%aesop --rnu t")


def test_what_surrounds_a_task_stays_around_its_variant(nb: Notebook) -> None:
    with instructions("Write in French."):
        nb.shell.user_ns["t"] = Task("Say")
    model = nb.script("oui")
    nb.run("%aesop ask --run t -m m Briefly.")
    assert "Write in French." in model.requests[0].messages[0].text


# --view, --reuse -------------------------------------------------------------------------------------


def test_the_view_of_one_cell_is_carried_to_its_run(nb: Notebook) -> None:
    levels: list[str] = []
    with at_every_start(lambda run: levels.append(scopes.view_level())):
        for line in ("", "--view off", ""):
            nb.script("a")
            nb.run(f"%%aesop -m m {line}\nGo")
        with temporary_settings(view="compact"):
            ask("Go", model=ScriptedModel("a"))
            ask("Go", model=ScriptedModel("a"), view="full")
    assert levels == ["full", "off", "full", "compact", "full"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--view of", "--view 'of' is none of full, compact, off. Did you mean 'off'?"),
        ("--dry-run --bg", "--bg and --dry-run exclude one another"),
        ("--dry-run --lazy", "--lazy and --dry-run exclude one another"),
        ("--run", "--run needs a value: --run TASK"),
        ("--dryrun", "Did you mean '--dry-run'?"),
    ],
)
def test_a_mistake_in_them_is_one_line(nb: Notebook, line: str, message: str) -> None:
    assert message in nb.mistake(f"%%aesop {line}\nGo")


def test_reuse_reaches_the_task(nb: Notebook) -> None:
    assert nb.run("%%aesop --lazy --reuse\nGo").reuse is True
    assert nb.run("%%aesop --lazy\nGo").reuse is None


# Subcommands -----------------------------------------------------------------------------------------


def test_tasks_are_a_tree(nb: Notebook) -> None:
    def helper() -> str:
        """Helps."""
        return Task("Help", name="part", model=ScriptedModel("helped")).run()

    nb.script(call("helper"), "done")
    nb.shell.user_ns["helper"] = helper
    nb.run("%%aesop -m m -n whole -t helper\nGo")
    nb.run("df = %aesop tasks")
    tail = nb["df"].tail(2)
    assert tail["tree"].tolist() == ["whole", "└─ part"]
    assert tail["depth"].tolist() == [0, 1]
    assert tail["parent_run_id"].tolist()[1] == tail["run_id"].tolist()[0]
    assert nb["df"].dtypes.astype(str)[["tree", "depth", "parent_run_id"]].tolist() == ["str", "Int64", "str"]
    assert isinstance(nb["df"], pd.DataFrame)


def test_a_run_is_tried_again(nb: Notebook) -> None:
    nb.script(failure("not today"), "done")
    assert isinstance(nb.fail("%%aesop -m m\nGo"), TaskFailed)
    nb.run("again = %aesop retry")
    assert nb["again"] == "done"


def test_a_run_that_failed_is_gone_on_with(nb: Notebook) -> None:
    model = nb.script(call("search", query="Lille"), failure("not today"), "done")
    nb.fail("%%aesop -m m -t search\nGo")
    nb.run("value = %aesop resume")
    assert nb["value"] == "done"
    assert "found Lille" in str(model.requests[-1].messages)
    assert "is completed" in nb.mistake("%aesop resume")


def test_code_writes_the_next_cell(nb: Notebook) -> None:
    nb.script(result(3), result(4))
    nb.run("%%aesop -m m -n count -r int -t search\nCount {{year}}")
    assert "The next cell holds it" in repr(nb.run("%aesop code"))
    source = nb.shell.rl_next_input
    assert "@task(" in source
    assert nb.run(source) == 4
    assert nb["count"].task().objective == "Count 1999"
    nb.run("%%aesop later << --lazy -n other\nSay")
    nb.run("%aesop code later")
    assert "def other() -> str:" in nb.shell.rl_next_input
    assert "There is no run 'latr'" in nb.mistake("%aesop code latr")


# The function twin -----------------------------------------------------------------------------------


def test_ask_gives_what_the_cell_gives(nb: Notebook) -> None:
    rows = result([{"name": "Paul", "staff": None}])
    frame = ask("List", columns="name, staff:int?", model=ScriptedModel(rows), max_turns=2, tools=[search])
    nb.script(rows)
    cell = nb.run('%%aesop -m m -c "name, staff:int?"\nList')
    pd.testing.assert_frame_equal(frame, cell)
    assert ask("List", columns=["name", "staff:int?"], model=ScriptedModel(rows)).equals(frame)
    assert ask("Count", returns=int, model=ScriptedModel(result(3))) == 3
    assert type(ask("Say", model=ScriptedModel("hello"))) is str


def test_ask_takes_the_options_of_the_cell() -> None:
    made = ask(
        "Go",
        instructions="Slowly",
        name="short",
        returns=bool,
        inputs={"a": 1},
        tools=search,
        user=True,
        default="no",
        model="gpt-5-mini",
        max_seconds=60,
        max_tokens=1000,
        max_turns=3,
        max_tool_calls=0,
        max_cost=0.5,
        max_pages=4,
        allow="a.org",
        retries=1,
        memory="session",
        reuse=True,
        lazy=True,
    )
    assert (made.name, made.instructions, made.result_type, dict(made.context)) == (
        "short",
        "Slowly",
        bool,
        {"a": 1},
    )
    assert (made.user_access, made.default_answer, made.memory_scope, made.reuse) == (
        True,
        "no",
        "session",
        True,
    )
    assert made.config.given() == {
        "max_duration_seconds": 60,
        "max_tokens": 1000,
        "max_turns": 3,
        "max_tool_calls": 0,
        "max_cost_usd": 0.5,
        "max_pages": 4,
        "allowed_domains": ["a.org"],
        "max_retries": 1,
    }


def test_every_option_has_a_keyword_of_ask() -> None:
    keywords = set(inspect.signature(ask).parameters)
    named = {"input": "inputs", "answer": "answers"}
    not_needed = {"out", "raw", "run"}  # assignment, f-strings and task.run() are Python's words for them
    keys = {option.key.replace("-", "_") for option in OPTIONS} - not_needed
    assert {named.get(key, key) for key in keys} == keywords - {"objective", "instructions"}


def test_ask_in_the_background_and_with_answers() -> None:
    model = ScriptedModel(call("talk_to_user", question="Which?"), result("done"))
    run = ask("Go", model=model, user=True, answers=["the second"], bg=True)
    assert run.wait(20) == "done"
    assert "the second" in str(model.requests[1].messages)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"returns": int, "columns": "a"}, "returns= and columns= exclude one another"),
        ({"lazy": True, "dry_run": True}, "lazy= and dry_run= exclude one another"),
        ({"view": "of"}, "view='of' is none of full, compact, off"),
        ({"max_turns": 0}, "max_turns=0 does not fit"),
    ],
)
def test_what_does_not_fit_in_ask_is_an_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        ask("Go", model=ScriptedModel(), **options)


# %config ---------------------------------------------------------------------------------------------


def test_config_lists_every_setting_with_its_help_and_value(nb: Notebook) -> None:
    settings.view = "compact"
    nb.run("%config AesopMagics")
    for name in type(settings).model_fields:
        assert f"AesopMagics.{name}=<" in nb.printed
    assert "How much the live view shows" in nb.printed
    assert "Current: 'compact'" in nb.printed
    assert "AesopMagics.eager_mode=<Bool>" in nb.printed
    assert "AesopMagics.idle_timeout_seconds=<Float>" in nb.printed


def test_config_reads_and_writes_the_settings(nb: Notebook) -> None:
    nb.run("%config AesopMagics.model = 'gpt-5'")
    nb.run("%config AesopMagics.reuse = True")
    assert (settings.model, settings.reuse) == ("gpt-5", True)
    settings.model = None
    assert nb.run("%config AesopMagics.model") is None
    assert nb.run("%config AesopMagics.reuse") is True


def test_config_refuses_what_does_not_fit(nb: Notebook, caplog: pytest.LogCaptureFixture) -> None:
    nb.run("%config AesopMagics.view = 'of'")
    assert "settings: view='of' does not fit" in caplog.text + nb.errors
    assert settings.view == "full"


@pytest.mark.parametrize(
    ("name", "value", "error"), [("view", "compact", None), ("view", "of", "view='of' does not fit")]
)
def test_the_configuration_of_ipython_sets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, error: str | None
) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    config = Config()
    config.AesopMagics[name] = value
    with fresh_shell(config) as shell:
        if error is None:
            magics.register(shell)
            assert getattr(settings, name) == value
        else:
            with pytest.raises(Exception, match=error) as caught:
                magics.register(shell)
            assert caught.type.__module__.startswith("IPython")


def test_unloading_takes_the_traits_out(nb: Notebook) -> None:
    for _ in range(2):
        magics.unregister(nb.shell)
        magics.register(nb.shell)
    assert [type(found).__name__ for found in nb.shell.configurables].count("AesopMagics") == 1
    magics.unregister(nb.shell)
    nb.run("%config")
    assert "AesopMagics" not in nb.printed

"""Tab inside the magics offers what can stand there and nothing else; elsewhere nothing of ours."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from IPython.core.completer import provisionalcompleter
from shells import fresh_shell

from aesop_nb import Agent, Task, settings, task, temporary_settings, tool
from aesop_nb.notebook import magics
from aesop_nb.notebook.commands import COMMANDS
from aesop_nb.notebook.options import FLAGS, OPTIONS
from aesop_nb.sessions import last_run
from aesop_nb.testing import ScriptedModel

Complete = Callable[..., list[str]]
LONGS = [option.long for option in OPTIONS]


def search(query: str) -> str:
    """Searches."""
    return query


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        with fresh_shell() as made:
            magics.register(made)
            made.push(
                {
                    "search": search,
                    "fetch": tool(search, name="fetch"),
                    "year": 1999,
                    "größe": 3,
                    "df": pd.DataFrame({"a": [1]}),
                    "writer": Agent(name="Writer"),
                    "mine": ScriptedModel(),
                    "brief": Task("Write a brief"),
                    "classify": task(search),
                    "Company": type("Company", (), {}),
                    "open": functools.wraps(open)(lambda: None),
                    "_hidden": search,
                }
            )
            yield made


@pytest.fixture
def complete(shell: Any) -> Complete:
    """Gives what is offered where `|` stands, through the API of front ends and through the older one."""

    def complete(cell: str) -> list[str]:
        before, _, after = cell.partition("|")
        with provisionalcompleter():
            found = list(shell.Completer.completions(before + after, len(before)))
        texts = [completion.text for completion in found]
        for completion in found:
            assert completion.end == len(before)
            assert completion._origin != "aesop_nb" or completion.text.startswith(before[completion.start :])
        if "\n" not in before:
            with pytest.warns(PendingDeprecationWarning):
                _, older = shell.complete("", before + after, len(before))
            assert {made.text for made in found if made._origin == "aesop_nb"} <= set(older)
        return texts

    return complete


@pytest.mark.parametrize(
    ("cell", "offered"),
    [
        ("%%aesop --mod|", ["--model"]),
        ("%%aesop --max-t|", ["--max-tokens", "--max-turns", "--max-tool-calls"]),
        ("%%aesop bakeries << --max-|x", [long for long in LONGS if long.startswith("--max-")]),
        ("%%aesop --user --us|", []),
        ("%aesop --mod|", ["--model"]),
        ("%aesop --run |", ["brief", "classify"]),
        ("%%aesop -t search --too|", ["--tools"]),
        ("%%aesop --view |", ["full", "compact", "off"]),
        ("%%aesop --view=co|", ["compact"]),
        ("%%aesop --memory s|", ["session"]),
        ("%%aesop -t |", ["classify", "fetch", "search"]),
        ("%%aesop -t se|\nbody", ["search"]),
        ("%%aesop -t fetch,se|", ["search"]),
        ("%%aesop -t 'fetch, se|", ["search"]),
        ("%%aesop --tools=fe| --user", ["fetch"]),
        ("%%aesop -a |", ["writer"]),
        ("%%aesop -m mi|", ["mine"]),
        ("%%aesop --run |", ["brief", "classify"]),
        ("%%aesop -r Com|", ["Company"]),
        ("%%aesop -r list[Com|", ["Company"]),
        ("%%aesop -r Lit|", ["Literal"]),
        ("%%aesop -i ye|", ["year"]),
        ("%%aesop -i größ|", ["größe"]),
        ("%%aesop -i x=ye|", ["year"]),
        ("%%aesop -i x=df.he|", []),
        ("%%aesop -n ye|", []),
        ("%%aesop ba|", []),
        ("%%aesop --nothing |", []),
        ("%%aesop\nFind {{ye|", ["year"]),
        ("%%aesop\nFind {{ye|}} now\nmore", ["year"]),
        ("%%aesop -t search\nün {{gr|", ["größe"]),
        ("%%aesop\nFind {{year}} and {{df.a.sum() + y|", ["year"]),
        ("%%aesop\nFind {{df.|", []),
        ("%%aesop\nFind \\{{ye|", []),
        ("%%aesop --raw\nFind {{ye|", []),
        ("%%aesop\nimport os; os.pa|", []),
        ("%%aesop\nsea|", []),
        ("%%aesop\n/us|", []),
        ("%%aesop\n%|", []),
        ("%%aesop\n\\alph|", []),
        ("%%aesop\n|", []),
        ("%aesop sh|", ["show"]),
        ("n = %aesop as|", ["ask"]),
        ("a, b = %aesop ru|", ["runs"]),
        ("x = 1\nfor i in y:\n    %aesop ask --laz|", ["--lazy"]),
        ("n = %aesop ask -r int How many {{ye|", ["year"]),
        ("%aesop ask How many ye|", []),
        ("%aesop ask --raw {{ye|", []),
        ("%aesop code br|", ["brief"]),
        ("%aesop nothing |", []),
        ("%aesop doctor |", []),
        ("%%time\n%aesop docto|", ["doctor"]),
    ],
)
def test_tab_offers_what_can_stand_there(complete: Complete, cell: str, offered: list[str]) -> None:
    assert complete(cell) == offered


def test_at_the_beginning_all_options_or_subcommands_are_offered(complete: Complete) -> None:
    assert complete("%%aesop |")[: len(OPTIONS)] == LONGS
    assert set(complete("%%aesop -|")) == set(FLAGS)
    assert set(complete("%aesop ask |")) == set(FLAGS)
    assert complete("%aesop |") == list(COMMANDS)


def test_what_was_given_is_offered_again_only_if_it_can_be_repeated(complete: Complete) -> None:
    offered = complete("%%aesop -n x -t search --lazy |")
    assert "--tools" in offered
    assert not {"-n", "--name", "--lazy"} & set(offered)


def test_runs_are_offered_by_id_the_latest_first(complete: Complete) -> None:
    for _ in range(2):
        Task("Say", model=ScriptedModel("a")).run()
    run = last_run()
    assert run is not None
    for command in ("show", "events", "wait", "cancel", "retry", "answer", "code"):
        assert complete(f"%aesop {command} |")[0] == run.id
    assert complete(f"%aesop answer {run.id} y|") == []


def test_models_that_are_set_or_were_used_are_offered(complete: Complete) -> None:
    Task("Say", model=ScriptedModel("a")).run()
    used = ScriptedModel().name
    with temporary_settings(model="gpt-5-mini"):
        assert complete("%%aesop -m |")[:3] == ["mine", "gpt-5-mini", used]
        assert complete("%aesop model gp|") == ["gpt-5-mini"]


@pytest.mark.parametrize(
    "cell",
    ["sea|", "year.|", "%%aesopx --mod|", "%%bash\n%aesop sh|", "'%aesop sh|", "# %aesop sh|", "%aes|"],
)
def test_elsewhere_the_notebook_completes_as_it_would_without_us(
    shell: Any, complete: Complete, cell: str
) -> None:
    ours = complete(cell)
    (matcher,) = shell.Completer.custom_matchers
    shell.Completer.custom_matchers.clear()
    try:
        assert ours == complete(cell)
    finally:
        shell.Completer.custom_matchers.append(matcher)


def test_unloading_takes_the_matcher_out(shell: Any, complete: Complete) -> None:
    before = list(shell.Completer.custom_matchers)
    magics.unregister(shell)
    try:
        assert len(shell.Completer.custom_matchers) == len(before) - 1
        assert "--model" not in complete("%%aesop --mod|")
    finally:
        magics.register(shell)
    assert len(shell.Completer.custom_matchers) == len(before)


def test_a_variable_that_raises_when_looked_at_harms_nothing(shell: Any, complete: Complete) -> None:
    class Shy:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("go away")

        @property
        def __class__(self) -> Any:
            raise RuntimeError("go away")

    shell.user_ns["shy"] = Shy()
    try:
        assert complete("%%aesop -t se|") == ["search"]
        assert complete("%%aesop -m mi|") == ["mine"]
        assert complete("%%aesop -i sh|") == ["shy"]
    finally:
        del shell.user_ns["shy"]


def test_settings_are_not_touched(complete: Complete, tmp_path: Path) -> None:
    before = settings.model_dump()
    complete("%%aesop -m |")
    assert settings.model_dump() == before

"""The cell that `%aesop code` writes gives the same task when it is run, and holds no text of it as code."""

from __future__ import annotations

import ast
import datetime
import decimal
import enum
import inspect
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aesop_nb import Agent, Task, TaskConfig, UsageError, task, temporary_settings, tool
from aesop_nb.notebook.cells import Cell
from aesop_nb.notebook.task_code import task_code
from aesop_nb.testing import ScriptedModel
from aesop_nb.variants import arguments_of

NAUGHTY = [
    json.loads(line)["s"]
    for line in (Path(__file__).parent / "data" / "blns.jsonl").read_text(encoding="utf-8").splitlines()
]


class Company(pydantic.BaseModel):
    name: str


class Color(enum.Enum):
    RED = 1


class Library:
    def look_up(self, word: str) -> str:
        """Looks a word up."""
        return word


def search(query: str) -> str:
    """Searches."""
    return query


def shout(value: Any) -> Any:
    return value


NAMES: dict[str, Any] = {
    "search": search,
    "fetch": tool(search, name="fetch"),
    "library": Library(),
    "Company": Company,
    "Color": Color,
    "writer": Agent(name="Writer"),
    "mine": ScriptedModel(),
    "df": pd.DataFrame({"a": [1]}),
    "shout": shout,
    "year": 1999,
}


def again(made: Task[Any], names: dict[str, Any] | None = None) -> Task[Any]:
    """The task that the cell for `made` gives when it is run in the notebook."""
    names = dict(NAMES if names is None else names)
    *before, call = ast.parse(task_code(made, names).source).body
    assert isinstance(call, ast.Expr)
    exec(compile(ast.Module(before, []), "cell", "exec"), names)
    with temporary_settings(eager_mode=False):
        return eval(compile(ast.Expression(call.value), "cell", "eval"), names)


def told(made: Task[Any]) -> dict[str, Any]:
    """All that a task says, with the result type as the model sees it."""
    kind = arguments_of(made)["result_type"]
    return {
        **arguments_of(made),
        "context": list(made.context.items()),
        "result_type": (kind.label, kind.finish_tools(), kind.validator),
        "tools": [(found.name, found.function) for found in made.tools],
    }


@pytest.mark.parametrize(
    "cell",
    [
        "\nName a bakery",
        "-n find\nFind {{year}} bakeries\n\nPrefer old ones.\n\n  Indented.\nEnd",
        "-n 'two words' -r int\nCount",
        "-r list[Company]\nList",
        "-r 'dict[str, list[int | None]]'\nList",
        """-r Literal["bug", "it's"]\nDecide""",
        "-r Color\nDecide",
        "-r 'Literal[Color.RED]'\nDecide",
        '-r ["a","b"]\nDecide',
        "-r None\nDo",
        "-r date\nWhen",
        "-r DataFrame\nList",
        "-r 'tuple[int, ...]'\nList",
        "-c 'name, GDP (USD):float?, since:date?, a: b:int'\nList",
        "-i year -i x=[1,{'a':(2,)}] -i df -i 'y={1.5,None}'\nGo",
        "-i day=date(2026,1,2) -i at=datetime(2026,1,2,3) -i much=Decimal('1.10')\nGo",
        "-i self=1 -i other=2\nGo",
        "-t search,fetch -t library.look_up -t round -a writer -m mine\nGo",
        "-u --default no --max-seconds 60 --allow a.org,b.org --retries 1 --memory session --reuse\nGo",
        "-m gpt-5-mini -n class\nGo",
        "-n search\nGo",
        "-n date -r date -i when=date(2026,1,2)\nGo",
        '--raw\n{{x}} """ \'\'\' \\n \\\n\n>>> x\n%magic\n!ls\nwhat?\n\t\x1b[0m \u202e 🦊 "',
    ],
)
def test_the_cell_makes_the_same_task(cell: str) -> None:
    line, _, body = cell.partition("\n")
    names = {**NAMES, "date": datetime.date, "datetime": datetime.datetime, "Decimal": decimal.Decimal}
    made = Cell.read(line, body).task(names)
    assert told(again(made, names)) == told(made)


@pytest.mark.parametrize("text", NAUGHTY)
def test_naughty_texts_stay_texts(text: str) -> None:
    if not text.strip():
        return
    made = Task(text, name=text, instructions=text, context={text: text}, default_answer=text, tools=[search])
    assert told(again(made)) == told(made)


@given(st.text(min_size=1).filter(str.strip), st.text())
def test_any_text_comes_back_as_it_is(objective: str, instructions: str) -> None:
    made = Task(objective, instructions=instructions)
    assert told(again(made)) == told(made)


HOSTILE = '"""\nimport os; os.system("x")\n"""\\'


def test_no_text_becomes_code() -> None:
    made = Task(
        HOSTILE, name=HOSTILE, instructions=HOSTILE, context={HOSTILE: [HOSTILE]}, result_type=[HOSTILE]
    )
    source = task_code(made, NAMES).source
    tree = ast.parse(source)
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert called == {"task", "import_os_os_system_x"}
    assert told(again(made)) == told(made)


def test_an_enum_whose_members_have_odd_names_is_refused() -> None:
    odd = enum.Enum("odd", {"x); print(1": 1})
    made = Task("Go", result_type=Literal[next(iter(odd))])
    with pytest.raises(UsageError, match="has no name in this notebook"):
        task_code(made, {"odd": odd})


def test_a_text_that_is_no_trouble_is_a_docstring() -> None:
    made = Task("Classify it", name="classify", instructions="Say what it is.\n\nBe brief.")
    assert task_code(made, {}).source.splitlines() == [
        "from aesop_nb import task",
        "",
        "",
        "@task(",
        "    objective='Classify it',",
        ")",
        "def classify() -> str:",
        '    """Say what it is.',
        "",
        "    Be brief.",
        '    """',
        "",
        "",
        "classify()",
    ]


def test_a_task_function_gives_its_own_again() -> None:
    @task(tools=[search], result_validator=shout, config=TaskConfig(max_turns=3))
    def sort_out(text: str, kinds: list[str]) -> Annotated[str, "short"]:
        """Say which kind it is."""

    made = sort_out.task("x" * 200, ["a"])
    assert told(again(made, {**NAMES, "sort_out": sort_out})) == told(made)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tools": [lambda query: query]}, "tools: .* has no name|cannot name a tool"),
        (
            {"context": {"thing": object()}},
            "input 'thing': <object object at .*> has no name in this notebook",
        ),
        ({"agents": Agent(name="Nobody")}, "agents: .* Bind it to a variable first"),
    ],
)
def test_what_has_no_name_is_an_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        task_code(Task("Go", **options), NAMES)


def test_what_stands_around_a_task_is_named_and_left_out() -> None:
    with Task("Report"):
        made = Task("Part")
    (note,) = task_code(made, {}).notes
    assert "inside the same `with`" in note


def test_all_arguments_of_a_task_are_known() -> None:
    others = {"description", "inputs", "interactive", "result_validator"}
    assert set(arguments_of(Task("Go"))) == set(inspect.signature(Task).parameters) - others

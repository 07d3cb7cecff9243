"""A cell's text is read strictly, and what is not `{{…}}` reaches the task as it was typed."""

from __future__ import annotations

import datetime
import enum
import functools
import json
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aesop_nb import Agent, Task, UsageError, tool
from aesop_nb.notebook.cells import Cell, split_body
from aesop_nb.notebook.expressions import render
from aesop_nb.notebook.options import OPTIONS, options_help
from aesop_nb.notebook.parsing import parse_options
from aesop_nb.testing import ScriptedModel

NAUGHTY = [
    json.loads(line)["s"]
    for line in (Path(__file__).parent / "data" / "blns.jsonl").read_text(encoding="utf-8").splitlines()
]

VERBATIM = """{"a": {"b": [1, 2, {"c": null}]}}
f"{x} {x!r:>10} {{not closed"
{k: v for k, v in d.items()} {} {{}} $x ${HOME} %d %(x)s %magic !ls ?help
tab\there, spaces at the end   \nnon-breaking\u00a0space, e\u0301, \u202e, 🦊"""


def search(query: str) -> list[str]:
    """Searches."""
    return [query]


def task(line: str = "", body: str = "Do it", **names: Any) -> Task[Any]:
    return Cell.read(line, body).task(names)


# The body --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "objective", "instructions"),
    [
        ("Do it\n", "Do it", ""),
        ("Do it\nwell\n\nBut how?\n", "Do it\nwell", "But how?"),
        ("\n \t\n  Do it  \n\t\n\n  One\n\nTwo \n\n \n", "  Do it  ", "  One\n\nTwo "),
        ("Do it\r\nwell\r\n\r\nBut\r\nhow?\r\n", "Do it\r\nwell", "But\r\nhow?"),
        ("a\u2028\u2028b\x0b\x0bc\x0c\n", "a\u2028\u2028b\x0b\x0bc\x0c", ""),
        ("", "", ""),
        (" \n\r\n\t", "", ""),
    ],
)
def test_the_first_paragraph_is_the_objective(body: str, objective: str, instructions: str) -> None:
    assert split_body(body) == (objective, instructions)


@given(st.text(), st.text())
def test_splitting_loses_only_blank_lines(first: str, rest: str) -> None:
    body = f"{first}\n\n{rest}"
    objective, instructions = split_body(body)
    assert body.find(objective) + len(objective) <= (body.rfind(instructions) if instructions else len(body))
    left = body.replace(objective, "", 1).replace(instructions, "", 1)
    assert not left.strip(" \t\r\n")
    assert objective or not body.strip(" \t\r\n")


@given(st.text().filter(lambda text: "{{" not in text))
def test_text_without_braces_is_not_changed(text: str) -> None:
    assert render(text, {"x": 1}) == text


@pytest.mark.parametrize("text", NAUGHTY)
def test_naughty_strings_stay_as_they_are(text: str) -> None:
    given_raw = task("--raw", f"Say:\n\n{text}\nend")
    assert given_raw.instructions == f"{text}\nend".lstrip("\n") or not text.strip()
    assert render("a {{x}} b", {"x": text}) == f"a {text} b"
    assert task("-i x", "Do it", x=text).context == {"x": text}


def test_raw_leaves_everything() -> None:
    made = task("--raw", f"{VERBATIM} {{{{x}}}} \\{{{{y}}}}\n\n{VERBATIM}")
    assert made.objective == f"{VERBATIM} {{{{x}}}} \\{{{{y}}}}"
    assert made.instructions == VERBATIM


def test_json_and_code_reach_the_task_unchanged() -> None:
    text = VERBATIM.replace("{{not closed", "{").replace("{{}}", "{}")
    made = task("", f"Explain:\n\n{text}", x=1, d={})
    assert made.instructions == text


# {{…}} -----------------------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = 1


class Company(pydantic.BaseModel):
    name: str


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{{x}}", "5"),
        ("a{{ x }}b{{s}}c", "a5btäxtc"),
        ('{"a":{"b":{{x}}}}', '{"a":{"b":5}}'),
        ("{{x + 1}} {{s.upper()}} {{[n for n in range(x)][-1]}}", "6 TÄXT 4"),
        ("{{ {1: {2: 3}}[1] }}", '{"2":3}'),
        ("{{ {'a': {'b': x}} }}", '{"a":{"b":5}}'),
        ("{{'}}'}}", "}}"),
        ("{{x}}}", "5}"),
        ("\\{{x}} {{x}}", "{{x}} 5"),
        ("\\\\{{x}}", "\\{{x}}"),
        ("{{none}} {{true}} {{day}} {{half}}", "None True 2026-01-02 0.5"),
        ("{{color}}", "Color.RED"),
        ("{{company}}", '{"name":"Paul"}'),
        ("{{braces}}", "{{x}}"),
    ],
)
def test_expressions_are_replaced_by_their_values(text: str, rendered: str) -> None:
    names = {
        "x": 5,
        "s": "täxt",
        "none": None,
        "true": True,
        "day": datetime.date(2026, 1, 2),
        "half": 0.5,
        "color": Color.RED,
        "company": Company(name="Paul"),
        "braces": "{{x}}",
    }
    assert render(text, names) == rendered


def test_a_frame_goes_in_as_a_summary() -> None:
    assert "3 rows and 1 columns" in render("{{df}}", {"df": pd.DataFrame({"a": [1, 2, 3]})})


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{yaer}}", r"\{\{yaer\}\}: there is no 'yaer' in this notebook\. Did you mean 'year'\?"),
        ("{{year.foo}}", r"\{\{year\.foo\}\} raised AttributeError: .*'foo'"),
        ("{{1 / 0}}", r"\{\{1 / 0\}\} raised ZeroDivisionError"),
        ("{{year founded}}", r"\{\{year founded\}\} cannot be filled in: it is no expression"),
        ("{{}}", r"it is no expression\. Write \\\{\{ for braces, or use --raw"),
        ("a {{year", "it is not closed"),
        ("{{" + "(" * 1900 + "}}", "it is no expression"),
        ("{{unspeakable}}", "has no text: RuntimeError: no words"),
    ],
)
def test_what_cannot_be_filled_in_is_an_error_that_names_it(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        render(text, {"year": 1999, "unspeakable": Unspeakable()})


def test_blank_lines_of_a_value_do_not_end_the_objective() -> None:
    made = task("", "Sum up {{text}}\n\nBriefly", text="one\n\ntwo")
    assert (made.objective, made.instructions) == ("Sum up one\n\ntwo", "Briefly")


def test_an_expression_does_not_change_the_notebook() -> None:
    names: dict[str, Any] = {"x": 1}
    assert render("{{(y := x)}}", names) == "1"
    assert names == {"x": 1}


# The name --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("df <<", "df"),
        ("  df<<--lazy", "df"),
        ("größe << --lazy", "größe"),
        ("--out df", "df"),
        ("-o df --lazy", "df"),
        ("ﬁle <<", "file"),  # Python reads the ligature as two letters, so must we
        ("match <<", "match"),
        ("", None),
        ("--answer 'a << b'", None),
    ],
)
def test_the_name_of_the_result(line: str, name: str | None) -> None:
    assert Cell.read(line, "Do it").target == name


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2x <<", "'2x' is none"),
        ("my-name <<", "'my-name' is none"),
        ("a.b <<", r"'a\.b' is none"),
        ('df["x"] <<', "is none"),
        ("class <<", "'class' is a word of Python's own"),
        ("None <<", "'None' is a word of Python's own"),
        ("-o lambda", "'lambda' is a word of Python's own"),
        ("-o ''", "--out needs the name of a variable|NAME is missing"),
        ("<< -r int", "NAME is missing"),
        ("a <<  -o b", "one name, not both 'a' and 'b'"),
        ("a b <<", "beginning of the line"),
        ("--lazy df <<", "beginning of the line"),
    ],
)
def test_a_name_that_cannot_be_bound_is_an_error(line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Cell.read(line, "Do it")


@pytest.mark.parametrize("body", ["\n", " \n\t\n", "\r\n"])
def test_an_empty_body_is_an_error(body: str) -> None:
    with pytest.raises(UsageError, match="The cell is empty"):
        Cell.read("", body)


# Options ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--modle x", r"no option '--modle'\. Did you mean '--model'\?"),
        ("-model x", r"no option '-model'\. Did you mean '--model'\?"),
        ("-Q", r"no option '-Q'\. %%aesop\? shows them all"),
        ("--max-turn=3", "Did you mean '--max-turns'"),
        ("hello", "'hello' is no option"),
        ("-n", "-n needs a value: -n TEXT"),
        ("--model --bg", "--model needs a value"),
        ("--lazy=yes", "--lazy takes no value"),
        ("-n a --name b", "--name is given twice"),
        ("-n 'a", "left open"),
        ("--max-turns many", "--max-turns takes a whole number, not 'many'"),
        ("--max-turns 1.5", "--max-turns takes a whole number, not '1.5'"),
        ("--max-seconds soon", "--max-seconds takes a number, not 'soon'"),
        ("-n it's", "An unbalanced quote is left open: it's"),
        ("--type int", "no option '--type'. The type of the result is named by -r or --returns"),
        ("-t ,", "names nothing"),
        ("-r int -c a", "--returns and --columns exclude one another"),
        ("--bg --lazy", "--lazy and --bg exclude one another"),
        ("--lazy --answer yes", "--lazy and --answer exclude one another"),
    ],
)
def test_a_mistyped_option_is_an_error_that_shows_it(line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_options(line)


def test_values_are_quoted_as_in_a_shell() -> None:
    parsed = parse_options(
        r"""-n 'a b' --model="x y" --answer "it's" --answer=--bg --answer -5 --answer= -o a\ b"""
    )
    assert parsed.given == {
        "name": "a b",
        "model": "x y",
        "answer": ["it's", "--bg", "-5", ""],
        "out": "a b",
    }


def test_the_help_names_every_option_and_says_what_it_does() -> None:
    text = options_help()
    for option in OPTIONS:
        assert all(flag in text for flag in option.flags)
        assert option.help.split()[0] in text
        assert option.help.endswith(".")


@pytest.mark.parametrize(
    ("line", "result_type"),
    [
        ("", str),
        ("-r int", int),
        ("--returns=bool", bool),
        ("-r None", None),
        ("-r list[Company]", list[Company]),
        ("-r 'dict[str, int]'", dict[str, int]),
        ("""-r 'Literal["bug", "idea"]'""", Literal["bug", "idea"]),
        ("""-r Literal["bug","idea"]""", Literal["bug", "idea"]),
        ("""-r "Literal['bug', 'idea']" """, Literal["bug", "idea"]),
        ("""--returns=Literal["bug", "idea"]""", Literal["bug", "idea"]),
        ("""-r Literal['a b', "it's"] -n x""", Literal["a b", "it's"]),
        ("-r dict[str, int]", dict[str, int]),
        ("-r Color", Color),
        ("-r DataFrame", pd.DataFrame),
        ("-r 'Optional[date]'", datetime.date | None),
        ("-r kinds", ["bug", "idea"]),
    ],
)
def test_returns_is_an_expression_with_the_names_of_types(line: str, result_type: Any) -> None:
    made = task(line, Company=Company, Color=Color, kinds=["bug", "idea"])
    assert made.result_type == result_type


def test_the_notebooks_own_names_go_before_those_of_types() -> None:
    assert task("-r list[Any]", Any=int).result_type == list[int]


def test_columns_make_a_list_of_rows() -> None:
    (row,) = task("-c 'name, staff:int?'").result_type.__args__
    assert list(row.model_fields) == ["name", "staff"]


def test_inputs_come_from_variables_and_expressions() -> None:
    df = pd.DataFrame({"a": [1]})
    made = task(
        """-i x -i u=x+1 --input 'z=[x, 2]' -i w=df["a"].sum() -i v=f'{x} {y}' -i y""", x=1, y="b", df=df
    )
    assert made.context == {"x": 1, "u": 2, "y": "b", "z": [1, 2], "w": 1, "v": "1 b"}


def test_tools_and_agents_are_found_by_name() -> None:
    look_up = tool(search, name="look_up")
    agent = Agent(name="Ann")
    other = Agent(name="Bob")
    made = task(
        "-t search,look_up -t text.upper -a ann -a bob",
        search=search,
        look_up=look_up,
        text="x",
        ann=agent,
        bob=other,
    )
    assert [found.name for found in made.tools] == ["search", "look_up", "upper"]
    assert made.agents == (agent, other)


def test_limits_and_the_rest_reach_the_task() -> None:
    model = ScriptedModel()
    made = task(
        "-n short -u -m mine --max-seconds 60 --max-tokens 1000 --max-turns 3 --max-tool-calls 0 --max-cost 0.5"
        " --max-pages 4 --allow wikipedia.org --allow a.org,b.org --retries 1 --memory session",
        mine=model,
    )
    assert made.name == "short"
    assert made.user_access
    assert made.model is model
    assert made.memory_scope == "session"
    assert made.config.given() == {
        "max_duration_seconds": 60,
        "max_tokens": 1000,
        "max_turns": 3,
        "max_tool_calls": 0,
        "max_cost_usd": 0.5,
        "max_pages": 4,
        "allowed_domains": ["wikipedia.org", "a.org", "b.org"],
        "max_retries": 1,
    }


def test_a_model_is_a_name_unless_a_variable_holds_one() -> None:
    assert task("-m gpt", gpt="text").model == "gpt"
    assert task("-m gpt-5-mini").model == "gpt-5-mini"
    assert task().model is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-i yaer", r"--input: there is no 'yaer' in this notebook\. Did you mean 'year'"),
        ("-i 2x=1", "--input needs the name of a variable"),
        ("-i year,x", "'year,x' is none"),
        ("-i x=yaer", r"--input x=yaer: there is no 'yaer'.* Did you mean 'year'"),
        ("-r Litral[1]", "there is no 'Litral'.* Did you mean 'Literal'"),
        ("-r list[", r"--returns list\[ is no expression"),
        ("-r 5", "5"),
        ("-c name:imt", "Did you mean 'int'"),
        ("-t serch", "--tools: there is no 'serch' in this notebook. Did you mean 'search'"),
        ("-t xyz", r"There are: search"),
        ("-t year", "--tools: 'year' is an int, and a tool is a function"),
        ("-t search.foo", "'search' has no 'foo'"),
        ("-t int", "'int' is a type. The type of the result is named by -r: -r int"),
        ("-t list[int]", r"'list\[int\]' is a type. .* -r list\[int\]"),
        ("-a an", "--agents: there is no 'an' in this notebook. Did you mean 'ann'"),
        ("-a search", "--agents: 'search' is a function, not an Agent"),
        ("--max-turns 0", "--max-turns 0 does not fit"),
        ("--max-seconds nan", "--max-seconds nan does not fit"),
        ("--retries 99", "--retries 99 does not fit"),
        ("--memory sesion", "--memory 'sesion' is none of .* Did you mean 'session'"),
        ("-n ' '", "name=' '"),
    ],
)
def test_a_name_or_value_that_does_not_fit_is_an_error(line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        task(line, year=1999, search=search, ann=Agent(name="Ann"))


# The line of `ask` -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "objective"),
    [
        ("How many?", "How many?"),
        ("-r int What's the   matter", "What's the   matter"),
        ("""-r 'dict[str, int]' -n "a b" say "hi" """, 'say "hi"'),
        ('"How many?"', "How many?"),
        ("'it' and 'that'", "'it' and 'that'"),
        ("-- what is grep -n", "what is grep -n"),
        ("-r int -- -5 + 3", "-5 + 3"),
        ("-5 + 3", "-5 + 3"),
        ("{{x}} apples", "{{x}} apples"),
    ],
)
def test_what_follows_the_options_is_asked_as_it_is(line: str, objective: str) -> None:
    assert Cell.read_line(line).objective == objective


@pytest.mark.parametrize("line", ["", "-r int", "-r int --", "''"])
def test_asking_nothing_is_an_error(line: str) -> None:
    with pytest.raises(UsageError, match="nothing to ask"):
        Cell.read_line(line)


def test_an_option_behind_the_text_is_an_error() -> None:
    with pytest.raises(UsageError, match="Options stand before the text, and '--returns=int'"):
        Cell.read_line("How many --returns=int")


@pytest.mark.parametrize("line", ["-i nope", "-i x=nope", "-r nope", "-t nope"])
def test_what_the_shell_puts_into_the_notebook_is_not_suggested(line: str) -> None:
    with pytest.raises(UsageError) as caught:
        task(line, open=functools.wraps(open)(lambda: None), year=1999)
    assert "Did you mean" not in str(caught.value)


def test_builtins_can_be_tools() -> None:
    assert [tool.name for tool in task("-t round").tools] == ["round"]
    with pytest.raises(UsageError, match="Tool 'sorted' takes 'iterable' by position only"):
        task("-t sorted")

"""The rehearsal model: what is known is used, nothing loops, and it says what it is."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any, Literal

import pandas as pd
import pydantic as pyd
import pytest
from rehearsing import rehearse, reply_to, request_for

from aesop_nb.errors import ModelNotConfigured
from aesop_nb.models.choosing import choose_model
from aesop_nb.models.rehearsal import RehearsalModel
from aesop_nb.models.transcript import (
    Model,
    ModelRequest,
    TextDelta,
    ToolSpec,
    UserMessage,
)
from aesop_nb.results.result_types import ResultType


class Cat(pyd.BaseModel):
    pet: Literal["cat"]
    lives: int


class Dog(pyd.BaseModel):
    pet: Literal["dog"]
    barks: bool


class Owner(pyd.BaseModel):
    pet: Annotated[Cat | Dog, pyd.Field(discriminator="pet")]


SEARCH = ToolSpec(
    name="search_web",
    description="Searches.",
    parameters={
        "type": "object",
        "properties": {"query": {"type": "string"}, "limit": {"type": "integer", "default": 5}},
        "required": ["query"],
    },
)
COUNT = ToolSpec(
    name="get_staff",
    description="Counts.",
    parameters={"type": "object", "properties": {"country": {"type": "string"}}, "required": ["country"]},
)
MAIL = ToolSpec(
    name="send_mail", description="Sends.", parameters={"type": "object", "properties": {}}, side_effects=True
)
ASK = ToolSpec(
    name="talk_to_user",
    description="Asks.",
    kind="user",
    parameters={
        "type": "object",
        "properties": {
            "question": {"type": "string", "minLength": 1},
            "choices": {"type": "array", "items": {"type": "string"}, "default": []},
        },
        "required": ["question"],
        "additionalProperties": False,
    },
)


class Company(pyd.BaseModel):
    name: str
    country: str
    staff: int | None = None


def calls_of(said: list[str]) -> list[str]:
    return [line for line in said if "(" in line and not line.startswith("mark_")]


def test_it_is_a_model_and_says_that_it_is_none() -> None:
    assert isinstance(RehearsalModel(), Model)
    assert RehearsalModel().is_rehearsal
    assert RehearsalModel().name == "rehearsal"


@pytest.mark.parametrize("word", ["1", "true", "YES", " on "])
def test_a_rehearsal_can_be_forbidden_after_the_import(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AESOP_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AESOP_REQUIRE_MODEL", "0")
    assert choose_model().is_rehearsal
    monkeypatch.setenv("AESOP_REQUIRE_MODEL", word)
    for model in (None, "rehearsal"):
        with pytest.raises(ModelNotConfigured, match="require_model"):
            choose_model(model)


async def test_tools_are_called_once_in_one_turn_with_arguments_from_the_inputs() -> None:
    context = {"topic": "bakeries", "country": "Belgium", "limit": 3}
    request = request_for(ResultType.of(Company), tools=(SEARCH, COUNT, MAIL), context=context)
    reply = await reply_to(request)
    made = {call.tool: json.loads(call.arguments) for call in reply.tool_calls}
    assert made == {"search_web": {"query": "bakeries", "limit": 3}, "get_staff": {"country": "Belgium"}}
    assert len({call.call_id for call in reply.tool_calls}) == 2
    assert "Rehearsal" in reply.text


async def test_arguments_without_an_input_are_placeholders() -> None:
    reply = await reply_to(request_for(ResultType.of(str), tools=(SEARCH,)))
    assert json.loads(reply.tool_calls[0].arguments) == {"query": "<query>"}


async def test_the_result_comes_from_tools_then_inputs_then_placeholders() -> None:
    value, said = await rehearse(
        Company,
        tools=(SEARCH, COUNT),
        context={"country": "Belgium", "staff": 1},
        outputs={"search_web": '{"name": "Paul", "country": "France"}', "get_staff": "42"},
    )
    assert value == Company(name="Paul", country="France", staff=42)
    assert len(calls_of(said)) == 2
    bare, _ = await rehearse(Company, context={"country": "Belgium"})
    assert bare == Company(name="<name>", country="Belgium", staff=None)


async def test_a_number_a_tool_gave_becomes_a_result_that_is_a_number() -> None:
    value, _ = await rehearse(int, tools=(COUNT,), outputs={"get_staff": "42"})
    assert value == 42
    value, _ = await rehearse(int, context={"x": 21})
    assert value == 0, "an input under another name is no result"


async def test_one_row_for_each_item_of_a_list() -> None:
    found, _ = await rehearse(list[Company], context={"companies": ["Paul", "Kamps"], "country": "France"})
    assert found == [Company(name="Paul", country="France"), Company(name="Kamps", country="France")]
    rows = json.dumps([{"name": name, "staff": 5} for name in "abc"])
    found, _ = await rehearse(list[Company], tools=(COUNT,), outputs={"get_staff": rows})
    assert [company.name for company in found] == ["a", "b", "c"]
    assert {company.staff for company in found} == {5}
    frame = pd.DataFrame({"name": ["x", "y", "z"]})
    found, _ = await rehearse(list[Company], context={"df": frame})
    assert [company.name for company in found] == ["x", "y", "z"]
    many, _ = await rehearse(list[Company], context={"companies": [str(n) for n in range(100)]})
    assert len(many) == 20
    assert len((await rehearse(list[Company]))[0]) == 2


async def test_a_table_without_columns_has_placeholders_or_the_rows_of_a_known_table() -> None:
    frame, _ = await rehearse(pd.DataFrame)
    assert list(frame.columns) == ["<column 1>", "<column 2>"]
    assert frame.shape == (2, 2)
    assert frame.notna().all(axis=None)
    rows = [{"name": "a", "staff": 1}, {"name": "b", "staff": 2}, {"name": "c", "staff": 3}]
    told = json.dumps({"country": "France", "found": rows})
    for options in (
        {"context": {"companies": rows}},
        {"context": {"page": {"rows": rows}}},
        {"tools": (COUNT,), "outputs": {"get_staff": json.dumps(rows)}},
        {"tools": (COUNT,), "outputs": {"get_staff": told}, "context": {"other": [{"x": 1}]}},
    ):
        frame, _ = await rehearse(pd.DataFrame, **options)
        assert frame.to_dict("records") == rows


async def test_inputs_are_not_handed_back_as_a_list_of_results() -> None:
    translated, _ = await rehearse(list[str], context={"texts": ["bonjour", "salut", "merci"]})
    assert translated == ["<item>", "<item 2>", "<item 3>"]


async def test_a_label_named_in_the_inputs_is_chosen() -> None:
    kinds = Literal["bug", "idea", "praise"]
    assert (await rehearse(kinds, context={"text": "What a great idea!"}))[0] == "idea"
    assert (await rehearse(kinds, context={"text": "ideally not"}))[0] == "bug"


async def test_one_question_is_asked_and_its_answer_used() -> None:
    value, said = await rehearse(
        Company,
        tools=(ASK, COUNT),
        context={"name": "Paul"},
        outputs={"talk_to_user": "Italy", "get_staff": "7"},
    )
    assert value == Company(name="Paul", country="Italy", staff=7)
    asked = [line for line in calls_of(said) if line.startswith("talk_to_user")]
    assert asked == ["talk_to_user({'question': 'Find a bakery: what should I use for country?'})"]
    assert "get_staff({'country': 'Italy'})" in said


async def test_labels_are_offered_as_choices_of_the_question() -> None:
    value, said = await rehearse(
        Literal["bug", "idea"], tools=(ASK,), task="Say what it is.", outputs={"talk_to_user": "idea"}
    )
    assert value == "idea"
    assert "Say what it is: which one should it be?" in said[1]
    assert "['bug', 'idea']" in said[1]


async def test_a_text_says_what_it_is_and_what_was_seen() -> None:
    text, _ = await rehearse(
        str,
        tools=(ASK, SEARCH, MAIL),
        context={"topic": "bread"},
        outputs={"talk_to_user": "be brief", "search_web": "8 results"},
    )
    for part in (
        "This is a rehearsal",
        "Find a bakery",
        'topic = "bread"',
        "8 results",
        "be brief",
        "send_mail",
    ):
        assert part in text


async def test_a_failing_tool_is_tried_once_more_and_then_reported() -> None:
    attempts: list[str] = []

    def fail(query: str) -> str:
        attempts.append(query)
        return "Error: ConnectionError: no network"

    with pytest.raises(AssertionError, match=r"rehearsal.*search_web was tried twice.*no network"):
        await rehearse(Company, tools=(SEARCH,), context={"query": "a"}, outputs={"search_web": fail})
    assert attempts == ["a", "<query 2>"]


async def test_a_tool_that_works_at_the_second_try_is_enough() -> None:
    texts = iter(["Error: busy", "42"])
    value, _ = await rehearse(int, tools=(COUNT,), outputs={"get_staff": lambda country: next(texts)})
    assert value == 42


async def test_a_result_refused_twice_ends_as_failed() -> None:
    seen: list[int] = []

    def never(value: int) -> int:
        seen.append(value)
        raise ValueError("must be prime")

    with pytest.raises(AssertionError, match=r"rehearsal.*two made-up results.*must be prime"):
        await rehearse(ResultType.of(int, never))
    assert len(seen) == len(set(seen)) == 2
    with pytest.raises(AssertionError, match="must rhyme"):
        await rehearse(ResultType.of(str, lambda text: (_ for _ in ()).throw(ValueError("must rhyme"))))


async def test_only_the_part_complained_about_changes() -> None:
    class Event(pyd.BaseModel):
        name: str
        day: pyd.FutureDate

    value, said = await rehearse(Event, context={"name": "Fair"})
    assert value.name == "Fair"
    assert value.day.year > 2100
    assert sum(line.startswith("mark_successful") for line in said) == 2


async def test_a_pattern_that_cannot_be_read_fails_with_its_name() -> None:
    with pytest.raises(AssertionError, match=r"no text could be made for the pattern .*\\p\{Greek\}"):
        await rehearse(Annotated[str, pyd.Field(pattern=r"^\p{Greek}+$")])


async def test_the_same_request_gives_the_same_reply() -> None:
    request = request_for(ResultType.of(Company), tools=(SEARCH, COUNT), context={"topic": "x"})
    assert await reply_to(request) == await reply_to(request)


async def test_text_streams_in_pieces_within_half_a_second() -> None:
    deltas: list[Any] = []
    context = {"topic": "bread " * 200}
    begun = time.monotonic()
    reply = await reply_to(request_for(ResultType.of(str), context=context, stream=True), deltas)
    assert time.monotonic() - begun < 1
    pieces = [delta.text for delta in deltas if isinstance(delta, TextDelta)]
    assert "".join(pieces) == reply.text
    assert 3 <= len(pieces) <= 6


async def test_nothing_streams_and_nothing_waits_when_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any) -> None:
        raise AssertionError("it waited")

    monkeypatch.setattr("aesop_nb.models.rehearsal.sleep", refuse)
    deltas: list[Any] = []
    await reply_to(request_for(ResultType.of(str)), deltas)
    assert deltas == []


async def test_any_finish_tool_is_filled_by_its_schema() -> None:
    choose = ToolSpec(
        name="choose_agent",
        description="",
        kind="finish",
        parameters={
            "type": "object",
            "properties": {"name": {"type": "string", "enum": ["writer", "critic"]}},
            "required": ["name"],
        },
    )
    reply = await reply_to(ModelRequest(messages=(UserMessage(text="Ask the critic"),), tools=(choose,)))
    assert [(call.tool, call.arguments) for call in reply.tool_calls] == [
        ("choose_agent", '{"name": "writer"}')
    ]


async def test_the_branch_of_a_union_is_the_one_that_a_tool_gave() -> None:
    value, _ = await rehearse(Owner, context={"pet": {"pet": "dog", "barks": True}})
    assert value == Owner(pet=Dog(pet="dog", barks=True))


async def test_strange_inputs_and_outputs_do_no_harm() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no")

    context = {
        "a": Broken(),
        "b": float("nan"),
        "c": "\ud800\x00",
        "d": {1: {2: [object()]}},
        "e": "[" * 9000,
    }
    outputs = {"get_staff": "[" * 100_000}
    value, _ = await rehearse(Company, tools=(COUNT,), context=context, outputs=outputs)
    assert isinstance(value, Company)
    text, _ = await rehearse(str, tools=(COUNT,), context=context, outputs=outputs)
    assert len(text) < 2_000

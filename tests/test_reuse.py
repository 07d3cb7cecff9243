"""Reuse: a completed run with the same key gives its result without a model; any change gives a new run."""

from __future__ import annotations

import datetime as dt
import enum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pandas as pd
import pytest
from helping import event_types
from pydantic import AfterValidator, BaseModel

import aesop_nb
from aesop_nb import Agent, Task, TaskConfig, UsageError, settings, task, tool
from aesop_nb.fingerprints import Unstable, fingerprint
from aesop_nb.testing import ScriptedModel, call, result

if TYPE_CHECKING:
    from collections.abc import Callable

    from aesop_nb.tools import Tool

REUSED = ["run_created", "run_started", "result_reused", "run_completed"]


class Company(BaseModel):
    name: str
    founded: dt.date


class Kind(enum.Enum):
    BUG = "bug"
    IDEA = "idea"


def search(query: str) -> str:
    """Searches."""
    return query


def saying(*replies: Any, **options: Any) -> Task[Any]:
    """A task with reuse whose model has as many replies as are given, so that one more request fails."""
    return Task("Count", **{"name": "count", "reuse": True, "model": ScriptedModel(*replies), **options})


def test_a_completed_run_gives_its_result_again_without_a_request() -> None:
    first = saying("three").start()
    assert first.wait() == "three"
    again = saying().start()
    assert again.wait() == "three"
    assert event_types(again) == REUSED
    assert again.reused_from == first.id
    assert again.usage.requests == 0
    assert again.frame.attrs["aesop"]["reused_from"] == first.id


def test_a_run_reused_twice_names_the_one_that_was_paid_for() -> None:
    first = saying("three").start()
    first.wait()
    saying().run()
    third = saying().start()
    third.wait()
    assert third.reused_from == first.id


@pytest.mark.parametrize(
    ("kind", "handed_in"),
    [
        (int, 3),
        (list[Company], [{"name": "Paul", "founded": "1889-01-01"}]),
        (Literal["a", "b"], "b"),
        (Kind, "idea"),
        (dict[str, float], {"x": 1.5}),
        (tuple[int, str], [1, "a"]),
        (None, ...),
        (dt.datetime, "2026-01-01T10:00:00Z"),
    ],
)
def test_results_of_every_kind_come_back_as_the_same_objects(kind: Any, handed_in: Any) -> None:
    before = saying(result(handed_in), result_type=kind).run()
    again = saying(result_type=kind).run()
    assert again == before
    assert type(again) is type(before)


def test_a_choice_of_objects_gives_the_object_itself() -> None:
    choices = [Company(name="a", founded=dt.date(2000, 1, 1)), Company(name="b", founded=dt.date(2001, 1, 1))]
    before = saying(result(1), result_type=choices).run()
    assert saying(result_type=choices).run() is before is choices[1]


def test_a_table_comes_back_with_its_dtypes() -> None:
    rows = result([{"name": "a", "staff": 3}, {"name": "b", "staff": None}])
    before = saying(rows, result_type=pd.DataFrame).run()
    again = saying(result_type=pd.DataFrame).start()
    pd.testing.assert_frame_equal(again.wait(), before)
    assert again.wait().attrs["aesop"]["reused_from"]


CHANGES: dict[str, dict[str, Any]] = {
    "the objective or the instructions": {"instructions": "Slowly."},
    "the input 'text'": {"context": {"text": "b"}},
    "the tools": {"tools": [search]},
    "the agents": {"agents": [Agent(name="Counter", instructions="Count.")]},
    "the model": {"model": ScriptedModel("new", name="other")},
    "the result type": {"result_type": Literal["new", "old"]},
    "the validator": {"result_validator": lambda value: value},
    "the limits of what it may read": {"config": TaskConfig(allowed_domains=("a.org",))},
    "the answers given beforehand": {"user_access": True},
}


@pytest.mark.parametrize("part", CHANGES)
def test_a_change_gives_a_new_run_and_is_named(part: str) -> None:
    base = {"context": {"text": "a"}}
    first = saying("old", **base).start()
    first.wait()
    changed = saying("new", **{**base, **CHANGES[part]})
    why = aesop_nb.why_not_reused(changed)
    assert why.startswith(f"Changed since {first.id}, the latest completed run of 'count': ")
    assert part in why
    run = changed.start()
    assert run.wait() == "new"
    assert run.reused_from is None


def test_limits_that_a_completed_run_did_not_reach_change_nothing() -> None:
    saying("old").run()
    assert saying(config=TaskConfig(max_turns=3, max_duration_seconds=5)).run() == "old"


def test_the_same_frame_is_the_same_input_and_another_cell_is_not() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=["i", "j"])
    saying("old", context={"df": frame}).run()
    assert saying(context={"df": frame.copy()}).run() == "old"
    for other in (frame.assign(a=[1, 3]), frame.reset_index(drop=True), frame.astype({"a": "float64"})):
        assert saying("new", context={"df": other}).run() == "new"


def test_an_input_without_a_stable_form_is_told_and_the_task_is_done() -> None:
    context = {"rows": iter([1]), "text": "a"}
    for word in ("one", "two"):
        run = saying(word, context=context).start()
        assert run.wait() == word
        assert run.log.notices[0].startswith("Nothing could be reused: the input 'rows' is or holds")
    assert "the input 'rows'" in aesop_nb.why_not_reused(saying(context=context))


def test_a_result_that_a_validator_made_into_something_else_is_not_reused() -> None:
    def words(text: str) -> Any:
        return text.split()

    for _ in range(2):
        run = saying("a b", result_validator=words).start()
        assert run.wait() == ["a", "b"]
        assert run.reused_from is None


def test_a_validated_result_is_reused_without_asking_the_validator_again() -> None:
    asked = []

    def upper(text: str) -> str:
        asked.append(text)
        return text.upper()

    assert [saying(*replies, result_validator=upper).run() for replies in (["a"], [])] == ["A", "A"]
    assert asked == ["a"]


def test_a_result_that_no_longer_fits_is_made_anew() -> None:
    allowed = ["old"]

    def check(text: str) -> str:
        if text not in allowed:
            raise ValueError("not allowed")
        return text

    kind = Annotated[str, AfterValidator(check)]
    assert saying("old", result_type=kind).run() == "old"
    allowed[:] = ["new"]
    run = saying("new", result_type=kind).start()
    assert run.wait() == "new"
    assert "could not be made again" in run.log.notices[0]


def test_a_failed_run_is_not_reused() -> None:
    saying(call("mark_failed", reason="no")).run(raise_on_failure=False)
    assert saying("yes").run() == "yes"


def test_a_rehearsal_is_never_taken_for_a_real_model() -> None:
    saying(model="rehearsal").run()
    assert saying("real").run() == "real"


def test_the_setting_is_read_when_the_run_begins() -> None:
    made = saying("one", "two", "three", reuse=None)
    assert [made.run(), made.run()] == ["one", "two"]
    settings.reuse = True
    assert made.run() == "two"


def test_what_is_more_than_its_result_is_reused_only_where_the_task_says_so() -> None:
    @tool(side_effects=True)
    def send_mail(to: str) -> str:
        return to

    settings.reuse = True
    for options in ({"tools": [send_mail]}, {"memory_scope": "session"}):
        assert [saying(word, reuse=None, **options).run() for word in "ab"] == ["a", "b"]
        assert saying(**options).run() == "b"


def test_retry_asks_again() -> None:
    run = saying("one", "two").start()
    assert run.wait() == "one"
    assert run.retry().wait() == "two"


def test_the_key_of_a_task_with_tasks_before_it_depends_on_their_results() -> None:
    def asking(*replies: Any, before: str) -> Any:
        return saying(*replies, context={"found": Task("Find", model=ScriptedModel(before))}).start()

    first = asking("old", before="x")
    assert first.wait() == "old"
    same = asking(before="x")
    assert same.wait() == "old"
    assert same.reused_from == first.id
    assert asking("new", before="y").wait() == "new"


def test_answers_of_the_person_are_part_of_the_stored_run() -> None:
    asks = call("talk_to_user", question="Which year?")
    first = saying(asks, "1889", user_access=True).start(answers=["1889"])
    assert first.wait() == "1889"
    assert saying(user_access=True).start(answers=["1889"]).wait() == "1889"
    assert saying(asks, "1900", user_access=True).start(answers=["1900"]).wait() == "1900"


def test_reuse_is_an_option_of_the_decorator() -> None:
    model = ScriptedModel("yes")

    @task(reuse=True, model=model)
    def greet(name: str) -> str: ...

    assert [greet("Ada"), greet("Ada")] == ["yes", "yes"]
    assert len(model.requests) == 1
    with pytest.raises(UsageError, match="reuse='yes'"):
        Task("Say", reuse="yes")  # type: ignore[arg-type]


def test_without_a_store_nothing_is_reused_and_that_is_said() -> None:
    settings.store = "off"
    runs = [saying(word).start() for word in "ab"]
    assert [run.wait() for run in runs] == ["a", "b"]
    assert runs[1].log.notices[0].startswith("Nothing could be reused:")


def test_why_a_run_was_or_was_not_reused() -> None:
    assert "No completed run of 'count'" in aesop_nb.why_not_reused(saying())
    first = saying("a").start()
    first.wait()
    assert aesop_nb.why_not_reused(saying()).startswith(f"Nothing has changed since {first.id}")
    again = saying().start()
    again.wait()
    assert aesop_nb.why_not_reused(again) == f"Run {again.id} was reused from {first.id}."
    other = saying("b", context={"new": 1}).start()
    other.wait()
    assert aesop_nb.why_not_reused(other.id).endswith("the input 'new' (new).")


# Fingerprints ----------------------------------------------------------------------------------------

DIFFERENT: list[Callable[[], Any]] = [
    lambda: None,
    lambda: True,
    lambda: 1,
    lambda: 1.0,
    lambda: "1",
    lambda: b"1",
    list,
    dict,
    lambda: set(),
    lambda: [1, 2],
    lambda: [2, 1],
    lambda: [[1], 2],
    lambda: ["1", "2"],
    lambda: ["12"],
    lambda: {"a": [1, 2]},
    lambda: {"a": 1, "b": 2},
    lambda: {1, 2},
    lambda: float("nan"),
    lambda: "\ud800",
    lambda: Kind.BUG,
    lambda: dt.date(2026, 1, 1),
    lambda: dt.datetime(2026, 1, 1),
    lambda: Company(name="a", founded=dt.date(2026, 1, 1)),
    lambda: pd.DataFrame({"a": [1]}),
    lambda: pd.DataFrame({"b": [1]}),
    lambda: pd.DataFrame({"a": [1.0]}),
    lambda: pd.DataFrame({"a": ["1"]}),
    lambda: pd.Series([1], name="a"),
    lambda: pd.Series([1, None], dtype="Int64"),
    lambda: pd.DataFrame({"a": [[1, 2], {"b": 3}]}),
    lambda: pd.DataFrame({"a": pd.to_datetime(["2026-01-01"])}),
    lambda: pd.DataFrame({"a": pd.Categorical(["x"])}),
    lambda: pd.Series([1, 2]).to_numpy(),
    lambda: pd.Timestamp("2026-01-01"),
]


def test_equal_contents_have_equal_fingerprints_and_others_do_not() -> None:
    prints = [fingerprint(make()) for make in DIFFERENT]
    assert prints == [fingerprint(make()) for make in DIFFERENT]
    assert len(set(prints)) == len(prints)


def test_the_order_of_a_dict_does_not_count_and_tuples_are_lists() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": (2,), "a": 1})


@pytest.mark.parametrize("value", [object(), print, iter([1]), [{"x": open}]])
def test_what_has_no_stable_form_is_refused(value: Any) -> None:
    with pytest.raises(Unstable):
        fingerprint(value)


def test_a_value_that_holds_itself_is_refused() -> None:
    inside: list[Any] = []
    inside.append(inside)
    with pytest.raises(Unstable, match="holds itself"):
        fingerprint(inside)


def test_the_code_of_a_tool_does_not_count_but_what_the_model_sees_of_it() -> None:
    def found(text: str) -> Tool:
        return tool(lambda query: text, name="find", description="Finds.")

    saying("a", tools=[found("x")]).run()
    assert saying(tools=[found("y")]).run() == "a"


def test_the_categories_of_a_column_count_with_their_order() -> None:
    def frame(categories: list[str], *, ordered: bool = False) -> pd.DataFrame:
        return pd.DataFrame({"a": pd.Categorical(["x"], categories, ordered=ordered)})

    base = fingerprint(frame(["x", "y"]))
    assert fingerprint(frame(["x", "y"])) == base
    assert base not in (
        fingerprint(frame(["y", "x"])),
        fingerprint(frame(["x"])),
        fingerprint(frame(["x", "y"], ordered=True)),
    )

"""Answers are checked before they are taken, and each has one form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aesop_nb.engine.answers import AnswerMismatch, Question, read_question


def question(kind: str, **options: object) -> Question:
    return read_question({"question": "?", "kind": kind, **options})


@pytest.mark.parametrize(
    ("kind", "typed", "taken"),
    [
        ("text", "  as it is ", "  as it is "),
        ("text", "", ""),
        ("yes_no", " Y ", "yes"),
        ("yes_no", "No", "no"),
        ("int", " 42 ", "42"),
        ("int", "-0007", "-7"),
        ("float", "3.50", "3.5"),
        ("float", "1e3", "1000.0"),
        ("date", " 2026-03-31 ", "2026-03-31"),
        ("date", "20260331", "2026-03-31"),
        ("secret", " hunter2 ", " hunter2 "),
    ],
)
def test_an_answer_that_fits_has_one_form(kind: str, typed: str, taken: str) -> None:
    assert question(kind).checked(typed) == taken


@pytest.mark.parametrize(
    ("kind", "typed", "expected"),
    [
        ("yes_no", "perhaps", "yes or no"),
        ("int", "3.5", "a whole number, such as 42"),
        ("int", "", "a whole number"),
        ("int", "9" * 5_000, "a whole number"),
        ("float", "3,5", "a number, such as 3.5"),
        ("float", "nan", "a number"),
        ("float", "-inf", "a number"),
        ("date", "31.03.2026", "a date, such as 2026-03-31"),
        ("date", "2026-02-30", "a date"),
    ],
)
def test_an_answer_that_does_not_fit_is_told_what_is_expected(kind: str, typed: str, expected: str) -> None:
    with pytest.raises(AnswerMismatch, match=expected) as caught:
        question(kind).checked(typed)
    assert len(str(caught.value)) < 200


def test_a_secret_that_is_too_short_is_not_repeated() -> None:
    with pytest.raises(AnswerMismatch, match="at least 4 and at most 65,536 characters") as caught:
        question("secret").checked("abc")
    assert "abc" not in str(caught.value)


def test_a_choice_is_found_whatever_its_case_and_another_answer_may_be_given() -> None:
    asked = question("text", choices=["Paul", "Kamps <b>"])
    assert asked.checked(" PAUL") == "Paul"
    assert asked.checked("neither") == "neither"


def test_choices_and_the_default_take_the_form_of_the_kind() -> None:
    asked = question("int", choices=["01", "02"], default=2)
    assert (asked.choices, asked.default) == (("1", "2"), "2")


@given(st.text(max_size=60), st.sampled_from(["text", "yes_no", "int", "float", "date", "secret"]))
def test_any_text_is_taken_in_its_form_or_refused_in_words(typed: str, kind: str) -> None:
    asked = question(kind)
    try:
        taken = asked.checked(typed)
    except AnswerMismatch as exc:
        told = str(exc)
    else:
        told = "expected" if asked.checked(taken) == taken else "changed"
    assert "expected" in told

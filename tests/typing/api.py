"""Checked by mypy and never run: what the public names promise to type checkers."""

from typing import Literal, assert_type

from aesop_nb import Run, Task, task


@task
def classify(text: str, *, strict: bool = False) -> Literal["bug", "idea"]:
    """Say what it is."""
    raise NotImplementedError


@task(lazy=True)
def count(words: list[str]) -> int:
    """Count them."""
    raise NotImplementedError


assert_type(classify("It crashes", strict=True), Literal["bug", "idea"])
assert_type(classify.task("It crashes"), Task[Literal["bug", "idea"]])
assert_type(classify.start("It crashes"), Run[Literal["bug", "idea"]])
assert_type(count.task(["a"]).run(), int)

classify(3)  # type: ignore[arg-type]
classify("It crashes", loud=True)  # type: ignore[call-arg]

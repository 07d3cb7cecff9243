"""One line of the doctor's report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What was found about one thing.

    Attributes:
        about: The thing, in a word or two.
        text: How it stands.
        advice: What to do; empty where all is well.
        is_untried: Whether only a connection could tell.
    """

    about: str
    text: str
    advice: str = ""
    is_untried: bool = False

    def __str__(self) -> str:
        mark = "!" if self.advice else "·" if self.is_untried else "✓"
        line = f"{mark} {self.about:11}{self.text}"
        return f"{line}\n{'':13}→ {self.advice}" if self.advice else line

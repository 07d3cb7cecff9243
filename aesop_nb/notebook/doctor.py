"""`%aesop doctor`: what is set up here, and what to do where it is not well. Opens no connection."""

from __future__ import annotations

import os
import platform
import re
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

from ..asking import find_audience
from ..config import settings
from ..errors import ModelNotConfigured, UsageError
from ..models.choosing import HOW_TO_CONNECT, choose_model
from ..models.keys import KEY_VARIABLE, Key
from ..texts import one_line
from . import feeds, pump
from .frontends import front_end

_PACKAGES = (
    "aesop_nb",
    "ipython",
    "ipykernel",
    "ipywidgets",
    "openai",
    "pydantic",
    "pandas",
    "nest-asyncio2",
)
_FRONT_ENDS = {
    "widgets": "a notebook with a person: widgets and input() are allowed",
    "headless": "none: the notebook is run by a program, such as nbconvert, papermill or nbclient",
    "terminal": "IPython in a terminal",
    "none": "none: no IPython runs here",
}
_OLDEST_KERNEL = (6, 29)
_USUAL_PART = re.compile(
    r"|v\d{1,2}(alpha|beta)?\d?|api|openai|compatible-mode|engines|inference|llama\.cpp|serve"
)


@dataclass(frozen=True)
class _Finding:
    """One line of the report; `advice` is what to do, empty where all is well.

    `is_untried` says that only a connection could tell whether it is.
    """

    about: str
    text: str
    advice: str = ""
    is_untried: bool = False

    def __str__(self) -> str:
        mark = "!" if self.advice else "·" if self.is_untried else "✓"
        line = f"{mark} {self.about:11}{self.text}{'; not contacted' if self.is_untried else ''}"
        return f"{line}\n{'':13}→ {self.advice}" if self.advice else line


def doctor() -> str:
    """Gives one line per thing that matters, and below it what to do where it is not well."""
    findings = [_kernel(), _front_end(), _questions(), _model(), _key(), _versions()]
    return "\n".join(str(finding) for finding in findings)


def model_line() -> str:
    """Gives the model in use and where that comes from, on one line."""
    found = _model()
    return f"{found.text} → {found.advice}" if found.advice else found.text


def _kernel() -> _Finding:
    if "ipykernel.kernelbase" not in sys.modules:
        return _Finding("kernel", "none: IPython in a terminal or a script, without widgets")
    release = feeds.kernel_version()
    advice = feeds.kernel_warning() or ""
    if _numbers(release) < _OLDEST_KERNEL:
        advice = f"ipykernel {release} is older than what was tried: install ipykernel>=6.29."
    return _Finding("kernel", f"ipykernel {release}", advice)


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split(".")[:2] if part.isdecimal())


def _front_end() -> _Finding:
    return _Finding("front end", _FRONT_ENDS[front_end()])


def _questions() -> _Finding:
    match find_audience():
        case "widget":
            return _Finding("questions", "a form below the cell, heard while the cell runs")
        case "terminal" if front_end() == "widgets":
            return _Finding(
                "questions",
                f"the line that input() shows, not a form: {pump.why_not() or 'the live view is not loaded.'}",
                "%aesop answer from another cell works for a task started with --bg.",
            )
        case "terminal":
            return _Finding("questions", "asked in the terminal with input()")
        case _:
            return _Finding(
                "questions",
                "nobody can be asked here: a task that asks ends with NeedsHuman at once",
                "Give answers beforehand: --answer TEXT, or answers=[…].",
            )


def _model() -> _Finding:
    try:
        model = choose_model()
    except (ModelNotConfigured, UsageError) as exc:
        return _Finding("model", "none that can be used", one_line(str(exc), 400))
    name, source = Key(None).mask_all(one_line(model.name)), _model_source()
    if model.is_rehearsal:
        return _Finding(
            "model",
            f"{name} ({source}): a rehearsal, not a language model; its results are placeholders",
            f"To connect a model, {HOW_TO_CONNECT}.",
        )
    return _Finding("model", f"{name} ({source}) at {_service()}", is_untried=True)


def _model_source() -> str:
    named = os.environ.get("AESOP_MODEL")
    if settings.model and settings.model != named:
        return "from settings.model"
    if settings.model or named:
        return "from AESOP_MODEL"
    return f"the default where {KEY_VARIABLE} is set" if os.environ.get(KEY_VARIABLE) else "nothing is set"


def _service() -> str:
    """The address of the service; its user name, its query and unusual parts of its path may be secrets."""
    address = settings.base_url or os.environ.get("OPENAI_BASE_URL")
    if not address:
        return "OpenAI"
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
        path = "/".join(part if _USUAL_PART.fullmatch(part) else "…" for part in parts.path.split("/"))
        return one_line(f"{parts.scheme}://{parts.hostname or ''}{port}{path}")
    except ValueError:
        return "an address that cannot be read"


def _key() -> _Finding:
    try:
        key = Key.from_environment()
    except UsageError as exc:
        return _Finding("key", "set, but cannot be used", str(exc))
    return _Finding("key", f"{KEY_VARIABLE} is {key!r}")


def _versions() -> _Finding:
    known = [f"Python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            known.append(f"{package} {version(package)}")
        except PackageNotFoundError:  # run from a checkout that is not installed
            if release := getattr(sys.modules.get(package), "__version__", None):
                known.append(f"{package} {release}")
    return _Finding("versions", ", ".join(known))

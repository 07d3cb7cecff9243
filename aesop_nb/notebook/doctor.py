"""`%aesop doctor`: what is set up here, and what to do where it is not well; connects only with `--check`."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from ..config import Settings, settings
from ..engine.asking import find_audience
from ..errors import ModelNotConfigured, UsageError
from ..history.histories import size_warning
from ..models.choosing import HOW_TO_CONNECT, choose_model
from ..models.keys import KEY_VARIABLE, Key
from ..project_settings import project_file, use_project_settings
from ..store import default_store
from ..texts import nearest, one_line
from . import feeds, pump
from .findings import Finding
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
    "platformdirs",
)
_FRONT_ENDS = {
    "widgets": "a notebook with a person: widgets and input() are allowed",
    "headless": "none: the notebook is run by a program, such as nbconvert, papermill or nbclient",
    "terminal": "IPython in a terminal",
    "none": "none: no IPython runs here",
}
_OLDEST_KERNEL = (6, 29)
_STORE_ADVICE = (
    "Runs go on and are kept until the kernel ends. Mend that, or give another folder: settings.home = '…' or "
    "AESOP_HOME."
)
_NO_STORE_ADVICE = {"off": "", "on": _STORE_ADVICE}
_USUAL_PART = re.compile(
    r"|v\d{1,2}(alpha|beta)?\d?|api|openai|compatible-mode|engines|inference|llama\.cpp|serve"
)


def doctor(*, check: bool = False) -> str:
    """Gives one line per thing that matters, and below it what to do where it is not well.

    Args:
        check: Whether to send the model one tiny request, and to look for servers on this machine.
    """
    findings = [_kernel(), _front_end(), _questions(), _settings(), _model(is_checked=check), _key()]
    if check:
        findings += _checked()
    return "\n".join(map(str, [*findings, _store(), _versions()]))


def _checked() -> list[Finding]:
    from .checking import answering, local_servers  # here, as nothing else may connect

    try:
        model = choose_model()
    except (ModelNotConfigured, UsageError):
        return local_servers()
    return local_servers() if model.is_rehearsal else [answering(model)]


def model_line() -> str:
    """Gives the model in use and where that comes from, on one line."""
    found = _model()
    return f"{found.text} → {found.advice}" if found.advice else found.text


def _kernel() -> Finding:
    if "ipykernel.kernelbase" not in sys.modules:
        return Finding("kernel", "none: IPython in a terminal or a script, without widgets")
    release = feeds.kernel_version()
    advice = feeds.kernel_warning() or ""
    if _numbers(release) < _OLDEST_KERNEL:
        advice = f"ipykernel {release} is older than what was tried: install ipykernel>=6.29."
    return Finding("kernel", pump.kernel_line(), advice)


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split(".")[:2] if part.isdecimal())


def _front_end() -> Finding:
    return Finding("front end", _FRONT_ENDS[front_end()])


def _questions() -> Finding:
    match find_audience():
        case "widget":
            return Finding("questions", "a form below the cell, heard while the cell runs")
        case "terminal" if front_end() == "widgets":
            return Finding(
                "questions",
                f"the line that input() shows, not a form: {pump.why_not() or 'the live view is not loaded.'}",
                "%aesop answer from another cell works for a task started with --bg.",
            )
        case "terminal":
            return Finding("questions", "asked in the terminal with input()")
        case _:
            return Finding(
                "questions",
                "nobody can be asked here: a task that asks ends with NeedsHuman at once",
                "Give answers beforehand: --answer TEXT, or answers=[…].",
            )


def _settings() -> Finding:
    try:
        use_project_settings()
        path = project_file()
    except UsageError as exc:
        return Finding("settings", "the project's file cannot be used", one_line(str(exc), 400))
    advice = " ".join(_unknown_variables())
    if path is None:
        return Finding(
            "settings",
            "AESOP_* variables and aesop_nb.settings; no pyproject.toml with [tool.aesop_nb]",
            advice,
        )
    return Finding(
        "settings", f"[tool.aesop_nb] in {_home_as_tilde(path)}, AESOP_* variables, aesop_nb.settings", advice
    )


def _unknown_variables() -> list[str]:
    """Says which variables of the environment look like settings and are none; without their values."""
    known = [f"AESOP_{name.upper()}" for name in Settings.model_fields]
    unknown = sorted(name for name in os.environ if name.startswith("AESOP_") and name not in known)
    return [f"{one_line(name, 80)} is no setting.{nearest(name, known)}" for name in unknown[:5]]


def _store() -> Finding:
    store = default_store()
    problem = store.problem or _why_not_written(store.path)
    if store.path is None:
        return Finding(
            "store",
            one_line(problem or "nothing is saved", 200),
            is_untried=settings.store == "off",
            advice=_NO_STORE_ADVICE.get(settings.store, "settings.store = 'on' saves runs and memory."),
        )
    where = f"{_home_as_tilde(store.path)}, {store.size_bytes() / 1e6:,.1f} MB"
    if problem:
        return Finding("store", f"{where}: {one_line(problem, 300)}", _STORE_ADVICE)
    return Finding("store", f"{where}, durability {settings.durability}", size_warning())


def _why_not_written(path: Path | None) -> str | None:
    """Why a store that does not exist yet could not be made; it is made when something is written."""
    if path is None or path.exists():
        return None
    folder = next((above for above in path.parents if above.exists()), None)
    if folder is None or not folder.is_dir():
        return "there is no such folder, and none can be made"
    return None if os.access(folder, os.W_OK) else "the folder cannot be written"


def _home_as_tilde(path: Path) -> str:
    """The path without the name of the person whose folder it is in."""
    try:
        return one_line(f"~/{path.relative_to(Path.home()).as_posix()}", 200)
    except (ValueError, RuntimeError):
        return one_line(str(path), 200)


def _model(*, is_checked: bool = False) -> Finding:
    try:
        model = choose_model()
    except (ModelNotConfigured, UsageError) as exc:
        return Finding("model", "none that can be used", one_line(str(exc), 400))
    name, source = Key(None).mask_all(one_line(model.name)), _model_source()
    if model.is_rehearsal:
        return Finding(
            "model",
            f"{name} ({source}): a rehearsal, not a language model; its results are placeholders",
            f"To connect a model, {HOW_TO_CONNECT}.",
        )
    untried = "" if is_checked else "; not contacted, %aesop doctor --check does"
    return Finding("model", f"{name} ({source}) at {_service()}{untried}", is_untried=not is_checked)


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


def _key() -> Finding:
    try:
        key = Key.from_environment()
    except UsageError as exc:
        return Finding("key", "set, but cannot be used", str(exc))
    return Finding("key", f"{KEY_VARIABLE} is {key!r}")


def _versions() -> Finding:
    known = [f"Python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            known.append(f"{package} {version(package)}")
        except PackageNotFoundError:  # run from a checkout that is not installed
            if release := getattr(sys.modules.get(package), "__version__", None):
                known.append(f"{package} {release}")
    return Finding("versions", ", ".join(known))

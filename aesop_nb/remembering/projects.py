"""Which project this is: what one project remembers, another never reads."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ..config import settings
from ..errors import UsageError
from ..project_settings import use_project_settings
from ..texts import clean_text, visible

_MARKS = ("pyproject.toml", ".git")


def project_namespace() -> str:
    """Gives the name under which the project of this moment remembers.

    That is `settings.project`; without it the nearest folder from the working folder upwards that holds a
    `pyproject.toml` or a `.git`, else the working folder itself. A folder is named by its last part and a hash
    of its path: readable, different for every folder, and without a path of this machine in it.

    Raises:
        UsageError: If no project is set and the working folder no longer exists, or the project's file is wrong.
    """
    use_project_settings()
    if settings.project is not None:
        return f"name:{clean_text(settings.project)}"
    folder = _folder()
    # The hash is of the path's bytes, which need not be text everywhere.
    path_hash = hashlib.sha256(os.path.normcase(os.fsencode(folder))).hexdigest()[:16]
    return f"folder:{visible(clean_text(folder.name))}-{path_hash}"


def _folder() -> Path:
    try:
        here = Path.cwd().resolve()
    except OSError as exc:
        raise UsageError(
            f"The working folder cannot be read ({exc.strerror}), so the project is not known. "
            "Name it: settings.project = 'my project'."
        ) from exc
    candidates = (here, *here.parents)
    return next((folder for folder in candidates if any((folder / mark).exists() for mark in _MARKS)), here)

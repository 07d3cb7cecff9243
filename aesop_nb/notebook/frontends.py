"""Who is on the other side of the shell: a person with widgets, nobody, a terminal, or no IPython at all."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .pump import why_not

if TYPE_CHECKING:
    from ..engine.asking import Audience

FrontEnd: TypeAlias = Literal["widgets", "headless", "terminal", "none"]
"""`widgets`: a kernel with a person. `headless`: a kernel run by nbclient, papermill and their like.
`terminal`: IPython without a kernel. `none`: no IPython."""


def shell() -> Any | None:
    """Gives the IPython shell of this process, or `None`; does not import IPython."""
    module = sys.modules.get("IPython.core.interactiveshell")
    if module is None or not module.InteractiveShell.initialized():
        return None
    return module.InteractiveShell.instance()


def front_end() -> FrontEnd:
    """Says what is on the other side; to be called in the thread of the cell."""
    current = shell()
    if current is None:
        return "none"
    kernel = getattr(current, "kernel", None)
    if kernel is None:
        return "terminal"
    return "widgets" if _can_be_typed_into(kernel) else "headless"


def audience() -> Audience | None:
    """Says how a person can be asked by a run started in this thread; `None` where there is no kernel."""
    match front_end():
        case "widgets":
            return "widget" if why_not() is None else "terminal"
        case "headless":
            return "nobody"
        case _:
            return None


def notebook_of_vs_code() -> str | None:
    """Gives the path of the notebook, which VS Code writes into its variables; `None` elsewhere."""
    current = shell()
    path = current.user_ns.get("__vsc_ipynb_file__") if current is not None else None
    return path if isinstance(path, str) else None


def _can_be_typed_into(kernel: Any) -> bool:
    """Whether the request that runs now came from a client with a person: only those allow `input()`."""
    try:
        request = kernel.get_parent("shell")
    except (AttributeError, TypeError):  # a kernel that is not ipykernel's
        return False
    return bool((request or {}).get("content", {}).get("allow_stdin"))

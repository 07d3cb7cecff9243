"""`%%aesop` and `%aesop` for IPython; what they do is in `cells.py`, `outcomes.py` and `commands.py`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError as IPythonUsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from traitlets import TraitError

from ..errors import ModelNotConfigured, UsageError
from ..texts import one_line
from .cells import Cell
from .commands import asks_for_help, cell_help, line_help, run_line
from .completion import matcher_for
from .outcomes import Text, run_cell
from .subcommands import Notebook
from .traits import settings_traits

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = "aesop"

# IPython's annotations have these two give something that cannot be called.
_line_magic: Any = line_magic
_cell_magic: Any = cell_magic


def register(shell: Any) -> None:
    """Adds the magics and their completion to an IPython shell; a second time changes nothing.

    Raises:
        IPython's UsageError: If `c.AesopMagics` in its configuration sets something that does not fit.
    """
    if AesopMagics.__name__ in shell.magics_manager.registry:
        return
    with one_line_errors():
        made = AesopMagics(shell)
    shell.register_magics(made)
    shell.Completer.custom_matchers.append(made.matcher)


def unregister(shell: Any) -> None:
    """Takes them out again."""
    manager = shell.magics_manager
    ours = manager.registry.pop(AesopMagics.__name__, None)
    if ours is None:
        return
    for magics in manager.magics.values():
        if getattr(magics.get(_NAME), "__self__", None) is ours:
            magics.pop(_NAME, None)
    for holder in (shell.Completer.custom_matchers, shell.configurables):
        holder[:] = [item for item in holder if item is not ours and item is not ours.matcher]


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Shows a mistake in one line: IPython does so for exactly its own class, and still fails the cell."""
    try:
        yield
    except (UsageError, ModelNotConfigured, TraitError) as exc:
        raise IPythonUsageError(one_line(str(exc), 1_000)) from None


def _as_typed(shell: Any, line: str, body: str) -> str:
    """The body as the person typed it.

    IPython takes `>>>`, `...` and `In [1]:` out of a cell before it looks for a magic. They are put back when
    the cell in the history is this very cell, and that is what IPython makes of it.
    """
    raw = str(shell.history_manager.input_hist_raw[-1]) if shell.history_manager else ""
    head, _, typed = raw.partition("\n")
    if not head.startswith(f"%%{_NAME}") or typed.rstrip() == body.rstrip():
        return body
    call = f"get_ipython().run_cell_magic({_NAME!r}, {line!r}, {body!r})\n"
    return typed if shell.transform_cell(raw) == call else body


@magics_class
class AesopMagics(Magics):
    """The two magics, and `settings` as traits: `%config AesopMagics` shows them, `c.AesopMagics` sets them."""

    shell: Any

    locals().update(settings_traits())

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self.matcher = matcher_for(shell.user_ns)

    # IPython would expand {x} and $x in the line, where types and JSON stand.
    @no_var_expand
    @_cell_magic(_NAME)
    def _cell(self, line: str, body: str) -> Any:
        if asks_for_help(line):
            return Text(cell_help())
        with one_line_errors():
            cell = Cell.read(line, _as_typed(self.shell, line, body))
            return run_cell(cell, self.shell.user_ns, self.shell.push)

    @no_var_expand
    @_line_magic(_NAME)
    def _line(self, line: str) -> Any:
        with one_line_errors():
            return run_line(line, self._notebook())

    def _notebook(self) -> Notebook:
        shell = self.shell
        return Notebook(namespace=shell.user_ns, bind=shell.push, write_next=shell.set_next_input)

    _cell.__doc__ = cell_help()
    _line.__doc__ = line_help()

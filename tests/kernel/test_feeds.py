"""What the pump says where there is no kernel, and of kernels that we do not test with."""

import sys
from types import SimpleNamespace

import pytest

from aesop_nb.notebook.feeds import kernel_warning
from aesop_nb.notebook.pump import CellPump, kernel_line, why_not


def test_pump_does_not_apply_where_no_kernel_runs():
    assert not CellPump().applies()
    assert why_not() == "no ipykernel runs in this process, so there are no widgets to click."
    assert kernel_line() == f"clicks do not reach a running cell: {why_not()}"


@pytest.mark.parametrize(
    ("version", "is_warned"), [((6, 31, 0), False), ((7, 0, 1), True), ((7, 3, 0), True), ((7, 4, 0), False)]
)
def test_kernels_that_hang_by_themselves_are_named(monkeypatch, version, is_warned):
    name = ".".join(map(str, version))
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace(version_info=version, __version__=name))
    warning = kernel_warning()
    assert (warning is not None) == is_warned
    if warning:
        assert warning.startswith(f"ipykernel {name} can hang in Run All")
        assert warning.endswith("install ipykernel>=7.4.")

"""Which line of ipykernel the tests run on, and what their files share."""

import ipykernel
import pytest

HAS_SUBSHELLS = ipykernel.version_info[0] >= 7

needs_subshells = pytest.mark.skipif(not HAS_SUBSHELLS, reason="ipykernel 6 has no subshells")

HOW_TO_WAIT = {
    "blocking": "print('go'); wait_for(b.latch); print('end')",
    "awaiting": "print('go'); await listen_for(b.latch); print('end')",
}


def error_of(front_end, cell):
    """The name of the error that a cell ended with."""
    content = front_end.reply(cell)["content"]
    assert content["status"] == "error", content
    return content["ename"]

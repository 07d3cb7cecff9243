"""For your own tests: a model that says what you write down, and a switch that forbids real requests.

from aesop_nb.testing import ScriptedModel, call, forbid_model_requests, result

def test_my_task():
    model = ScriptedModel(call("search", query="bakeries"), result(["Paul"]))
    with forbid_model_requests():
        assert Task("Find bakeries", result_type=list[str], tools=[search], model=model).run() == ["Paul"]
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from .models import requests_switch
from .models.scripted import ScriptedModel, ScriptExhausted, call, failure, result

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ScriptExhausted", "ScriptedModel", "call", "failure", "forbid_model_requests", "result"]


@contextlib.contextmanager
def forbid_model_requests(reason: str = "model requests are forbidden in tests") -> Iterator[None]:
    """Lets every request to a real model fail before it is sent; scripted models and rehearsals go on.

    Works as a context manager and as a decorator; put it into an autouse fixture to hold everywhere.
    """
    before = requests_switch.forbid(reason)
    try:
        yield
    finally:
        requests_switch.forbid(before)

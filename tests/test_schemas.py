"""What is said of types that cannot be a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aesop_nb.errors import UsageError
from aesop_nb.results.schemas import describe


class Other: ...


@dataclass
class Holder:
    inside: Other


@pytest.mark.parametrize(
    ("annotation", "advice"),
    [
        (pd.Series, r"Use pd\.DataFrame for a table, or list\[float\]"),
        (np.ndarray, r"Use pd\.DataFrame for a table, or list\[float\]"),
        (np.ndarray[Any, np.dtype[np.float64]], r"or list\[float\]"),
        (list[pd.Series], r"Use list\[float\]"),
        (dict[str, list[np.ndarray]], r"Use list\[float\]"),
        (Holder, "Use a pydantic model"),
    ],
)
def test_a_type_that_json_cannot_describe_gets_advice_of_ours(annotation: Any, advice: str) -> None:
    with pytest.raises(UsageError, match=advice) as caught:
        describe(annotation)
    assert "arbitrary_types_allowed" not in str(caught.value)

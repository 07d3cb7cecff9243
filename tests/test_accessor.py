"""`df.aesop` is there whichever of the two packages is imported first."""

from __future__ import annotations

import pytest
from helping import run_python


@pytest.mark.parametrize(
    "code",
    [
        "import pandas as pd, aesop_nb",
        "from aesop_nb import task; import sys; assert 'pandas' not in sys.modules; import pandas as pd",
        "import aesop_nb, importlib.util; importlib.util.find_spec('pandas'); import pandas as pd",
    ],
    ids=["pandas first", "pandas later", "pandas only looked for at first"],
)
def test_frames_and_series_have_maps(code: str) -> None:
    ran = run_python(f"{code}\nprint(pd.DataFrame({{'a': [1]}}).aesop.map, pd.Series([1]).aesop.map)")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_import_of_pandas_is_watched_only_until_it_has_happened() -> None:
    code = (
        "import aesop_nb, sys; before = len(sys.meta_path); import pandas; print(before - len(sys.meta_path))"
    )
    assert run_python(code).stdout == "1\n"

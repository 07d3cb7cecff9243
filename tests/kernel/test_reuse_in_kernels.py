"""Restart & Run All with reuse on: the second kernel asks the model nothing and shows the same."""

import pytest
from openai_server import asks

pytestmark = pytest.mark.kernel

CELLS = [
    "%load_ext aesop_nb\nimport aesop_nb as aesop, pandas as pd\nfrom pydantic import BaseModel",
    "class Company(BaseModel):\n    name: str\n    staff: int",
    "@aesop.task\ndef find(n: int) -> list[Company]:\n    '''Find some.'''",
    "print(find(3))",
    "df = pd.DataFrame({'x': [1, 2]})\ncount = aesop.Task('Count', context={'df': df}, result_type=int)",
    "twice = aesop.Task('Double it', context={'n': count}, result_type=int)\nprint(twice.run())",
    '%%aesop rows << --columns "name, staff:int?"\nFind {{len(df)}} bakeries.',
    "print(rows.to_dict('records'))",
]


def answer(request):
    (finish,) = (t for t in request.body["tools"] if t["function"]["name"] == "mark_successful")
    wanted = finish["function"]["parameters"]["properties"]["result"]["type"]
    return asks("mark_successful", {"result": 7 if wanted == "integer" else [{"name": "Paul", "staff": 3}]})


def test_the_second_kernel_asks_nothing(openai_server, start_kernel, monkeypatch, tmp_path):
    server = openai_server(answer)
    for name, value in {
        "OPENAI_BASE_URL": server.url,
        "AESOP_MODEL": "gpt-test",
        "AESOP_HOME": str(tmp_path / "home"),
        "AESOP_REUSE": "1",
    }.items():
        monkeypatch.setenv(name, value)
    printed, sends = [], []
    for _ in range(2):
        kernel = start_kernel()
        printed.append([kernel.run(cell) for cell in CELLS])
        sends.append(server.sends)
        sources = kernel.run("print(*sorted(aesop.runs()['reused_from'].dropna()))")
        kernel.close()
    assert printed[0] == printed[1]
    assert sends == [4, 4]
    assert sources == "r1 r2 r3 r4\n"

"""What the magics do in a real kernel: mistakes stop the queue, results are displayed once, runs go on."""

import pytest

pytestmark = pytest.mark.kernel

SETUP = """
%load_ext aesop_nb
import threading, time
from aesop_nb.testing import ScriptedModel, call, result
"""


@pytest.fixture
def notebook(own_front_end):
    assert own_front_end.run(SETUP) == ""
    return own_front_end


def messages(front_end, cell, msg_type):
    return [message["content"] for message in front_end.iopub[cell] if message["msg_type"] == msg_type]


@pytest.mark.parametrize(
    "mistake",
    ["%%aesop --modle x\nGo", "%%aesop\nGo {{nope}}", "%aesop statsu", "%%aesop class <<\nGo"],
)
def test_a_mistake_is_one_line_and_stops_the_queued_cells(notebook, mistake):
    begun = notebook.start("print('go'); time.sleep(0.3)", stop_on_error=True)
    wrong = notebook.execute(mistake, stop_on_error=True)
    after = notebook.execute("after = True", stop_on_error=True)
    notebook.end(begun)
    reply = notebook.reply(wrong)["content"]
    assert (reply["status"], reply["ename"]) == ("error", "UsageError")
    assert notebook.reply(after)["content"]["status"] == "aborted"
    notebook.until(lambda: "idle" in notebook.states(wrong))
    (shown,) = messages(notebook, wrong, "stream")
    assert shown["name"] == "stderr"
    assert shown["text"].startswith("UsageError: ")
    assert shown["text"].count("\n") == 1
    assert notebook.run("print('after' in dir())") == "False\n"


def test_a_failed_run_stops_the_queued_cells_and_leaves_an_error(notebook):
    notebook.run("from aesop_nb.testing import failure; m = ScriptedModel(failure('no such thing'))")
    failed = notebook.execute("%%aesop -m m\nGo", stop_on_error=True)
    after = notebook.execute("after = True", stop_on_error=True)
    assert notebook.reply(failed)["content"]["ename"] == "TaskFailed"
    assert notebook.reply(after)["content"]["status"] == "aborted"
    notebook.until(lambda: "idle" in notebook.states(failed))
    (error,) = messages(notebook, failed, "error")
    assert "no such thing" in error["evalue"]
    assert len(error["traceback"]) == 1


def test_a_result_is_displayed_once_as_a_table(notebook):
    notebook.run("m = ScriptedModel(result([{'name': 'Paul'}]))")
    cell = notebook.execute("%%aesop df << -m m -c name\nList")
    notebook.end(cell)
    (shown,) = messages(notebook, cell, "execute_result")
    assert "<table" in shown["data"]["text/html"]
    assert "Paul" in shown["data"]["text/plain"]
    assert notebook.run("print(type(df).__name__, df['name'][0])") == "DataFrame Paul\n"


def test_the_body_survives_the_kernel(notebook):
    body = '{"a": {"b": 1}} f"{x!r}" $HOME %d  \n\n>>> a\n... b\nIn [1]: c\nünïcode 🦊 what?'
    notebook.run("m = ScriptedModel('ok')")
    content = {"code": f"%%aesop -m m\n{body}\n", "silent": False, "store_history": True}
    notebook.end(notebook.send("execute_request", content))
    sent = notebook.run("print(ascii(m.requests[0].messages[-1].text))")
    assert sent == ascii(body) + "\n"


def test_a_run_in_the_background_goes_on_while_other_cells_run(notebook):
    notebook.run("opened = threading.Event()\ndef hold() -> str:\n    opened.wait(20); return 'x'")
    notebook.run("m = ScriptedModel(call('hold'), result(42)); from aesop_nb import Run")
    notebook.run("%%aesop warm << -r int\nwarm up")
    seconds = notebook.run(
        "begun = time.monotonic()\n"
        "get_ipython().run_cell_magic('aesop', 'r << -m m -t hold -r int --bg', 'Count')\n"
        "print(time.monotonic() - begun)"
    )
    assert float(seconds.splitlines()[-1]) < 0.2
    assert notebook.run("print(r.status)") == "running\n"
    notebook.run("opened.set()")
    notebook.run("n = %aesop wait")
    assert notebook.run("print(n, await r, r.result)") == "42 42 42\n"


def test_loading_prints_nothing_and_unloading_takes_the_magics_away(notebook):
    before = "ip = get_ipython(); print(ip.CustomTB, ip.show_usage_error.__func__.__qualname__)"
    state = notebook.run(before)
    assert notebook.run("%reload_ext aesop_nb") == ""
    assert notebook.run("%unload_ext aesop_nb") == ""
    assert notebook.run("print(ip.find_line_magic('aesop'), ip.find_cell_magic('aesop'))") == "None None\n"
    assert notebook.run(before) == state


def test_the_doctor_knows_the_kernel(notebook):
    cell = notebook.execute("%aesop doctor", allow_stdin=True)
    notebook.end(cell)
    (shown,) = messages(notebook, cell, "execute_result")
    text = shown["data"]["text/plain"]
    assert "ipykernel " in text
    assert "a form below the cell, heard while the cell runs" in text
    headless = notebook.execute("%aesop doctor")
    notebook.end(headless)
    assert (
        "nobody can be asked here" in messages(notebook, headless, "execute_result")[0]["data"]["text/plain"]
    )


def test_tab_in_a_kernel_offers_what_can_stand_there(notebook):
    notebook.run("def zz_look_up(query): ...\nyear = größe = 1")

    def offered(code):
        before, _, after = code.partition("|")
        request = notebook.send("complete_request", {"code": before + after, "cursor_pos": len(before)})
        content = notebook.reply(request)["content"]
        assert content["status"] == "ok"
        return [before[: content["cursor_start"]] + match for match in content["matches"]]

    assert offered("%%aesop df << --mod|") == ["%%aesop df << --model"]
    assert offered("%%aesop -t zz|\nFind") == ["%%aesop -t zz_look_up"]
    assert offered("%%aesop\nin ü 🦊 {{gr|}} now\nmore") == ["%%aesop\nin ü 🦊 {{größe"]
    assert offered("%%aesop\nimport os; os.pa|") == []
    assert offered("x = 1\nn = %aesop sho|") == ["x = 1\nn = %aesop show"]
    assert "year" in offered("yea|")
    notebook.run("%unload_ext aesop_nb")
    assert "%%aesop df << --model" not in offered("%%aesop df << --mod|")


def test_code_goes_into_the_next_cell(notebook):
    notebook.run("m = ScriptedModel(result(3))")
    notebook.end(notebook.execute("%%aesop -m m -r int\nCount"))
    cell = notebook.execute("%aesop code")
    notebook.end(cell)
    (payload,) = notebook.reply(cell)["content"]["payload"]
    assert payload["source"] == "set_next_input"
    assert payload["replace"] is False
    assert "@task(" in payload["text"]

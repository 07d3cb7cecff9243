"""Secrets and approvals in a real kernel, over the pump: what a client sends, hears, and finds in tracebacks."""

import json
import time

import pytest
from test_view_in_a_kernel import messages, wait_for_model

pytestmark = pytest.mark.kernel

SECRET = "hunter2-sentinel"

SETUP = """
%load_ext aesop_nb
%xmode Verbose
from aesop_nb import Task, settings, tool
from aesop_nb.testing import ScriptedModel, call

settings.banner = False
got = []

@tool(requires_approval=True)
def log_in(password: str) -> str:
    got.append(hash(password))
    raise ValueError(f"wrong password {password}")

def task():
    return Task("Log in", tools=[log_in], user_access=True, model=ScriptedModel(
        call("talk_to_user", question="Password?", kind="secret"),
        call("log_in", password="<secret:1>"), "done"
    ))
"""


def test_a_secret_and_an_approval_over_the_pump(front_end, route):
    front_end.run(SETUP)
    cell = front_end.execute("settings.tools_raise_on_error = True\ntask().run()", allow_stdin=True)
    field = wait_for_model(front_end, cell, "PasswordModel")
    send = wait_for_model(front_end, cell, "ButtonModel", description="Send")
    front_end.type_text(field, SECRET, subshell_id=route)
    front_end.click(send, subshell_id=route)
    approve = wait_for_model(front_end, cell, "ButtonModel", description="Approve")
    assert field in [content["comm_id"] for content in messages(front_end, cell, "comm_close")]
    front_end.until(lambda: "&lt;secret:1&gt;" in json.dumps(front_end.iopub[cell], default=str))
    time.sleep(0.6)  # the second click of a double-click is not heard
    front_end.click(approve, subshell_id=route)
    content = front_end.reply(cell)["content"]
    assert content["ename"] == "ToolFailed"
    assert "wrong password <secret:1>" in content["evalue"]
    said = front_end.run("import aesop_nb, json; print(json.dumps([e.type for e in aesop_nb.last.events]))")
    assert "approval_decided" in said
    assert front_end.run(f"print(got == [hash({SECRET!r})])") == "True\n"
    told = [message for message in front_end.all_iopub if message["msg_type"] != "execute_input"]
    assert SECRET not in json.dumps([told, content], default=str)

"""A real kernel of the running interpreter, and a front end that sends what JupyterLab and nbclassic send."""

import os
import time
from collections import defaultdict
from pathlib import Path

import pytest
import zmq
from jupyter_client.manager import KernelManager
from kernel_lines import HAS_SUBSHELLS, HOW_TO_WAIT

REPOSITORY = Path(__file__).parents[2]


class FrontEnd:
    """One client of one kernel. It files each message under the request that caused it."""

    def __init__(self, directory):
        self.manager = KernelManager(kernel_name="python3")
        environment = dict(
            os.environ,
            IPYTHONDIR=str(directory / "ipython"),
            PYTHONPATH=os.pathsep.join([str(REPOSITORY), str(Path(__file__).parent)]),
        )
        self.manager.start_kernel(
            env=environment, cwd=str(directory), extra_arguments=["--HistoryManager.enabled=False"]
        )
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.iopub = defaultdict(list)
        self.all_iopub = []
        self.replies = {}
        self.reply_order = []
        self.input_requests = []
        self.client.wait_for_ready(timeout=60)

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()
        self.manager.context.term()

    def send(self, msg_type, content, *, channel="shell", subshell_id=None, metadata=None):
        """Sends a request and gives its id."""
        message = self.client.session.msg(msg_type, content, metadata=metadata)
        if subshell_id is not None:
            message["header"]["subshell_id"] = subshell_id
        getattr(self.client, f"{channel}_channel").send(message)
        return message["header"]["msg_id"]

    def execute(self, code, *, subshell_id=None, stop_on_error=False, allow_stdin=False):
        """Sends a cell and does not wait."""
        content = {
            "code": code,
            "silent": False,
            "store_history": False,
            "user_expressions": {},
            "allow_stdin": allow_stdin,
            "stop_on_error": stop_on_error,
        }
        return self.send("execute_request", content, subshell_id=subshell_id)

    def run(self, code, **options):
        """Runs a cell to its end and gives what it printed."""
        cell = self.execute(code, **options)
        return self.end(cell)

    def end(self, cell, seconds=20):
        """Waits for a cell that must end well and gives what it printed."""
        content = self.reply(cell, seconds)["content"]
        assert content["status"] == "ok", "\n".join(content.get("traceback", [str(content)]))
        self.until(lambda: "idle" in self.states(cell))
        return self.stdout(cell)

    def reply(self, request, seconds=20):
        self.until(lambda: request in self.replies, seconds)
        return self.replies[request]

    def comm_msg(self, comm_id, data, *, subshell_id=None):
        return self.send("comm_msg", {"comm_id": comm_id, "data": data}, subshell_id=subshell_id)

    def click(self, comm_id, *, subshell_id=None):
        data = {"method": "custom", "content": {"event": "click"}}
        return self.comm_msg(comm_id, data, subshell_id=subshell_id)

    def type_text(self, comm_id, text, *, subshell_id=None):
        data = {"method": "update", "state": {"value": text}, "buffer_paths": []}
        return self.comm_msg(comm_id, data, subshell_id=subshell_id)

    def show_button(self, arguments=""):
        """Makes a button called `b` and gives the id of its comm."""
        return self.run(f"b = button({arguments}); print(b.model_id)").strip()

    def start(self, code, **options):
        """Sends a cell that prints `go` before it waits, and comes back when it has printed it."""
        cell = self.execute(code, **options)
        self.until_printed(cell, "go")
        return cell

    def create_subshell(self):
        request = self.send("create_subshell_request", {}, channel="control")
        return self.reply(request)["content"]["subshell_id"]

    def stdout(self, request):
        messages = self.iopub[request]
        return "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream")

    def states(self, request):
        return [m["content"]["execution_state"] for m in self.iopub[request] if m["msg_type"] == "status"]

    def until(self, is_so, seconds=20):
        """Reads what the kernel sends until `is_so()`."""
        end = time.monotonic() + seconds
        while not is_so():
            left = end - time.monotonic()
            assert left > 0, f"it did not come true within {seconds} s: {is_so}"
            self.read(left)

    def until_printed(self, request, text, seconds=20):
        """Reads until a cell has printed `text`: it is in the middle of its work then."""
        self.until(lambda: text in self.stdout(request), seconds)

    def read(self, seconds):
        """Reads what there is, or waits at most so long for something to come."""
        channels = [
            self.client.shell_channel,
            self.client.iopub_channel,
            self.client.stdin_channel,
            self.client.control_channel,
        ]
        poller = zmq.Poller()
        for channel in channels:
            poller.register(channel.socket, zmq.POLLIN)
        if poller.poll(seconds * 1000):
            for channel in channels:
                while channel.msg_ready():
                    self._file(channel, channel.get_msg(timeout=1))

    def _file(self, channel, message):
        parent = message["parent_header"].get("msg_id")
        if channel is self.client.iopub_channel:
            self.iopub[parent].append(message)
            self.all_iopub.append(message)
        elif channel is self.client.stdin_channel:
            self.input_requests.append(message)
        else:
            self.replies[parent] = message
            self.reply_order.append(parent)


@pytest.fixture(scope="module")
def shared_front_end(tmp_path_factory):
    front_end = FrontEnd(tmp_path_factory.mktemp("kernel"))
    yield front_end
    front_end.close()


@pytest.fixture
def front_end(shared_front_end):
    """A kernel shared by the tests of a module, with names of its own for each test."""
    before = shared_front_end.run("%reset -f\nfrom inside import *\nprint(how_the_kernel_listens())")
    yield shared_front_end
    assert shared_front_end.run("print(how_the_kernel_listens())") == before


@pytest.fixture
def own_front_end(tmp_path):
    """A kernel for a test that changes it for good."""
    front_end = FrontEnd(tmp_path)
    front_end.run("from inside import *")
    yield front_end
    front_end.close()


@pytest.fixture
def start_kernel(tmp_path):
    """Starts kernels for a test that kills them; what is left of them goes with the test."""
    front_ends = []

    def start():
        front_ends.append(FrontEnd(tmp_path))
        return front_ends[-1]

    yield start
    for front_end in front_ends:
        front_end.close()


@pytest.fixture(params=["main", "subshell"])
def route(request, front_end):
    """How the front end sends comm messages: the id of a subshell, or `None` for the main shell."""
    if request.param == "main":
        return None
    if not HAS_SUBSHELLS:
        pytest.skip("ipykernel 6 has no subshells")
    return front_end.create_subshell()


@pytest.fixture(params=HOW_TO_WAIT)
def waiting(request):
    """A cell that waits for the button `b`."""
    return HOW_TO_WAIT[request.param]

"""Clicks reach Python while a cell waits, and nothing else of the kernel's work changes."""

import time

import pytest
from kernel_lines import HOW_TO_WAIT, error_of, needs_subshells

pytestmark = pytest.mark.kernel

MAX_CLICK_SECONDS = 0.3

# Hearing


def test_click_is_heard_while_the_cell_waits(front_end, route, waiting):
    comm_id = front_end.show_button()
    cell = front_end.start(waiting)
    sent_at = time.time()
    front_end.click(comm_id, subshell_id=route)
    lines = front_end.end(cell).split("\n")
    assert lines[0] == "go"
    assert lines[2] == "end"
    word, heard_at, in_main_thread = lines[1].split()  # the print is in the output of the cell
    assert (word, in_main_thread) == ("clicked", "True")
    assert float(heard_at) - sent_at < MAX_CLICK_SECONDS


def test_click_that_came_before_the_wait_is_heard(front_end, route):
    comm_id = front_end.show_button()
    cell = front_end.start("print('go', flush=True); time.sleep(0.3); wait_for(b.latch)")
    front_end.click(comm_id, subshell_id=route)
    assert "clicked" in front_end.end(cell)


def test_typed_texts_all_arrive_in_order(front_end, route, waiting):
    front_end.show_button()
    text = front_end.run(
        "seen = []; t = ipywidgets.Text(); serve_widgets(ipywidgets.VBox([t])); print(t.model_id)\n"
        "t.observe(lambda c: (seen.append(c.new), c.new == 'hello' and b.latch.set()), 'value')"
    ).strip()
    cell = front_end.start(waiting + "; print(seen)")
    for value in ["h", "he", "hel", "hell", "hello"]:
        front_end.type_text(text, value, subshell_id=route)
    assert "['h', 'he', 'hel', 'hell', 'hello']" in front_end.end(cell)


def test_front_end_hears_idle_for_the_click_and_busy_for_the_cell(front_end, route, waiting):
    """A widget's next update is held back until the front end has seen `idle` for the last one."""
    comm_id = front_end.show_button()
    cell = front_end.start(waiting)
    click = front_end.click(comm_id, subshell_id=route)
    front_end.end(cell)
    said = [
        ("click" if m["parent_header"]["msg_id"] == click else "cell", m["content"]["execution_state"])
        for m in front_end.all_iopub
        if m["msg_type"] == "status" and m["parent_header"]["msg_id"] in {click, cell}
    ]
    assert said == [
        ("cell", "busy"),
        ("click", "busy"),
        ("click", "idle"),
        ("cell", "busy"),
        ("cell", "idle"),
    ]


def test_unserved_comm_waits_for_the_end_of_the_cell(front_end):
    comm_id = front_end.show_button()
    front_end.run("unserve(b.model_id)")
    cell = front_end.start("print('go'); wait_for(set_after(0.5)); print(b.latch.is_set())")
    click = front_end.click(comm_id)
    assert "False" in front_end.end(cell)
    front_end.until(lambda: "idle" in front_end.states(click))
    assert front_end.run("print(b.latch.is_set())") == "True\n"


def test_serving_a_box_serves_what_is_in_it_and_can_be_taken_back(front_end):
    front_end.run(
        "inner = ipywidgets.Button(); box = ipywidgets.HBox([ipywidgets.VBox([inner])])\n"
        "stop = serve_widgets(box); heard = Latch(); inner.on_click(lambda _: heard.set())"
    )
    comm_id = front_end.run("print(inner.model_id)").strip()
    cell = front_end.start("print('go'); wait_for(heard)")
    front_end.click(comm_id)
    front_end.end(cell)
    front_end.run("stop(); box.close(); heard = Latch()")
    cell = front_end.start("print('go'); wait_for(set_after(0.3)); print(heard.is_set())")
    front_end.click(comm_id)
    assert "False" in front_end.end(cell)


def test_error_in_a_callback_shows_in_the_cell_and_the_wait_goes_on(front_end):
    comm_id = front_end.show_button("lambda: 1 / 0")
    cell = front_end.start("print('go'); wait_for(set_after(0.5)); print('end')")
    front_end.click(comm_id)
    assert "end" in front_end.end(cell)
    assert [m["content"]["ename"] for m in front_end.iopub[cell] if m["msg_type"] == "error"] == [
        "ZeroDivisionError"
    ]


@pytest.mark.parametrize("magic", ["%%capture captured", "%%time", "%%keep"])
def test_click_is_heard_in_a_cell_magic(front_end, magic):
    front_end.run(
        "from IPython.core.magic import register_cell_magic\n"
        "@register_cell_magic\n"
        "def keep(line, cell):\n"
        "    get_ipython().run_cell(cell).raise_error()"
    )
    comm_id = front_end.show_button()
    cell = front_end.execute(f"{magic}\nwait_for(b.latch)\nprint('end')")
    front_end.until(lambda: "execute_input" in [m["msg_type"] for m in front_end.iopub[cell]])
    front_end.click(comm_id)
    printed = front_end.end(cell)
    if "capture" in magic:
        assert "clicked" not in printed
        printed = front_end.run("print(captured.stdout)")
    assert "clicked" in printed
    assert "end" in printed


# A page that is loaded again


@pytest.mark.parametrize("how", HOW_TO_WAIT)
def test_reloaded_page_gets_its_answers_while_the_cell_waits(front_end, route, how):
    comm_id = front_end.show_button()
    cell = front_end.start(HOW_TO_WAIT[how])
    info = front_end.send("kernel_info_request", {}, subshell_id=route)
    comms = front_end.send("comm_info_request", {"target_name": "jupyter.widget"}, subshell_id=route)
    control = {"comm_id": f"control-{how}-{route}", "target_name": "jupyter.widget.control", "data": {}}
    front_end.send("comm_open", control, subshell_id=route, metadata={"version": "1.0.0"})
    front_end.comm_msg(control["comm_id"], {"method": "request_states"}, subshell_id=route)

    def states():
        return [
            m["content"]["data"]["states"]
            for m in front_end.all_iopub
            if m["msg_type"] == "comm_msg" and m["content"]["comm_id"] == control["comm_id"]
        ]

    front_end.until(states)
    assert comm_id in states()[0]
    assert front_end.reply(info)["content"]["status"] == "ok"
    assert comm_id in front_end.reply(comms)["content"]["comms"]
    assert cell not in front_end.replies
    front_end.click(comm_id)
    front_end.end(cell)


def test_handler_that_stops_to_wait_is_finished_later(own_front_end):
    own_front_end.run(
        "kernel = get_ipython().kernel; handler = kernel.shell_handlers['comm_info_request']\n"
        "async def slow(*args):\n"
        "    await asyncio.sleep(0.01)\n"
        "    await handler(*args)\n"
        "kernel.shell_handlers['comm_info_request'] = slow"
    )
    cell = own_front_end.start("print('go'); wait_for(set_after(0.3)); print('end')")
    request = own_front_end.send("comm_info_request", {})
    assert own_front_end.reply(request)["content"]["status"] == "ok"
    assert "end" in own_front_end.end(cell)


# Order


@pytest.mark.parametrize("how", HOW_TO_WAIT)
def test_thousand_messages_and_hundred_cells_arrive_complete_and_in_order(front_end, how):
    front_end.show_button()
    front_end.run(
        "seen, order, theirs = [], [], ipywidgets.IntText(); t = ipywidgets.IntText(-1); serve_widgets(t)\n"
        "t.observe(lambda c: (seen.append(c.new), c.new == 899 and b.latch.set()), 'value')\n"
        "theirs.observe(lambda c: order.append(c.new), 'value')"
    )
    ours, foreign = front_end.run("print(t.model_id, theirs.model_id)").split()
    cell = front_end.start(HOW_TO_WAIT[how] + "; print(len(order))")
    cells = []
    for i in range(100):
        for j in range(9):
            front_end.type_text(ours, 9 * i + j)
        front_end.type_text(foreign, 1000 + i)
        cells.append(front_end.execute(f"order.append({i})"))
    front_end.end(cell)
    front_end.until(lambda: cells[-1] in front_end.replies)
    assert front_end.run("print(seen == list(range(900)))") == "True\n"
    assert [r for r in front_end.reply_order if r in cells] == cells
    assert front_end.run("print([i for i in order if i < 1000] == list(range(100)))") == "True\n"
    assert front_end.run("print([i for i in order if i >= 1000] == list(range(1000, 1100)))") == "True\n"
    if how == "blocking":
        assert front_end.stdout(cell).endswith("end\n0\n")


def test_widgets_of_others_keep_their_turn(front_end):
    front_end.show_button("lambda: order.append('ours')")
    front_end.run("order = []; theirs = button(lambda: order.append('theirs'), ours=False)")
    ours, theirs = front_end.run("print(b.model_id, theirs.model_id)").split()
    cell = front_end.start("print('go'); wait_for(b.latch); wait_for(set_after(0.3)); order.append('end')")
    click = front_end.click(theirs)
    after = front_end.execute("order.append('next')")
    front_end.click(ours)
    front_end.end(cell)
    front_end.end(after)
    assert front_end.run("print(order)") == "['ours', 'end', 'theirs', 'next']\n"
    assert "clicked" in front_end.stdout(click)


def test_cells_queued_behind_a_failed_cell_are_aborted_as_usual(front_end):
    cell = front_end.start("print('go'); wait_for(set_after(0.3)); 1 / 0", stop_on_error=True)
    queued = [front_end.execute("print('no')") for _ in range(3)]
    assert error_of(front_end, cell) == "ZeroDivisionError"
    assert [front_end.reply(q)["content"]["status"] for q in queued] == ["aborted"] * 3
    assert front_end.run("print('again')") == "again\n"


# Waits in waits


@pytest.mark.parametrize("how", HOW_TO_WAIT)
def test_callback_may_wait_itself(front_end, how):
    front_end.run("inner = button(); print(inner.model_id)")
    outer = front_end.show_button("lambda: (print('nested'), wait_for(inner.latch))")
    inner = front_end.run("print(inner.model_id)").strip()
    cell = front_end.start(HOW_TO_WAIT[how])
    front_end.click(outer)
    front_end.until_printed(cell, "nested")
    queued = front_end.execute("print('queued')")
    front_end.click(inner)
    assert front_end.end(cell).endswith("end\n")
    assert front_end.end(queued) == "queued\n"


def test_nested_waits_end_every_time(front_end):
    front_end.run("inner = button()")
    outer = front_end.show_button("lambda: (print('nested', i), wait_for(inner.latch))")
    inner = front_end.run("print(inner.model_id)").strip()
    cell = front_end.start(
        "print('go')\n"
        "for i in range(50):\n"
        "    b.latch, inner.latch = Latch(), Latch()\n"
        "    wait_for(b.latch)\n"
        "    print('ended', i)"
    )
    queued = []
    for i in range(50):
        front_end.click(outer)
        front_end.until_printed(cell, f"nested {i}\n")
        queued.append(front_end.execute("pass"))
        front_end.click(inner)
        front_end.until_printed(cell, f"ended {i}\n")
    front_end.end(cell)
    front_end.until(lambda: queued[-1] in front_end.replies)
    assert [r for r in front_end.reply_order if r in queued] == queued


def test_callback_may_block_on_the_wait_it_was_called_from(front_end):
    """The inner call takes the wake from the socket; the outer one must end all the same."""
    comm_id = front_end.show_button(
        "lambda: (threading.Timer(0.2, wait.wake).start(), block(20), print('woken'))"
    )
    cell = front_end.start(
        "wait = Wait(Latch())\n"
        "with pump.blocking(wait) as block:\n"
        "    print('go')\n"
        "    started_at = time.monotonic()\n"
        "    block(20)\n"
        "print('end', time.monotonic() - started_at < 10)"
    )
    front_end.click(comm_id)
    assert front_end.end(cell, seconds=60).endswith("woken\nend True\n")


def test_parallel_awaits_may_end_in_any_order(front_end):
    front_end.show_button()
    front_end.run("first = button(); b.latch = Latch()")
    comm_ids = front_end.run("print(first.model_id, b.model_id)").split()
    cell = front_end.start(
        "print('go'); await asyncio.gather(listen_for(first.latch), listen_for(b.latch)); print('end')"
    )
    for i, comm_id in enumerate(comm_ids):
        front_end.click(comm_id)
        front_end.until(lambda n=i + 1: front_end.stdout(cell).count("clicked") == n)
    assert front_end.end(cell).endswith("end\n")


def test_blocking_beside_an_await_gives_the_stream_back_awake(front_end):
    """A loop is told of each message once: what came while we polled by hand must not be left lying."""
    front_end.show_button()
    text = front_end.run(
        "t = ipywidgets.IntText(-1); serve_widgets(t); print(t.model_id)\n"
        "t.observe(lambda change: change.new == 49 and b.latch.set(), 'value')\n"
        "async def beside():\n"
        "    print('go', flush=True)\n"
        "    time.sleep(1)  # the messages below come meanwhile\n"
        "    wait = Wait(Latch())\n"
        "    with pump.blocking(wait) as block:\n"
        "        wait.wake()\n"
        "        block(0)\n"
    ).strip()
    cell = front_end.start("await asyncio.gather(listen_for(b.latch, tick=20), beside())")
    for i in range(50):
        front_end.type_text(text, i)
    front_end.end(cell, seconds=10)


# Threads and subshells


def test_worker_thread_is_told_that_the_pump_is_not_for_it(front_end):
    comm_id = front_end.show_button()
    cell = front_end.start(
        "told = []\n"
        "def work():\n"
        "    told.extend([pump.applies(), why_not()])\n"
        "    assert not set_after(0.2)._set\n"
        "worker = threading.Thread(target=work); worker.start()\n"
        "print('go'); wait_for(b.latch); worker.join(); print(told)"
    )
    front_end.click(comm_id)
    assert "[False, 'this thread runs no cell.']" in front_end.end(cell)


def test_wakes_from_many_threads_end_every_wait(front_end):
    printed = front_end.run(
        "started_at = time.monotonic()\n"
        "for _ in range(50):\n"
        "    latch = Latch(); wait = Wait(latch)\n"
        "    threads = [threading.Thread(target=lambda: (wait.wake(), latch.set(), wait.wake())) "
        "for _ in range(4)]\n"
        "    for thread in threads: thread.start()\n"
        "    wait_with(wait)\n"
        "    for thread in threads: thread.join()\n"
        "    wait.wake()\n"
        "print(time.monotonic() - started_at < 5)"
    )
    assert printed == "True\n"


@needs_subshells
@pytest.mark.parametrize("how", HOW_TO_WAIT)
def test_click_is_heard_by_a_cell_in_a_subshell(front_end, how):
    subshell = front_end.create_subshell()
    comm_id = front_end.run("s = button(); print(s.model_id)", subshell_id=subshell).strip()
    busy = front_end.start("print('go'); time.sleep(2)")
    cell = front_end.start(HOW_TO_WAIT[how].replace("b.latch", "s.latch"), subshell_id=subshell)
    sent_at = time.time()
    front_end.click(comm_id, subshell_id=subshell)
    _, clicked, end, _ = front_end.end(cell).split("\n")
    assert clicked.endswith("False")  # not in the main thread
    assert float(clicked.split()[1]) - sent_at < MAX_CLICK_SECONDS
    assert end == "end"
    assert busy not in front_end.replies
    front_end.end(busy)


@needs_subshells
def test_main_shell_and_subshell_wait_side_by_side(front_end):
    subshell = front_end.create_subshell()
    in_subshell = front_end.run("s = button(); print(s.model_id)", subshell_id=subshell).strip()
    in_main = front_end.show_button()
    cells = [
        front_end.start("print('go'); wait_for(b.latch); print('end')"),
        front_end.start("print('go'); wait_for(s.latch); print('end')", subshell_id=subshell),
    ]
    queued = [front_end.execute("print('next')"), front_end.execute("print('next')", subshell_id=subshell)]
    front_end.click(in_subshell, subshell_id=subshell)
    assert "clicked" in front_end.end(cells[1])
    assert cells[0] not in front_end.replies
    front_end.click(in_main)
    assert "clicked" in front_end.end(cells[0])
    assert [front_end.end(q) for q in queued] == ["next\n"] * 2


# Questions on stdin


def test_another_thread_may_ask_for_input(front_end):
    cell = front_end.start(
        "latch = Latch(); wait = Wait(latch)\n"
        "def ask():\n"
        "    print('hello', wait.submit(lambda: input('who? ')).result())\n"
        "    latch.set()\n"
        "threading.Timer(0.2, ask).start()\n"
        "print('go'); wait_with(wait); print('end')",
        allow_stdin=True,
    )
    front_end.until(lambda: front_end.input_requests)
    assert front_end.input_requests.pop()["content"]["prompt"] == "who? "
    front_end.client.input("Ada")
    front_end.end(cell)
    front_end.until_printed(cell, "hello Ada")


# What a cell leaves behind


def test_task_that_outlives_its_cell_does_not_make_the_kernel_look_busy(front_end):
    comm_id = front_end.show_button()
    front_end.run("left = asyncio.ensure_future(listen_for(b.latch))")
    click = front_end.click(comm_id)
    front_end.until(lambda: "idle" in front_end.states(click))
    states = [m["content"]["execution_state"] for m in front_end.all_iopub if m["msg_type"] == "status"]
    assert states[-1] == "idle"
    front_end.run("await left")


# Other loops


def test_clicks_are_heard_after_nest_asyncio(own_front_end):
    front_end = own_front_end
    front_end.run("import nest_asyncio2; nest_asyncio2.apply()")
    ways = [*HOW_TO_WAIT.values()]
    ways.append("print('go'); asyncio.get_event_loop().run_until_complete(listen_for(b.latch)); print('end')")
    for way in ways:
        comm_id = front_end.show_button()
        cell = front_end.start(way)
        queued = [front_end.execute(f"print({i})") for i in range(20)]
        sent_at = time.time()
        front_end.click(comm_id)
        _, clicked, end, _ = front_end.end(cell).split("\n")
        assert float(clicked.split()[1]) - sent_at < MAX_CLICK_SECONDS
        assert end == "end"
        assert [front_end.end(q) for q in queued] == [f"{i}\n" for i in range(20)]


# Saying why not


def test_kernel_says_that_it_hears(front_end):
    assert "True" in front_end.run("print(why_not() is None)")
    assert "clicks reach a running cell over" in front_end.run("print(kernel_line())")


def test_unknown_kernel_is_named_and_not_touched(own_front_end):
    printed = own_front_end.run(
        "kernel = get_ipython().kernel; manager, kernel.comm_manager = kernel.comm_manager, object()\n"
        "print(pump.applies(), why_not()); kernel.comm_manager = manager; print(pump.applies())"
    )
    first, second, _ = printed.split("\n")
    assert first.startswith("False ipykernel ")
    assert first.endswith("'object' object has no attribute 'comms'.")
    assert second == "True"

"""Rows that are done by an executor: threads, processes, a cluster; what is sent there and what comes back."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from helping import eventually
from mapping_helpers import Answering, echo, input_of, last_line, shouting, texts
from openai_server import OpenAIServer, Request, asks, fails
from pydantic import BaseModel

import aesop_nb
from aesop_nb import ModelRefused, OpenAIModel, TaskConfig, UsageError, task
from aesop_nb.store import default_store
from aesop_nb.testing import failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "sk-test-sentinel-0123456789"


def pid_of(nothing: str = "") -> str:
    """Gives the process."""
    return str(os.getpid())


def answer(request: Request) -> Any:
    text = input_of(request)
    if text == "text 3":
        return asks("mark_failed", {"reason": "three"})
    return asks("mark_successful", {"result": f"done {text}"})


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessPoolExecutor]:
    """Two that were spawned, with a store of their own that nobody must write to."""
    home = tmp_path_factory.mktemp("workers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AESOP_HOME", str(home))
        patch.setenv("OPENAI_API_KEY", KEY)
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
            assert pool.submit(os.getpid).result() != os.getpid()
            pool.home = home  # type: ignore[attr-defined]
            yield pool


# Threads -------------------------------------------------------------------------------------------------


def test_threads_do_rows_which_are_stored_here_and_not_asked_again(threads: ThreadPoolExecutor) -> None:
    model = Answering(lambda text: failure("no") if last_line(text) == "text 3" else echo(text))
    run = shouting(model).mapping(texts(20), executor=threads).start()
    out = run.wait()
    assert out["_status"].value_counts()[["completed", "failed"]].tolist() == [19, 1]
    assert out["shout"][19] == "text 19"
    assert out["_error"][3].endswith("no")
    assert (run.usage.requests, run.usage.input_tokens) == (20, 200)
    events = default_store().events(f"{run.id}.20")
    assert (events[0].parent_run_id, events[-1].type) == (run.id, "run_completed")
    assert shouting(model).map(texts(20)).attrs["aesop"]["reused"] == 19
    assert len(model.asked) == 21


def test_no_more_rows_than_allowed_are_under_way_in_threads(threads: ThreadPoolExecutor) -> None:
    model = Answering(echo, delay_seconds=0.002)
    config = TaskConfig(concurrent_requests=3)
    shouting(model, config=config).map(texts(30), executor=threads, concurrency=10)
    assert model.most_at_once <= 3


def test_cancelling_stops_the_rows_of_threads_and_keeps_what_is_done(threads: ThreadPoolExecutor) -> None:
    model = Answering(echo, delay_seconds=lambda text: 0 if last_line(text) == "text 0" else 60)
    run = shouting(model).mapping(texts(50), executor=threads, concurrency=2).start()
    assert model.wait_for_requests(2)
    assert eventually(lambda: run.map_log.completed == 1, within_seconds=5)
    run.cancel()
    run.wait_for_end(5)
    assert run.status == "cancelled"
    assert run.frame["_status"].value_counts()["completed"] == 1
    assert threads.submit(lambda: 1).result(5) == 1


def test_what_meets_every_row_stops_the_map_of_threads(
    threads: ThreadPoolExecutor, openai_server: Callable[[Any], OpenAIServer]
) -> None:
    server = openai_server(fails(401, "bad key"))
    with pytest.raises(ModelRefused, match="API key"):
        shouting(OpenAIModel("m", base_url=server.url)).map(texts(200), executor=threads, concurrency=8)
    assert server.sends <= 16


def test_an_executor_that_is_closed_stops_the_map(threads: ThreadPoolExecutor) -> None:
    threads.shutdown()
    with pytest.raises(UsageError, match=r"executor cannot do the rows.*shutdown"):
        shouting(Answering(echo)).map(texts(20), executor=threads)


def test_what_is_no_executor_is_refused() -> None:
    with pytest.raises(UsageError, match=r"executor=4 must be an executor"):
        shouting(Answering(echo)).map(texts(2), executor=4)


class Others(Executor):
    """Four processes, by what it says; keeps what it is given, and does it in threads or fails."""

    _max_workers = 4

    def __init__(self, error: Exception | None = None) -> None:
        self.chunks: list[Any] = []
        self._error = error
        self._threads = ThreadPoolExecutor(2)

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.chunks += args
        if self._error is None:
            return self._threads.submit(function, *args)
        failed: Future[Any] = Future()
        failed.set_exception(self._error)
        return failed

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._threads.shutdown(wait)


def test_each_process_gets_its_share_of_the_rate() -> None:
    config = TaskConfig(requests_per_second=400)
    with Others() as others:
        shouting(Answering(echo), config=config).map(texts(8), executor=others)
    assert {chunk.requests_per_second for chunk in others.chunks} == {100}


def test_processes_that_are_dead_stop_the_map_and_a_row_that_kills_workers_does_not() -> None:
    with (
        Others(BrokenExecutor("a process died")) as others,
        pytest.raises(UsageError, match="a process died"),
    ):
        shouting(Answering(echo)).map(texts(40), executor=others, concurrency=2)
    assert sum(len(chunk.rows) for chunk in others.chunks) <= 2
    with Others(type("KilledWorker", (Exception,), {})("three times")) as others:
        out = shouting(Answering(echo)).map(texts(4), executor=others)
    assert out["_error"].str.contains("workers that were given this row died").all()


# Processes -----------------------------------------------------------------------------------------------


def test_processes_do_rows_and_store_nothing(
    processes: Any, openai_server: Callable[[Any], OpenAIServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = openai_server(answer)
    shout = shouting(OpenAIModel("gpt-test", base_url=server.url))
    out = shout.map(texts(30), executor=processes)
    assert out["_status"].value_counts()[["completed", "failed"]].tolist() == [29, 1]
    assert out["shout"][29] == "done text 29"
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}
    assert shout.map(texts(30)).attrs["aesop"]["reused"] == 29
    assert list(processes.home.iterdir()) == []


def test_cancelling_reaches_processes(processes: Any, openai_server: Callable[[Any], OpenAIServer]) -> None:
    server = openai_server(lambda request: asks("mark_successful", {"result": "x"}, delay_seconds=60))
    run = (
        shouting(OpenAIModel("gpt-test", base_url=server.url)).mapping(texts(50), executor=processes).start()
    )
    assert server.wait_for_sends(4, 10)
    run.cancel()
    run.wait_for_end(5)
    assert server.wait_for_connections(0, 5)
    assert processes.submit(os.getpid).result(5)


class Local(BaseModel):
    word: str


def reading(text: str) -> Local:
    """Reads."""
    raise NotImplementedError


def test_what_is_defined_in_the_notebook_is_refused_for_processes(
    processes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Local, "__module__", "__main__")

    @task(model=OpenAIModel("m", base_url="http://127.0.0.1:9/v1"))
    def read(text: str) -> list[Local]:
        """Reads."""
        raise NotImplementedError

    with pytest.raises(UsageError, match=r"Local is defined in __main__.*dask or loky"):
        read.map(texts(2), executor=processes)


def test_a_task_that_cannot_be_sent_is_an_error_that_stops_the_map(processes: Any) -> None:
    model = OpenAIModel("m", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(UsageError, match="executor cannot do the rows"):
        shouting(model, result_validator=lambda text: text).map(texts(2), executor=processes)


# Keys ----------------------------------------------------------------------------------------------------


def test_a_key_of_a_model_is_not_sent(processes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shout = shouting(OpenAIModel("m", base_url="http://127.0.0.1:9/v1", api_key=KEY))
    with pytest.raises(UsageError, match=r"api_key=.*OPENAI_API_KEY"):
        shout.map(texts(2), executor=processes)
    sent: list[bytes] = []
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    class Watching(ThreadPoolExecutor):
        def submit(self, function: Any, /, *args: Any) -> Any:  # type: ignore[override]
            sent.append(pickle.dumps((function, args)))
            return super().submit(function, *args)

    config = TaskConfig(max_retries=0)
    with Watching(1) as pool:
        shouting(OpenAIModel("m", base_url="http://127.0.0.1:9/v1"), tools=[pid_of], config=config).map(
            texts(2), executor=pool
        )
    assert sent
    assert b"text 1" in b"".join(sent)
    assert b"".join(sent).count(KEY.encode()) == 0


# A cluster -----------------------------------------------------------------------------------------------


@pytest.mark.nightly  # a cluster takes seconds to start, and so does noticing that a worker is dead
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_does_the_rows_of_a_worker_that_is_killed_elsewhere(
    openai_server: Callable[[Any], OpenAIServer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    first = threading.Event()

    def answer(request: Request) -> Any:
        first.set()
        return asks("mark_successful", {"result": f"done {input_of(request)}"}, delay_seconds=0.1)

    server = openai_server(answer)
    local = openai_server(lambda request: asks("mark_successful", {"result": {"word": "a"}}))
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path)
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        monkeypatch.setattr(Local, "__module__", "__main__")
        known = task(model=OpenAIModel("gpt-test", base_url=local.url), name="read")(reading)
        assert known.map(["a"], executor=client)["word"].tolist() == ["a"]
        pids = list(client.run(os.getpid).values())
        run = (
            shouting(OpenAIModel("gpt-test", base_url=server.url))
            .mapping(texts(100), executor=client, concurrency=8)
            .start()
        )
        assert eventually(lambda: run.map_log.completed >= 8, within_seconds=30)
        os.kill(pids[0], signal.SIGKILL)
        out = run.wait(60)
        assert out["shout"].tolist() == [f"done text {number}" for number in range(100)]
        assert server.sends <= 100 + 8

        slow = (
            shouting(OpenAIModel("gpt-test", base_url=server.url), instructions="Slowly")
            .mapping(texts(1000), executor=client, concurrency=8)
            .start()
        )
        assert eventually(lambda: slow.map_log.completed >= 8, within_seconds=30)
        slow.cancel()
        slow.wait_for_end(10)
        sends = server.sends
        assert slow.status == "cancelled"
        assert server.wait_for_connections(0, 5)
        assert sends <= 108 + slow.map_log.completed + 32
    assert aesop_nb.runs()["status"].tolist()[-1] == "cancelled"

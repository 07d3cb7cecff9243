"""How many pages, how fast, for whom: limits that hold under parallel calls and for tasks inside tasks."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from helping import offered, said_by
from web_runs import FakeWeb, fetches, local, read, run_with
from web_server import Reply, WebSite, packed, page, redirect

import aesop_nb
from aesop_nb import Agent, Task, TaskConfig
from aesop_nb.testing import ScriptedModel, call
from aesop_nb.web import fetch_page, search, search_with, searxng

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def site() -> Iterator[WebSite]:
    with WebSite(
        lambda request: page("Welcome") if request.path != "/robots.txt" else Reply(status=404)
    ) as running:
        yield running


# Pages -------------------------------------------------------------------------------------------------


def test_max_pages_is_exact_under_parallel_calls(site: WebSite) -> None:
    """D34: ten fetches in one turn of the model."""
    run = run_with(local(site, max_pages=3), fetches(*(site.url(f"/{number}") for number in range(10))))
    assert len(site.pages) == 3
    errors = [step.error for step in run.log.steps if step.state == "failed"]
    assert len(errors) == 7
    assert all("max_pages reached" in str(error) for error in errors)
    assert run.status == "completed"
    assert len(run.log.pages) == 3


def test_redirects_count_as_pages(site: WebSite) -> None:
    site.routes = {f"/{number}": redirect(f"/{number + 1}") for number in range(9)}
    run = run_with(local(site, max_pages=3), fetches(site.url("/0")))
    assert site.pages == ["/0", "/1", "/2"]
    assert "max_pages reached" in str(run.log.steps[0].error)


def test_a_page_that_was_not_asked_for_does_not_count(site: WebSite) -> None:
    """Refused, forbidden by robots.txt, without an address: nothing was fetched."""
    site.routes = {
        "/robots.txt": page("User-agent: *\nDisallow: /private", "text/plain"),
        "/": page("Welcome"),
    }
    wrong = [site.url("/private"), "http://127.0.0.1:1/", "ftp://x", "https://other.example/"]
    run = run_with(local(site, max_pages=1), fetches(*wrong), fetches(site.url()))
    assert [step.state for step in run.log.steps] == ["failed"] * 4 + ["done"]
    assert site.pages == ["/"]


def test_pages_are_counted_once_for_a_run_and_the_tasks_inside_it(site: WebSite) -> None:
    def part(number: int) -> str:
        model = ScriptedModel(fetches(site.url(f"/{number}a"), site.url(f"/{number}b")), "done")
        return Task("Part", model=model, config=local(site)).run()

    run = run_with(
        local(site, max_pages=5),
        fetches(site.url("/0")),
        [call("part", number=1), call("part", number=2), call("part", number=3)],
        fetches(site.url("/9")),
        tools=[part],
    )
    assert len(site.pages) == 5
    assert run.log.steps[-1].error is not None
    assert "max_pages reached" in run.log.steps[-1].error


def test_a_task_inside_another_has_its_own_smaller_limit_too(site: WebSite) -> None:
    def part() -> str:
        model = ScriptedModel(fetches(*(site.url(f"/{number}") for number in range(4))), "done")
        return Task("Part", model=model, config=local(site, max_pages=2)).run()

    run_with(local(site, max_pages=5), [call("part"), call("part")], tools=[part])
    assert len(site.pages) == 4


def test_domains_of_the_runs_around_hold_inside_them(site: WebSite) -> None:
    def part() -> str:
        return read(site.url(), local(site))

    run = run_with(TaskConfig(allowed_domains=[]), call("part"), tools=[part])
    assert "allowed_domains=[]" in str(run.log.steps[0].output)
    run = run_with(TaskConfig(blocked_domains=["127.0.0.1"]), call("part"), tools=[part])
    assert "blocked_domains" in str(run.log.steps[0].output)
    assert site.connections == 0


def test_a_new_run_has_all_its_pages_again(site: WebSite) -> None:
    turns = [call("fetch_page", url=site.url()), "done"]
    task = Task("Read", model=ScriptedModel(*turns, *turns), config=local(site, max_pages=1))
    task.run()
    task.run()
    assert len(site.pages) == 2


def test_a_page_that_is_read_on_in_is_not_fetched_again(site: WebSite) -> None:
    site.routes = {"/": page("<p>" + " ".join(map(str, range(20_000))))}
    run = run_with(
        local(site, max_pages=1),
        call("fetch_page", url=site.url()),
        call("fetch_page", url=site.url(), start=23_000),
    )
    first, second = [str(step.output) for step in run.log.steps]
    assert "reads on" in first
    assert "4999" in second
    assert site.pages == ["/"]


# Speed -------------------------------------------------------------------------------------------------


def test_a_host_gets_no_more_requests_at_once_than_allowed(site: WebSite) -> None:
    under_way, most, lock = 0, 0, threading.Lock()

    def slow(request: Any) -> Reply:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        site.stopped.wait(0.03)
        with lock:
            under_way -= 1
        return page("Welcome")

    site.routes = slow
    urls = [site.url(f"/{number}") for number in range(12)]
    for limits, allowed in (({"concurrent_requests": 2}, 2), ({}, 4)):
        most = 0
        run_with(local(site, **limits), fetches(*urls))
        assert most == allowed


def test_a_host_is_asked_no_faster_than_allowed(site: WebSite) -> None:
    begun = time.monotonic()
    run_with(local(site, requests_per_second=20), fetches(*(site.url(f"/{number}") for number in range(5))))
    assert time.monotonic() - begun >= 5 / 20  # robots.txt and five pages


# Who is offered what -----------------------------------------------------------------------------------


def tools_of(**options: Any) -> list[str]:
    model = ScriptedModel("done")
    Task("Read", model=model, **options).run()
    return [name for name in offered(model.requests[0]) if not name.startswith("mark_")]


def test_tasks_with_allowed_domains_get_the_tools() -> None:
    assert tools_of() == []
    assert tools_of(config=TaskConfig(max_pages=3)) == []
    assert tools_of(config=TaskConfig(allowed_domains=[])) == []
    assert tools_of(config=TaskConfig(allowed_domains=["example.org"])) == ["fetch_page"]
    assert tools_of(config=TaskConfig(allowed_domains=["wikipedia.org"])) == ["fetch_page", "search"]
    assert tools_of(config=TaskConfig(allowed_domains=["arxiv.org"])) == ["fetch_page", "search"]
    assert tools_of(config=TaskConfig(allowed_domains=["de.wikipedia.org"])) == ["fetch_page"]
    assert tools_of(config=TaskConfig(allowed_domains=["arxiv.org"], max_pages=0)) == []


def test_tools_of_the_persons_own_keep_their_names() -> None:
    def search(query: str) -> str:
        """Mine."""
        return query

    limits = TaskConfig(allowed_domains=["wikipedia.org"])
    assert tools_of(config=limits, tools=[search]) == ["search", "fetch_page"]
    assert tools_of(config=limits, agents=[Agent(name="Finder", tools=[search])]) == ["fetch_page", "search"]


def test_the_tools_may_be_named() -> None:
    elsewhere = search_with(searxng("http://localhost:8888"), name="look_up")
    assert tools_of(tools=[fetch_page, search, elsewhere]) == ["fetch_page", "search", "look_up"]
    assert tools_of(tools=[fetch_page], config=TaskConfig(allowed_domains=["example.org"])) == ["fetch_page"]


def test_a_rehearsal_reads_nothing_but_ones_own_hosts(site: WebSite, monkeypatch: pytest.MonkeyPatch) -> None:
    web = FakeWeb(monkeypatch, site)
    public = TaskConfig(allowed_domains=["wikipedia.org"])
    task = Task("Read", context={"url": "https://wikipedia.org/"}, model="rehearsal", config=public)
    run = task.start()
    run.wait_for_end(10)
    assert (web.looked_up, site.connections) == ([], 0)
    own = Task("Read", context={"url": site.url()}, model="rehearsal", config=local(site)).start()
    own.wait_for_end(10)
    assert [step.state for step in own.log.steps] == ["done"]
    assert site.pages == ["/"]


def test_a_result_can_be_reused_and_its_limits_are_part_of_the_key(site: WebSite) -> None:
    def made(**limits: Any) -> Task[str]:
        model = ScriptedModel(call("fetch_page", url=site.url()), "done")
        return Task("Read", model=model, config=local(site, **limits), reuse=True)

    made().run()
    assert made().start().wait(5) == "done"
    assert len(site.pages) == 1
    made(max_pages=7).run()
    assert len(site.pages) == 2


# Sources -----------------------------------------------------------------------------------------------


def test_the_sources_of_a_result_are_kept(site: WebSite) -> None:
    site.routes = {"/": page("<title>Home &amp; away</title>x"), "/old": redirect("/")}
    run = run_with(local(site), fetches(site.url("/old")), fetches(site.url("/gone")))
    frame = run.pages_df()
    assert list(frame["url"]) == [site.url(path) for path in ("/old", "/", "/gone")]
    assert list(frame["status"]) == [302, 200, 404]
    assert list(frame["title"].fillna("-")) == ["-", "Home & away", "-"]
    assert list(frame["error"].notna()) == [False, False, True]
    assert (frame["seconds"] > 0).all()
    assert frame["bytes"][1] == len("<title>Home &amp; away</title>x")


def test_the_frame_of_pages_is_typed_when_it_is_empty() -> None:
    frame = Task("Read", model=ScriptedModel("done")).start().wait_for_end() or aesop_nb.last.pages_df()
    assert dict(frame.dtypes.astype(str)) == {
        "run_id": "str",
        "task": "str",
        "url": "str",
        "status": "Int64",
        "bytes": "Int64",
        "seconds": "float64",
        "title": "str",
        "error": "str",
        "at": "datetime64[us, UTC]",
    }
    assert len(frame) == 0


def test_sources_are_read_back_from_the_store(site: WebSite) -> None:
    run = run_with(local(site), fetches(site.url()))
    run.store.flush()
    assert list(aesop_nb.run(run.id).pages_df()["url"]) == [site.url()]


def test_outside_of_a_task_the_limits_are_those_of_a_default_one(
    site: WebSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    FakeWeb(monkeypatch, site)
    with pytest.raises(aesop_nb.AesopError, match="require_https"):
        asyncio.run(fetch_page("http://example.org/"))


def test_a_tool_may_read_pages_itself(site: WebSite) -> None:
    import asyncio

    def summarise(url: str) -> int:
        return len(asyncio.run(fetch_page(url)))

    run = run_with(
        local(site, max_pages=1),
        call("summarise", url=site.url()),
        fetches(site.url("/2")),
        tools=[summarise],
    )
    assert [step.state for step in run.log.steps] == ["done", "failed"]
    assert len(site.pages) == 1


# Memory ------------------------------------------------------------------------------------------------


def test_a_bomb_costs_no_memory() -> None:
    """D35: 291,608 bytes that become 300,000,000; in a process of its own, whose memory is its own."""
    code = """
import json, resource, sys, zlib
sys.path.insert(0, "tests")
from web_runs import local, read
from web_server import Reply, WebSite, page
packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
block = packer.compress(bytes(1_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
bomb = b"\\x1f\\x8b\\x08\\0\\0\\0\\0\\0\\0\\xff" + block * 300 + packer.flush()
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
headers = {"Content-Type": "text/html", "Content-Encoding": "gzip"}
with WebSite({"/": page("x" * 100), "/bomb": Reply(headers=headers, body=bomb)}) as site:
    read(site.url("/"), local(site))
    before = peak()
    told = read(site.url("/bomb"), local(site))
print(json.dumps([len(bomb), peak() - before, told]))
"""
    size, grown, told = said_by(code, environment={"AESOP_STORE": "off"})
    assert size < 310_000
    assert grown <= 32 * 2**20
    assert "larger than 5 MiB" in told


def test_a_packed_page_is_unpacked(site: WebSite) -> None:
    site.routes = {"/": packed("<p>unpacked")}
    assert "unpacked" in read(site.url(), local(site))

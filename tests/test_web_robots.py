"""What a site's robots.txt asks of programs is done."""

from __future__ import annotations

import sys

import pytest
from web_runs import fetches, local, read, run_with
from web_server import Reply, WebSite, page, redirect

from aesop_nb.testing import call

RULES = """
User-agent: other
Disallow: /

User-agent: *
Disallow: /private
Allow: /private/but-this
Disallow: /*.zip$
"""


def told(path: str, robots: Reply, **limits: object) -> str:
    with WebSite({"/robots.txt": robots, path: page("Welcome"), "/private": page("secret")}) as site:
        return read(site.url(path), local(site, **limits))


@pytest.mark.parametrize(
    ("path", "may"),
    [
        ("/", True),
        ("/private", False),
        ("/private/x", False),
        ("/private/but-this", True),
        ("/x.zip", False),
        ("/x.zip?y", True),
    ],
)
def test_the_rules_for_everybody_hold(path: str, may: bool) -> None:
    assert ("Welcome" in told(path, page(RULES, "text/plain"))) is may


@pytest.mark.parametrize("path", ["/x/../private", "/%70rivate", "/./private", "/x/%2e%2e/private"])
def test_another_spelling_of_a_forbidden_page_is_forbidden(path: str) -> None:
    assert "robots.txt" in told(path, page(RULES, "text/plain"))


def test_the_rules_for_a_named_program_hold_for_it_alone() -> None:
    assert "robots.txt" in told("/", page(RULES, "text/plain"), user_agent="other/1.0")
    assert "Welcome" in told("/", page(RULES, "text/plain"), user_agent="another/1.0")


@pytest.mark.parametrize(
    ("status", "may"), [(404, True), (403, True), (410, True), (500, False), (503, False), (429, False)]
)
def test_a_missing_file_forbids_nothing_and_a_broken_one_everything(status: int, may: bool) -> None:
    assert ("Welcome" in told("/", Reply(status=status))) is may


def test_the_file_may_be_elsewhere_on_the_allowed_hosts_only() -> None:
    with WebSite(
        {
            "/robots.txt": redirect("/r"),
            "/r": page("User-agent: *\nDisallow: /", "text/plain"),
            "/": page("Welcome"),
        }
    ) as site:
        assert "forbids" in read(site.url(), local(site))
    assert "cannot be read" in told("/", redirect("http://evil.example/robots.txt"))
    assert "Welcome" in told("/", redirect("/robots.txt"))


def test_it_is_read_once_for_a_run_and_before_any_page() -> None:
    with WebSite(
        lambda request: page("x") if request.path != "/robots.txt" else page(RULES, "text/plain")
    ) as site:
        run_with(
            local(site), fetches(*(site.url(f"/{number}") for number in range(6))), fetches(site.url("/7"))
        )
        assert site.paths[0] == "/robots.txt"
        assert site.paths.count("/robots.txt") == 1
        assert len(site.pages) == 7


def test_it_counts_for_no_limit_of_pages() -> None:
    with WebSite({"/robots.txt": page(RULES, "text/plain"), "/": page("Welcome")}) as site:
        run = run_with(local(site, max_pages=1), call("fetch_page", url=site.url()))
        assert run.log.steps[0].state == "done"
        assert [event.url for event in run.log.pages] == [site.url()]


def test_without_the_library_only_sites_that_forbid_nothing_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "protego", None)
    assert "Welcome" in told("/", Reply(status=404))
    assert "Welcome" in told("/", page("User-agent: *\nDisallow:\nDisallow:  # nothing\n", "text/plain"))
    assert "Welcome" in told("/", page("", "text/plain"))
    for rules in (
        RULES,
        "user-agent:*\r\ndisallow:/x",
        "User-agent: *\n  Dissallow : /x",
        "\ufeffDisallow: /",
    ):
        assert "aesop_nb[web]" in told("/", page(rules, "text/plain")), rules


def test_a_hostile_file_takes_no_time() -> None:
    for rules in (
        "Disallow: /" + "*a" * 200_000,
        "Disallow: /a\n" * 40_000,
        "User-agent: " * 40_000 + "\nDisallow: /b",
    ):
        assert (
            "Welcome" in told("/" + "a" * 2_000 + "b", page("User-agent: *\n" + rules, "text/plain"))
            or rules[11:13] == "a\n"
        )

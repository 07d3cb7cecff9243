"""Which URLs, hosts and addresses are taken, and that no two readings of one are."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from web_runs import rows

from aesop_nb import TaskConfig, UsageError
from aesop_nb.domains import Host, read_host, read_site
from aesop_nb.web import WebRefused, addresses
from aesop_nb.web.access import Access
from aesop_nb.web.urls import follow, read_url


def covers(entry: str, url: str, **limits: object) -> bool:
    """Whether a task with this one entry may read `url`."""
    try:
        Access.of(TaskConfig(allowed_domains=[entry], require_https=False, **limits)).check(read_url(url))
    except WebRefused:
        return False
    return True


# Domains -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("wikipedia.org", "https://wikipedia.org"),
        ("wikipedia.org", "https://en.wikipedia.org/wiki/Bread"),
        ("wikipedia.org", "http://wikipedia.org:80/"),
        ("wikipedia.org", "https://WIKIPEDIA.org./x"),
        ("Wikipedia.ORG.", "https://wikipedia.org"),
        ("bücher.example", "https://xn--bcher-kva.example/"),
        ("xn--bcher-kva.example", "https://BÜCHER.example/"),
        ("example.org:8080", "http://example.org:8080/"),
    ],
)
def test_a_domain_includes_itself_and_its_sub_domains(entry: str, url: str) -> None:
    assert covers(entry, url)


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("wikipedia.org", "https://evilwikipedia.org"),
        ("wikipedia.org", "https://wikipedia.org.evil.example"),
        ("wikipedia.org", "https://wikipedia.org@evil.example"),
        ("wikipedia.org", "https://org"),
        ("wikipedia.org", "https://wikipedia.org:8443/"),
        ("wikipedia.org", "https://wikipedia.org:22/"),
        ("example.org:8080", "http://example.org/"),
        ("example.org:8080", "http://example.org:8081/"),
        ("example.org", "http://8.8.8.8/"),
        ("example.org", "http://[2606:4700:4700::1111]/"),
    ],
)
def test_nothing_else_is_included(entry: str, url: str) -> None:
    assert not covers(entry, url)


@pytest.mark.parametrize(
    "entry",
    [
        "",
        " ",
        "https://example.org",
        "example.org/",
        "*.example.org",
        ".example.org",
        "a b.org",
        "a..org",
        "example.org:0",
        "example.org:99999",
        "user@example.org",
        "exa%6dple.org",
        "-a.org",
        "x" * 300,
        "[::1",
    ],
)
def test_an_entry_that_names_no_host_is_refused_when_the_task_is_made(entry: str) -> None:
    with pytest.raises(UsageError, match="allowed_domains"):
        TaskConfig(allowed_domains=[entry])


def test_an_address_is_allowed_only_as_a_private_host_with_its_port() -> None:
    with pytest.raises(UsageError, match="IP address"):
        TaskConfig(allowed_domains=["127.0.0.1:8000"])
    with pytest.raises(UsageError, match="with their ports"):
        TaskConfig(allowed_domains=["127.0.0.1"], allow_private_hosts=True)
    assert covers("127.0.0.1:8000", "http://127.0.0.1:8000/", allow_private_hosts=True)
    assert covers("[::1]:8000", "http://[0:0::1]:8000/", allow_private_hosts=True)
    assert not covers("127.0.0.1:8000", "http://127.0.0.1:8001/", allow_private_hosts=True)
    assert not covers("127.0.0.1:8000", "http://127.1:8000/", allow_private_hosts=True)
    assert not covers("localhost:8000", "http://127.0.0.1:8000/", allow_private_hosts=True)


def test_blocked_domains_win_over_allowed_ones_at_every_port() -> None:
    limits = {"blocked_domains": ["ads.example.org"]}
    assert covers("example.org", "https://www.example.org", **limits)
    assert not covers("example.org", "https://ads.example.org", **limits)
    assert not covers("example.org", "https://x.ads.example.org.", **limits)


def test_a_user_agent_that_would_break_the_header_is_refused() -> None:
    for agent in ("a\r\nCookie: x", "", " a", "ä", "x" * 500):
        with pytest.raises(UsageError, match="user_agent"):
            TaskConfig(user_agent=agent)


# Addresses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", rows("ssrf_ips") + rows("ssrf_ips_extra"), ids=lambda row: row["ip"])
def test_only_public_addresses_are_public(row: dict[str, str]) -> None:
    assert addresses.is_public(row["ip"]) is (row["expect"] == "allow")
    if row.get("klass") == "metadata":
        assert addresses.is_metadata(row["ip"])


@given(st.ip_addresses(v=4))
def test_an_address_in_another_is_no_more_public_than_by_itself(inside: object) -> None:
    for written in (f"::ffff:{inside}", f"64:ff9b::{inside}"):
        assert addresses.is_public(written) is addresses.is_public(str(inside))
    assert not addresses.is_public(f"::{inside}")
    assert not addresses.is_public(f"64:ff9b:1::{inside}")


# Spellings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org",
        "gopher://example.org",
        "data:text/html,x",
        "javascript:alert(1)",
        "",
        "example.org",
        "//example.org",
        "/x",
        "http:example.org",
        "http:/example.org",
        "http:///example.org",
        "http://",
        "http://:80/",
        "http://example.org:/x y",
        "http://example.org:99999/",
        "http://example.org:8a/",
        "http://a@example.org",
        "http://a:b@example.org",
        "http://@example.org",
        "http://example.org\\@b.example/",
        "http://exam\tple.org",
        "http://example.org\n",
        "http://example%2eorg",
        "http://[::1%lo]/",
        "http://[::1",
        "http://0x7f.1/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://１２７.0.0.1/",
        "http://exa\u00admple.org\u200b/",
        "http://a..b/",
        "http://-a.example/",
        "http://xn--a.example/",
        "http://example.org/" + "x" * 9_000,
        "http://exam\ud800ple.org/",
    ],
)
def test_a_url_that_parsers_read_in_several_ways_is_refused(url: str) -> None:
    with pytest.raises(WebRefused):
        read_url(url)


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("https://example.org", "https://example.org/"),
        ("HTTPS://EXAMPLE.org:443/a?b#c", "https://example.org/a?b"),
        ("http://example.org:8080", "http://example.org:8080/"),
        ("https://example.org?x=1", "https://example.org/?x=1"),
        ("https://example.org/a/./b/../c/%2e%2e/d", "https://example.org/a/d"),
        ("https://example.org/%70rivate/%e4%3a", "https://example.org/private/%E4%3A"),
        ("https://de.example.org/wiki/Köln", "https://de.example.org/wiki/K%C3%B6ln"),
        ("https://example.org/a'b\"<c>", "https://example.org/a'b%22%3Cc%3E"),
        ("http://[2606:4700:0::1111]:80/", "http://[2606:4700::1111]/"),
        ("https://日本語.example/", "https://xn--wgv71a119e.example/"),
    ],
)
def test_a_url_is_taken_in_one_form(url: str, whole: str) -> None:
    assert read_url(url).url == whole
    assert read_url(whole).url == whole


@pytest.mark.parametrize(
    ("location", "whole"),
    [
        ("/b", "https://example.org/b"),
        ("c?d", "https://example.org/a/c?d"),
        ("../c", "https://example.org/c"),
        ("?q", "https://example.org/a/b?q"),
        ("", "https://example.org/a/b?x"),
        ("//b.example/c", "https://b.example/c"),
        ("http://b.example", "http://b.example/"),
    ],
)
def test_a_redirect_is_followed_as_browsers_do(location: str, whole: str) -> None:
    assert follow(read_url("https://example.org/a/b?x"), location).url == whole


@pytest.mark.parametrize("row", rows("redirect_auth_matrix"), ids=lambda row: row["location"])
def test_where_a_redirect_leads_is_what_the_matrix_says(row: dict[str, str]) -> None:
    """No credentials are ever carried; what the matrix tells apart is whether the origin stays the same."""
    start = read_url(row["start"])
    assert (follow(start, row["location"]).origin == start.origin) is row["auth_kept"]


def test_the_host_is_never_another_than_browsers_say() -> None:
    """Refusing is always right; reading another host, or reading what is none, never is."""
    taken = 0
    for row in rows("whatwg_urls"):
        base, text = row["base"], row["input"]
        try:
            target = read_url(text) if base is None else follow(read_url(base), text)
        except WebRefused:
            continue
        taken += 1
        seen = (False, f"{target.scheme}:", str(target.host), "")
        said = (row["failure"], row["protocol"], row["hostname"].rstrip("."), row["username"])
        assert seen == said, row
    assert taken > 50


def test_no_spelling_reaches_another_host_than_the_allowed_one() -> None:
    access = Access.of(TaskConfig(allowed_domains=["allowed.example"], require_https=False))
    base = read_url("https://allowed.example/a/b")
    taken = 0
    for row in rows("url_verdicts"):
        for reading in (read_url, lambda url: follow(base, url)):
            try:
                target = reading(row["url"])
                access.check(target)
            except WebRefused:
                continue
            taken += 1
            assert target.host == Host("allowed.example"), row
            assert row["expect"] == "allow", row
    assert taken > 20


@pytest.mark.parametrize("name", ["ssrf_patt_lines", "ssrf_cloud_lines", "open_redirect_patt"])
def test_no_payload_is_allowed_to_a_task_for_another_domain(name: str) -> None:
    access = Access.of(TaskConfig(allowed_domains=["wikipedia.org"], require_https=False))
    for row in rows(name):
        line = row["payload"]
        for url in (line, line.strip(), line.strip().partition(" ")[0]):
            with pytest.raises(WebRefused):
                access.check(read_url(url))


def test_punycode_is_read_and_written_by_one_rule() -> None:
    """A name in either spelling is the same host, or none; it is never two."""
    same = 0
    for row in rows("punycode"):
        decoded, encoded = row["decoded"], f"xn--{row['encoded']}"
        try:
            first = read_host(f"{decoded}.example")
        except ValueError:
            continue
        try:
            assert read_host(f"{encoded}.example") == first or decoded.isascii()
        except ValueError:
            assert decoded != decoded.lower() or decoded.isascii()
        same += 1
    assert same >= 5


_HOSTS = st.sampled_from(
    ["allowed.example", "www.allowed.example", "evil.example", "127.0.0.1", "[::1]", "0x7f.1"]
)
_SIGNS = [*"@\\/?#:.%[]&=;\t \n\r\0-_~ａ。．①ß", "%2f", "%5c", "xn--"]
_NOISE = st.lists(st.sampled_from(_SIGNS), max_size=4).map("".join)


@given(_NOISE, _HOSTS, _NOISE, _HOSTS, _NOISE)
@example("", "allowed.example", "\\@", "evil.example", "")
@example("", "allowed.example", "。", "evil.example", "/")
def test_no_mixture_of_hosts_and_signs_is_read_as_the_allowed_host_by_one_parser_only(
    first: str, host: str, middle: str, other: str, last: str
) -> None:
    from urllib.parse import urlsplit

    import httpx2

    url = f"https://{first}{host}{middle}{other}{last}"
    try:
        target = read_url(url)
    except WebRefused:
        return
    assert read_url(target.url) == target
    assert urlsplit(target.url).hostname == target.host.name
    assert httpx2.URL(target.url).raw_host == target.host.name.encode()
    assert target.path.startswith("/")
    assert target.url.isascii()


def test_entries_with_ports_are_read() -> None:
    assert read_site("[::1]:8000").port == 8000
    assert read_site("[::1]:8000").host == Host("::1", is_address=True)
    assert read_site("a.example:1").host.name == "a.example"


def test_a_host_that_another_parser_reads_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx2

    from aesop_nb.web import urls

    assert read_url("https://allowed.example/x").host.name == "allowed.example"
    for other in ("https://evil.example/x", "https://allowed.example:8443/x", "https://a@allowed.example/x"):
        monkeypatch.setattr(urls, "_library_reading", lambda _text, seen=other: httpx2.URL(seen))
        with pytest.raises(WebRefused, match="disagree"):
            read_url("https://allowed.example/x")

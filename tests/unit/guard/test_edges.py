"""Names that a server may be called by, and browsers that speak for another site."""

from __future__ import annotations

import itertools
import re
from functools import partial

import pytest

from modelyard.core.errors import CrossSite, InvalidRequest, WrongHost
from modelyard.guard.edges import LOOPBACK, PAGE_HEADERS, Hosts, check_origin, host_name

LOCAL = Hosts(LOOPBACK)
ILL_FORMED = [
    b"", b" ", b":", b":80", b"localhost:", b"localhost:port", b"localhost:80:80", b"localhost:65536",
    b"localhost:-1", b"localhost:+80", b"localhost:080000", b"localhost: 80", b" localhost", b"localhost ",
    b"localhost\t", b"local host", b"localhost,localhost", b"localhost, evil.example", b"evil.example@localhost",
    b"localhost@evil.example", b"user:password@localhost", b"http://localhost", b"//localhost", b"localhost/",
    b"localhost/evil", b"localhost?x", b"localhost#x", b"localhost\\evil", b"localhost\x00",
    b"localhost\x00.evil.example", b"localhost%00", b"%6cocalhost", b"localhost..", b"a..b", b".localhost",
    b"-localhost", b"localhost-", b"[::1", b"::1", b"::1]", b"[::1]x", b"[::1]:", b"[::1%25lo]", b"[::1%lo]", b"[]",
    b"[:]", b"[1]", b"[::g]", b"[127.0.0.1]", b"[[::1]]", b"*", b"*.localhost", "löcalhost".encode(), b"\xff",
    b"a" * 300, b"'localhost'", b'"localhost"', b"<script>", b"{host}", b"localhost;x",
]  # fmt: skip
FOREIGN = [
    b"evil.example", b"evil.example:8080", b"localhost.evil.example", b"localhost.evil.example:8080",
    b"evillocalhost", b"localhost.localdomain", b"sub.localhost", b"127.0.0.1.evil.example", b"127.0.0.2", b"127.1",
    b"2130706433", b"0x7f.0.0.1", b"0177.0.0.1", b"0.0.0.0", b"10.0.0.5", b"169.254.169.254", b"192.168.1.1:8080",
    b"[::]", b"[::2]", b"[::ffff:127.0.0.1]", b"[::ffff:7f00:1]", b"[fe80::1]", b"host.docker.internal", b"x", b"_",
    b"localhos", b"ocalhost",
]  # fmt: skip


@pytest.mark.row("NET-05")
@pytest.mark.parametrize("host", ILL_FORMED, ids=repr)
def test_what_is_no_name_is_refused_whatever_is_allowed(host: bytes) -> None:
    for hosts in (LOCAL, Hosts(), Hosts(["*.example.com"])):
        with pytest.raises(InvalidRequest):
            hosts.check(host)


@pytest.mark.row("NET-05")
@pytest.mark.parametrize("host", FOREIGN, ids=repr)
def test_names_of_others_are_refused(host: bytes) -> None:
    Hosts().check(host)
    with pytest.raises(WrongHost):
        LOCAL.check(host)


@pytest.mark.parametrize(
    "host",
    [b"localhost", b"LocalHost", b"localhost.", b"localhost:1", b"localhost:65535", b"127.0.0.1:8080", b"[::1]:8080",
     b"[0:0:0:0:0:0:0:1]", b"[0:0::1]", b"[::0001]"],
)  # fmt: skip
def test_this_machines_names_are_allowed_at_any_port(host: bytes) -> None:
    LOCAL.check(host)


def test_a_request_without_host_is_refused() -> None:
    for hosts in (LOCAL, Hosts()):
        with pytest.raises(InvalidRequest):
            hosts.check(None)


def test_a_pattern_is_what_lies_below_it() -> None:
    hosts = Hosts(["*.example.com", "api.example.net", "::2", "10.0.0.5"])
    for right in (b"a.example.com", b"a.b.EXAMPLE.com:443", b"api.example.net", b"[::2]", b"[0::2]:80", b"10.0.0.5:1"):
        hosts.check(right)
    for wrong in (b"example.com", b"evilexample.com", b"a.example.com.evil.org", b"x.api.example.net", b"10.0.0.50"):
        with pytest.raises(WrongHost):
            hosts.check(wrong)


@pytest.mark.parametrize(
    "name", ["", "a:80", "http://a", "*", "*.", "*.*", "a.*.b", "ä.example", "a b", "[::1]:80", "-"]
)
def test_a_list_of_names_has_names_in_it(name: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(repr(name))):
        Hosts([name])


@pytest.mark.parametrize(
    ("host", "own"),
    [(b"10.0.0.5:8080", "10.0.0.5"), (b"10.0.0.5", "::ffff:10.0.0.5"), (b"[fe80::1]", "fe80::1%eth0")],
)
def test_a_server_may_be_called_by_the_address_that_was_connected_to(host: bytes, own: str) -> None:
    hosts = Hosts(["api.example.com"])
    hosts.check(host, lambda: own)
    for another in ("10.0.0.6", "", "/run/socket", "fe80::2"):
        with pytest.raises(WrongHost):
            hosts.check(host, partial(str, another))


def test_one_spelling_for_each_name() -> None:
    assert host_name(b"API.Example.com.:443") == b"api.example.com"
    assert host_name(b"[2001:DB8:0:0::1]:443") == b"[2001:db8::1]"


SITES = (
    None,
    b"same-origin",
    b"none",
    b"same-site",
    b"cross-site",
    b"",
    b"Same-Origin",
    b"same-origin, cross-site",
    b"x",
)
HERE = b"http://localhost:8080"
ORIGINS = (
    None, HERE, b"HTTP://LOCALHOST:8080", b"https://localhost:8080", b"null", b"", b"http://localhost",
    b"http://evil.example", b"http://localhost:8081", b"http://localhost:8080.evil.example",
    b"http://localhost:8080@evil.example", b"file://", b"chrome-extension://localhost:8080", b"localhost:8080",
    b"http://localhost:8080/", b"http://localhost:8080, x",
)  # fmt: skip


@pytest.mark.row("WEB-01")
def test_who_may_change_something_is_who_comes_from_here(record_property) -> None:  # type: ignore[no-untyped-def]
    """Every method, with every pair of the two headers; what is right is said here in another way than there."""
    methods = (b"GET", b"HEAD", b"OPTIONS", b"POST", b"PUT", b"PATCH", b"DELETE", b"PROPFIND", b"get", b"TRACE")
    asked = wrong = 0
    for method, site, origin in itertools.product(methods, SITES, ORIGINS):
        headers = {b"host": b"localhost:8080"}
        headers |= {} if site is None else {b"sec-fetch-site": site}
        headers |= {} if origin is None else {b"origin": origin}
        ours = origin in (HERE, HERE.upper(), HERE.replace(b"http", b"https"))
        right = method in (b"GET", b"HEAD", b"OPTIONS")
        right = right or site in (b"same-origin", b"none") or (site is None and (origin is None or ours))
        try:
            check_origin(method, headers)
            allowed = True
        except CrossSite:
            allowed = False
        asked, wrong = asked + 1, wrong + (allowed != right)
    record_property("number", f"{wrong} mismatches of {asked}")
    assert wrong == 0
    assert asked == 10 * len(SITES) * len(ORIGINS)


def test_an_origin_is_not_compared_with_what_a_proxy_says() -> None:
    headers = {b"host": b"localhost", b"x-forwarded-host": b"evil.example", b"origin": b"http://evil.example"}
    with pytest.raises(CrossSite):
        check_origin(b"POST", headers)
    with pytest.raises(CrossSite):
        check_origin(b"POST", {b"origin": b"http://localhost"})


def test_pages_are_held_to_their_own_files() -> None:
    policy = PAGE_HEADERS[b"content-security-policy"]
    assert policy.startswith(b"default-src 'none';")
    assert b"unsafe" not in policy
    assert b"*" not in policy
    assert b"frame-ancestors 'none'" in policy


def test_an_origin_that_the_operator_lets_in_may_ask() -> None:
    elsewhere = {b"host": b"api.example", b"origin": b"https://shop.example", b"sec-fetch-site": b"cross-site"}
    check_origin(b"POST", elsewhere, Hosts((), ["https://shop.example"]).origins)
    check_origin(b"POST", elsewhere, Hosts((), ["*"]).origins)
    for others in ([], ["https://shop.example.net", "http://shop.example"]):
        with pytest.raises(CrossSite):
            check_origin(b"POST", elsewhere, Hosts((), others).origins)

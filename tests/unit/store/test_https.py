"""HTTP to registries: tried again, bounded, over TLS, and nothing secret to anybody else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from urllib3 import exceptions

from modelyard.control.actions import tls
from modelyard.control.actions.home import Home
from modelyard.core.errors import RegistryRefused
from modelyard.core.network import Network
from modelyard.store import https as module
from modelyard.store.https import TRIES, Answer, Broken, Https, Request, origin, said
from tests.liar import Asked, Liar, Said


@pytest.fixture(autouse=True)
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody sleeps here; how long they would have."""
    slept: list[float] = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    return slept


def ask(liar: Liar, path: str = "/v2/", limit: int = 1000, **more: object) -> Answer:
    return Https(Network(), liar.host).ask(Request("GET", liar.url + path, **more), limit)  # type: ignore[arg-type]


def in_turn(*answers: Said) -> Callable[[Asked], Said]:
    """Each once, then the last for ever."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def test_an_answer_is_whole() -> None:
    with Liar(lambda _: Said(418, {"X-Word": "pot"}, b"short and stout")) as liar:
        answer = ask(liar)
    assert (answer.status, answer.headers["x-word"], answer.raw) == (418, "pot", b"short and stout")
    assert liar.seen[0].headers["User-Agent"].startswith("modelyard/")
    assert liar.seen[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(status: int, naps: list[float]) -> None:
    with Liar(in_turn(Said(status), Said(status), Said(200))) as liar:
        assert ask(liar).status == 200
    assert len(liar.seen) == 3
    assert 0 < naps[0] < naps[1] <= 2


def test_what_does_not_pass_is_told(naps: list[float]) -> None:
    down = Said(503, body=b"down \x1b[31mfor\r\n repair")
    with Liar(lambda _: down) as liar, pytest.raises(RegistryRefused, match="it answers 503") as caught:
        ask(liar)
    assert caught.value.cause == "down [31mfor repair"
    assert len(liar.seen) == TRIES == len(naps) + 1


@pytest.mark.parametrize(
    ("asked", "slept"), [("7", 7.0), ("0", None), ("soon", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)]
)
def test_a_host_may_say_when(asked: str, slept: float | None, naps: list[float]) -> None:
    with Liar(in_turn(Said(429, {"Retry-After": asked}), Said(200))) as liar:
        assert ask(liar).status == 200
    assert naps == [slept] if slept else 0 < naps[0] < 1


def test_nobody_waits_for_an_hour(naps: list[float]) -> None:
    later = Said(429, {"Retry-After": "3600"}, b"limit reached")
    with Liar(lambda _: later) as liar, pytest.raises(RegistryRefused, match="429"):
        ask(liar)
    assert naps == []
    assert len(liar.seen) == 1


def test_nobody_there_is_told(naps: list[float]) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{sock.getsockname()[1]}"
    with pytest.raises(RegistryRefused, match=f"^{host}: it does not answer") as caught:
        Https(Network(), host).ask(Request("GET", f"http://{host}/v2/"))
    assert "is it running?" in caught.value.hint
    assert "refused" in caught.value.cause
    assert "HTTPConnection" not in caught.value.cause
    assert len(naps) == TRIES - 1


def test_a_broken_connection_is_tried_again() -> None:
    cut = Said(headers={"Content-Length": "100"}, body=[b"half"], broken=True)
    with Liar(in_turn(cut, Said(body=b"whole"))) as liar:
        assert ask(liar).raw == b"whole"


def test_a_connection_that_always_breaks_is_told() -> None:
    cut = Said(headers={"Content-Length": "100"}, body=[b"half"], broken=True)
    with Liar(lambda _: cut) as liar, pytest.raises(RegistryRefused, match="the connection broke"):
        ask(liar)


def test_what_is_no_http_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()
        thread = threading.Thread(target=_babble, args=(server, over))
        thread.start()
        host = f"127.0.0.1:{server.getsockname()[1]}"
        try:
            with pytest.raises(RegistryRefused, match="does not answer"):
                Https(Network(), host).ask(Request("GET", f"http://{host}/v2/"))
        finally:
            over.set()
            thread.join()


def _babble(server: socket.socket, over: threading.Event) -> None:
    server.settimeout(0.05)
    while not over.is_set():
        try:
            link, _ = server.accept()
        except TimeoutError:
            continue
        with link:
            link.sendall(b"220 smtp.example ESMTP\r\n")


@pytest.mark.parametrize("length", [True, False])
def test_an_endless_answer_is_not_read(length: bool) -> None:
    given: list[int] = []

    def endless() -> Iterator[bytes]:
        for _ in range(10_000):
            given.append(65536)
            yield b"x" * 65536

    headers = {"Content-Length": str(65536 * 10_000)} if length else {}
    said_all = Said(headers=headers, body=endless())
    with Liar(lambda _: said_all) as liar, pytest.raises(RegistryRefused, match="larger than 1000 bytes"):
        ask(liar)
    assert sum(given) < 100 << 20


def test_an_answer_that_drips_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_READ_S", 0.2)
    over = threading.Event()

    def drops() -> Iterator[bytes]:
        for _ in range(1000):
            yield b"x"
            over.wait(0.05)

    with Liar(lambda _: Said(headers={"Content-Length": "1000"}, body=drops())) as liar:
        with pytest.raises(RegistryRefused, match="takes too long"):
            ask(liar)
        over.set()


def test_silence_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_READ_S", 0.1)
    over = threading.Event()

    def silent(_: Asked) -> Said:
        over.wait(5)
        return Said()

    with Liar(silent) as liar:
        with pytest.raises(RegistryRefused, match="does not answer") as caught:
            ask(liar)
        over.set()
    assert "timed out" in caught.value.cause


def test_a_redirect_is_followed_with_the_secret_on_the_same_host_only() -> None:
    with (
        Liar(lambda _: Said(body=b"there")) as other,
        Liar(lambda asked: Said(307, {"Location": _next(asked, other)})) as liar,
    ):
        answer = ask(liar, "/first", authorization="Basic secret")
    assert (answer.raw, answer.url) == (b"there", f"{other.url}/there")
    assert [asked.headers.get("Authorization") for asked in liar.seen] == ["Basic secret", "Basic secret"]
    assert [asked.headers.get("Authorization") for asked in other.seen] == [None]


def _next(asked: Asked, other: Liar) -> str:
    return "/second" if asked.path == "/first" else f"{other.url}/there"


def test_a_secret_does_not_come_back_after_a_detour() -> None:
    home: list[str] = []
    with (
        Liar(lambda _: Said(302, {"Location": f"{home[0]}/back"})) as other,
        Liar(lambda asked: Said(200) if asked.path == "/back" else Said(302, {"Location": other.url})) as liar,
    ):
        home.append(liar.url)
        assert ask(liar, "/", authorization="Basic secret").status == 200
    assert [each.path for each in liar.seen] == ["/", "/back"]
    assert ["Authorization" in each.headers for each in (*liar.seen, *other.seen)] == [True, False, False]


def test_redirects_end() -> None:
    again = Said(302, {"Location": "/again"})
    with Liar(lambda _: again) as liar, pytest.raises(RegistryRefused, match="redirects more than 5 times"):
        ask(liar)
    assert len(liar.seen) == 6


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://registry.example/x", "https://me:word@registry.example/x",
     "gopher://x", "https:///x", "https://a b/x", "//me@host/x", "http://169.254.169.254/latest/meta-data"],
)  # fmt: skip
def test_redirects_lead_nowhere_else(location: str) -> None:
    with Liar(lambda _: Said(302, {"Location": location})) as liar, pytest.raises(RegistryRefused, match="it leads to"):
        ask(liar)


def test_tls_is_not_left() -> None:
    https = Https(Network(), "r.example")
    with pytest.raises(RegistryRefused, match="it leads to"):
        https.resolved("https://r.example/v2/", "http://127.0.0.1:8000/x")
    assert https.resolved("https://r.example/v2/", "https://storage.example/x") == "https://storage.example/x"
    assert https.resolved("https://r.example/v2/a", "b?c=d") == "https://r.example/v2/b?c=d"


def test_what_is_sent_is_not_sent_on_by_a_302() -> None:
    with Liar(lambda _: Said(302, {"Location": "/there"})) as liar:
        request = Request("POST", liar.url, {"Content-Length": "4"}, lambda: [b"body"])
        assert Https(Network(), liar.host).ask(request).status == 302
    assert len(liar.seen) == 1


def test_other_hosts_are_asked_over_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(insecure=frozenset({"plain.lan:80"}))
    monkeypatch.setattr(Https, "_speaks_tls", lambda _: False)
    assert Https(network, "plain.lan:80").base() == "http://plain.lan:80"
    assert Https(network, "plain.lan").base() == "https://plain.lan"
    assert Https(network, "registry.example").base() == "https://registry.example"


def test_this_machine_is_asked_as_it_speaks(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with Liar(lambda _: Said()) as plain:
        assert Https(Network(), plain.host).base() == plain.url
    assert plain.seen == []
    made = tls.make(home, ["127.0.0.1"])
    with Liar(lambda _: Said(), (made.cert, made.key)) as safe:
        assert Https(Network(), safe.host).base() == safe.url, "it is not asked in the clear because nobody knows it"
        monkeypatch.setenv("SSL_CERT_FILE", str(made.ca))
        assert Https(Network(), safe.host).base() == safe.url
    assert Https(Network(), safe.host).base().startswith("http://"), "nobody is there"


def test_an_authority_that_nobody_knows_is_refused_at_once(home: Home, naps: list[float]) -> None:
    made = tls.make(home, ["127.0.0.1"])
    files, why = (made.cert, made.key), "certificate is not one that counts"
    with Liar(lambda _: Said(), files) as liar, pytest.raises(RegistryRefused, match=why) as caught:
        ask(liar)
    assert "certificate verify failed" in caught.value.cause
    assert f"{liar.host}/ca.crt" in caught.value.hint
    assert liar.seen == []
    assert naps == []


def test_an_authority_that_docker_knows_counts_for_its_host(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tls.make(home, ["127.0.0.1"])
    monkeypatch.setattr(module, "AUTHORITIES", (tmp_path / "certs.d",))
    with Liar(lambda _: Said(body=b"safe"), (made.cert, made.key)) as liar:
        folder = tmp_path / "certs.d" / liar.host
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(made.ca.read_bytes())
        assert ask(liar).raw == b"safe"
        with pytest.raises(RegistryRefused, match="certificate"):
            Https(Network(), "other.example").ask(Request("GET", liar.url))
        (folder / "ca.crt").write_text("nothing")
        with pytest.raises(RegistryRefused, match=r"authority cannot be read: ca\.crt"):
            ask(liar)


def test_an_authority_can_be_the_environments(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tls.make(home, ["127.0.0.1"])
    monkeypatch.setenv("SSL_CERT_FILE", str(made.ca))
    with Liar(lambda _: Said(body=b"safe"), (made.cert, made.key)) as liar:
        assert ask(liar).raw == b"safe"


def test_a_proxy_is_asked_for_others() -> None:
    with Liar(lambda _: Said(body=b"by proxy")) as proxy:
        network = Network(proxies={"http": proxy.url.replace("://", "://me:word@")}, insecure=frozenset({"r.lan"}))
        answer = Https(network, "r.lan").ask(Request("GET", "http://r.lan/v2/"))
    assert answer.raw == b"by proxy"
    (asked,) = proxy.seen
    assert asked.path == "http://r.lan/v2/"
    assert asked.headers["Proxy-Authorization"] == "Basic bWU6d29yZA=="


def test_what_others_say_is_one_line() -> None:
    assert said(b"a\r\nb\x1b[0m \x00c\xff\xe2\x80\xae") == "a b [0m c\ufffd"
    assert len(said(b"x" * 9999)) == 300


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin("https://r.example/a") == origin("https://r.example:443/b?c")
    assert origin("https://r.example") != origin("http://r.example")


def test_persistence_ends() -> None:
    tried: list[int] = []

    def never() -> None:
        tried.append(1)
        raise Broken("it is down", "no reason")

    with pytest.raises(RegistryRefused, match="it is down"):
        Https(Network(), "x").persist(never)
    assert len(tried) == TRIES


def test_every_error_of_the_library_is_one_root() -> None:
    """What `Https` translates is the library's root; nothing of it escapes, whatever it is called."""
    errors = [each for each in vars(exceptions).values() if isinstance(each, type) and issubclass(each, Exception)]
    own = [each for each in errors if each.__module__ == "urllib3.exceptions" and not issubclass(each, Warning)]
    assert len(own) > 20
    strangers = [each for each in own if not issubclass(each, exceptions.HTTPError)]
    assert strangers == [exceptions.ProxySchemeUnsupported], "which is named beside the root"


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "nothing", "http://"])
def test_a_proxy_that_cannot_be_one_is_told(proxy: str) -> None:
    network = Network(proxies={"http": proxy}, insecure=frozenset({"r.lan"}))
    with pytest.raises(RegistryRefused):
        Https(network, "r.lan").ask(Request("GET", "http://r.lan/v2/"))


@pytest.mark.parametrize(
    "place", ["me:hunter2@[::x]:1", "me:hunter2@proxy.example:99999999", "me:hun[ter2@127.0.0.1:1"]
)
def test_a_proxy_that_cannot_be_one_is_told_without_its_password(place: str) -> None:
    network = Network(proxies={"https": f"http://{place}"})
    with pytest.raises(RegistryRefused) as caught:
        Https(network, "registry.example").ask(Request("GET", "https://registry.example/v2/"))
    assert "hunter2" not in f"{caught.value} {caught.value.cause} {caught.value.hint}"

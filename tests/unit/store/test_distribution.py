"""The client of container registries: with a real one, and with one that lies."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import Denied, NotFound, RegistryRefused
from modelyard.core.imagename import ImageName
from modelyard.core.network import Network
from modelyard.store import distribution, https
from modelyard.store.distribution import OCI_MANIFEST, Repository
from tests.containers import Registry
from tests.liar import Asked, Liar, Said

BLOB = secrets.token_bytes(300_000)
CONFIG = b"{}"


def digest_of(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def login(host: str, user: str = "me", password: str = "word") -> Network:
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    return Network(login=json.dumps({"auths": {host: {"auth": auth}}}))


def manifest_of(blob: bytes, **more: Any) -> bytes:
    layer = {"mediaType": "application/octet-stream", "digest": digest_of(blob), "size": len(blob)}
    config = {"mediaType": "application/json", "digest": digest_of(CONFIG), "size": len(CONFIG)}
    return json.dumps(
        {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer], **more}
    ).encode()


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with Registry() as running:
        yield running


@pytest.fixture(scope="module")
def locked() -> Iterator[Registry]:
    with Registry(user="me", password="word") as running:
        yield running


@pytest.fixture
def repository(registry: Registry) -> Repository:
    return Repository(ImageName(registry.host, f"ml/x{secrets.token_hex(4)}", "7"), Network())


def push(repository: Repository, blob: bytes = BLOB, reference: str = "") -> str:
    for content in (blob, CONFIG):
        repository.put(content, digest_of(content))
    return repository.put_manifest(manifest_of(blob), OCI_MANIFEST, reference or repository.name.reference)


def test_what_is_pushed_is_there(repository: Repository) -> None:
    digest = push(repository)
    found = repository.manifest()
    assert (found.digest, found.media_type, found.raw) == (digest, OCI_MANIFEST, manifest_of(BLOB))
    assert repository.manifest(digest) == found
    assert repository.head("7") == digest
    assert repository.head("8") == ""
    assert repository.tags() == ["7"]
    assert b"".join(repository.blob(digest_of(BLOB), len(BLOB))) == BLOB
    assert repository.read(digest_of(CONFIG), 2) == CONFIG


def test_what_is_there_is_not_sent_again(repository: Repository) -> None:
    assert repository.put(BLOB, digest_of(BLOB))
    assert not repository.put(BLOB, digest_of(BLOB))
    assert repository.has(digest_of(BLOB), len(BLOB))
    assert not repository.has(digest_of(BLOB), 7)
    assert not repository.has(digest_of(b"other"))


def test_files_are_sent_in_pieces(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "PIECE_BYTES", 100_001)
    file = tmp_path / "blob"
    file.write_bytes(BLOB)
    assert repository.put(file, digest_of(BLOB))
    assert repository.read(digest_of(BLOB), len(BLOB)) == BLOB
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    assert repository.put(empty, digest_of(b""))
    assert repository.read(digest_of(b""), 0) == b""


def test_a_wrong_digest_is_refused_by_both(repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not those of"):
        repository.put(BLOB, digest_of(b"other"))
    file = tmp_path / "blob"
    file.write_bytes(BLOB)
    with pytest.raises(RegistryRefused, match="it answers 400") as caught:
        repository.put(file, digest_of(b"other"))
    assert "digest" in caught.value.cause


def test_many_tags_come_page_by_page(repository: Repository) -> None:
    for number in range(5):
        push(repository, reference=f"v{number}")
    assert repository.tags() == [f"v{number}" for number in range(5)]
    pages = {"/v2/x/tags/list?n=1000": (["a", "b"], "</v2/x/tags/list?n=1000&last=b>; rel=\"next\""),
             "/v2/x/tags/list?n=1000&last=b": (["c", "no/tag", "\n"], "")}  # fmt: skip

    def paged(asked: Asked) -> Said:
        tags, link = pages[asked.path]
        return Said(headers={"Link": link} if link else {}, body=json.dumps({"tags": tags}).encode())

    with Liar(paged) as liar:
        assert Repository(ImageName(liar.host, "x"), Network()).tags() == ["a", "b", "c"]


def test_what_is_deleted_is_gone(repository: Repository) -> None:
    digest = push(repository)
    repository.delete(digest)
    assert repository.head("7") == ""
    with pytest.raises(NotFound):
        repository.delete(digest)


def test_what_is_not_there_is_named(repository: Repository) -> None:
    with pytest.raises(NotFound, match="named '7'") as caught:
        repository.manifest()
    assert repository.name.place in caught.value.hint
    assert "unknown" in caught.value.cause
    with pytest.raises(NotFound):
        repository.tags()
    with pytest.raises(NotFound):
        repository.read(digest_of(BLOB), len(BLOB))


def test_a_password_is_needed_and_given(locked: Registry) -> None:
    name = ImageName(locked.host, "ml/churn", "1")
    for network in (Network(), login(locked.host, password="wrong"), login("127.0.0.1:1")):
        with pytest.raises(Denied, match=f"{locked.host} refuses ml/churn") as caught:
            push(Repository(name, network))
        assert caught.value.hint == f"docker login {locked.host}"
    repository = Repository(name, login(locked.host))
    digest = push(repository)
    assert Repository(name, login(locked.host)).head("1") == digest
    assert b"".join(Repository(name, login(locked.host)).blob(digest_of(BLOB), len(BLOB))) == BLOB


@pytest.fixture(autouse=True)
def _no_naps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https.time, "sleep", lambda _: None)


def lied_to(answers: Callable[[Asked], Said] | Said, act: Callable[[Repository], Any], **network: Any) -> Liar:
    """What the registry was asked while it answered so."""
    with Liar(answers if callable(answers) else lambda _: answers) as liar:
        known = login(liar.host) if network.pop("known", False) else Network()
        act(Repository(ImageName(liar.host, "ml/x", "7"), known))
    return liar


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Said(body=b"{}", headers={"Docker-Content-Digest": digest_of(b"[]")}), "it gives"),
        (Said(body=b" " * ((4 << 20) + 1)), "larger than"),
        (Said(418, body=b"pot"), "it answers 418"),
        (Said(302, {"Location": "file:///etc/passwd"}), "it leads to"),
    ],
)
def test_a_manifest_that_cannot_be_right_is_refused(answer: Said, why: str) -> None:
    with pytest.raises(RegistryRefused, match=why):
        lied_to(answer, lambda repository: repository.manifest())


def test_a_manifest_is_the_one_of_its_digest() -> None:
    with pytest.raises(RegistryRefused, match="it gives") as caught:
        lied_to(Said(body=b"{}"), lambda repository: repository.manifest(digest_of(b"other")))
    assert "believe nothing" in caught.value.hint


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"y" * 1000, "other bytes"),
        (b"x" * 1001, "longer than"),
        (b"x" * 999, "ended after 999 of 1000"),
        (b"", "ended"),
    ],
)
def test_a_blob_that_is_not_its_digest_is_refused(body: bytes, why: str) -> None:
    wanted = b"x" * 1000
    with pytest.raises(RegistryRefused, match=why):
        lied_to(Said(body=body), lambda repository: repository.read(digest_of(wanted), 1000))


def test_an_endless_blob_is_not_read() -> None:
    endless = Said(body=(b"x" * 65536 for _ in range(10_000)))
    with pytest.raises(RegistryRefused, match="longer than"):
        lied_to(endless, lambda repository: repository.read(digest_of(b"x"), 1000))


def test_a_blob_larger_than_it_may_be_is_not_asked_for() -> None:
    with pytest.raises(RegistryRefused, match="at most 10 are read"):
        lied_to(Said(), lambda repository: repository.read(digest_of(b"x"), 11, 10))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_blob_is_taken_up_where_it_broke(ranges: bool) -> None:
    def breaking(asked: Asked) -> Said:
        start = int(asked.headers.get("Range", "bytes=0-")[6:-1]) if ranges else 0
        piece = BLOB[start : start + 130_000] if len(liar_asks) < 2 or ranges else BLOB[start:]
        liar_asks.append(start)
        length = {"Content-Length": str(len(BLOB) - start)}
        return Said(206 if start else 200, length, [piece], broken=len(piece) < len(BLOB) - start)

    liar_asks: list[int] = []
    got: list[bytes] = []
    lied_to(breaking, lambda repository: got.append(repository.read(digest_of(BLOB), len(BLOB))))
    assert got == [BLOB]
    assert len(liar_asks) == 3


def test_a_blob_may_lie_somewhere_else_and_no_password_goes_there() -> None:
    with Liar(lambda _: Said(body=BLOB)) as storage:

        def answers(asked: Asked) -> Said:
            if "Authorization" not in asked.headers:
                return Said(401, {"WWW-Authenticate": 'Basic realm="x"'})
            return Said(307, {"Location": f"{storage.url}/bucket?signed=1"})

        lied_to(answers, lambda repository: repository.read(digest_of(BLOB), len(BLOB)), known=True)
    (asked,) = storage.seen
    assert asked.path == "/bucket?signed=1"
    assert "Authorization" not in asked.headers


def test_a_challenge_from_elsewhere_is_not_answered() -> None:
    with Liar(lambda _: Said(401, {"WWW-Authenticate": 'Basic realm="x"'})) as other, pytest.raises(Denied):
        lied_to(Said(307, {"Location": f"{other.url}/"}), lambda repository: repository.manifest(), known=True)
    assert not any("Authorization" in asked.headers for asked in other.seen)


def test_a_realm_elsewhere_gets_nothing() -> None:
    with Liar(lambda _: Said(body=b'{"token": "abc"}'), host="127.0.0.2") as realm:
        challenge = Said(401, {"WWW-Authenticate": f'Bearer realm="{realm.url}/token"'})
        with pytest.raises(RegistryRefused, match="for a token"):
            lied_to(challenge, lambda repository: repository.manifest(), known=True)
    assert realm.seen == []


def test_a_token_is_asked_for_once_and_again_when_it_has_ended() -> None:
    given: list[str] = []

    def answers(asked: Asked) -> Said:
        if asked.path.startswith("/token"):
            given.append(asked.path)
            return Said(body=json.dumps({"token": f"t{len(given)}"}).encode())
        ended = len(liar[0].seen) > 5
        if asked.headers.get("Authorization") != f"Bearer t{2 if ended else 1}":
            realm = f'Bearer realm="{liar[0].url}/token",service="house"'
            return Said(401, {"WWW-Authenticate": realm})
        return Said(body=b"{}")

    liar: list[Liar] = []
    with Liar(answers) as running:
        liar.append(running)
        repository = Repository(ImageName(running.host, "ml/x", "7"), login(running.host))
        for _ in range(5):
            repository.manifest()
    assert given == ["/token?service=house&scope=repository%3Aml%2Fx%3Apull"] * 2


def test_a_registry_that_always_asks_is_not_asked_for_ever() -> None:
    challenge = Said(401, {"WWW-Authenticate": 'Basic realm="x"'}, json.dumps({"errors": [{"code": "NO"}]}).encode())
    with Liar(lambda _: challenge) as liar:
        repository = Repository(ImageName(liar.host, "ml/x", "7"), login(liar.host))
        for act in (repository.manifest, lambda: repository.read(digest_of(b"x"), 1), lambda: push(repository)):
            with pytest.raises(Denied, match="refuses"):
                act()
    assert len(liar.seen) <= 8


@pytest.mark.parametrize("location", ["http://169.254.169.254/up", "file:///x", "https://me@other.example/"])
def test_an_upload_goes_nowhere_it_may_not(location: str) -> None:
    def answers(asked: Asked) -> Said:
        return Said(404) if asked.method == "HEAD" else Said(202, {"Location": location})

    with pytest.raises(RegistryRefused, match="it leads to"):
        lied_to(answers, lambda repository: repository.put(BLOB, digest_of(BLOB)))


def test_an_upload_that_breaks_begins_anew() -> None:
    broken: list[int] = []

    def answers(asked: Asked) -> Said:
        if asked.method == "HEAD":
            return Said(404)
        if asked.method == "POST":
            return Said(202, {"Location": f"/up/{len(broken)}?state=a%2Fb"})
        broken.append(1)
        return Said(500) if len(broken) < 3 else Said(201)

    liar = lied_to(answers, lambda repository: repository.put(BLOB, digest_of(BLOB)))
    puts = [asked for asked in liar.seen if asked.method == "PUT"]
    query = f"state=a%2Fb&digest={digest_of(BLOB).replace(':', '%3A')}"
    assert [asked.path for asked in puts] == [f"/up/{number}?{query}" for number in range(3)]
    assert all(asked.body == BLOB for asked in puts)


def test_a_registry_that_keeps_something_else_is_told() -> None:
    answer = Said(201, {"Docker-Content-Digest": digest_of(b"other")})
    with pytest.raises(RegistryRefused, match="it keeps"):
        lied_to(answer, lambda repository: repository.put_manifest(b"{}", OCI_MANIFEST, "7"))


def test_a_registrys_own_words_are_cleaned() -> None:
    words = json.dumps({"errors": [{"code": "DENIED", "message": "no\r\n\x1b[2Jroom"}, {"code": "TOOBIG"}]}).encode()
    with pytest.raises(RegistryRefused, match="it answers 413") as caught:
        lied_to(Said(413, body=words), lambda repository: repository.put_manifest(b"{}", OCI_MANIFEST, "7"))
    assert caught.value.cause == "no [2Jroom; TOOBIG"


@pytest.mark.parametrize("reference", ["../x", "a/b", "a?b", "", "sha256:x"])
def test_only_tags_and_digests_are_asked_for(reference: str) -> None:
    repository = Repository(ImageName("127.0.0.1:1", "x"), Network())
    with pytest.raises(ValueError, match="neither a tag nor a digest"):
        repository.head(reference)


def test_a_registry_that_deletes_nothing_says_so() -> None:
    with pytest.raises(RegistryRefused, match="removes nothing"):
        lied_to(Said(405), lambda repository: repository.delete(digest_of(b"x")))

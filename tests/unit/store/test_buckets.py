"""What obstore raises is told as what it is."""

from __future__ import annotations

import builtins
import socket

import pytest
from obstore import exceptions

from modelyard.core.errors import Denied, InvalidRequest, ModelyardError, NotFound, RegistryRefused
from modelyard.core.network import Network
from modelyard.store.buckets import KINDS, Bucket
from modelyard.store.objects import read
from tests import clouds
from tests.liar import Asked, Liar, Said


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials for nobody, so that no metadata service is asked."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")


def bucket(url: str) -> Bucket:
    return Bucket("s3", "models", "a", Network(stores={"s3": url}))


def test_every_exception_of_the_library_has_a_kind() -> None:
    assert {getattr(exceptions, name) for name in exceptions.__all__} <= KINDS.keys()


def error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>words</Message></Error>".encode()


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (Said(404, body=error("NoSuchKey")), NotFound, "no object 'x'"),
        (Said(404, body=error("NoSuchBucket")), NotFound, "no bucket 's3://models'"),
        (Said(403, body=error("AccessDenied")), Denied, "refuses us"),
        (Said(401, body=error("InvalidAccessKeyId")), Denied, "refuses us"),
        (Said(400, body=error("InvalidRequest")), RegistryRefused, "does not answer as it should"),
    ],
)
def test_a_refusal_is_told(said: Said, kind: type[ModelyardError], words: str) -> None:
    with Liar(lambda _: said) as liar, pytest.raises(kind, match=words) as caught:
        read(bucket(liar.url), "x", 10)
    assert "Debug source" not in caught.value.cause
    assert caught.value.__cause__ is not None


def test_nobody_there_is_told() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(RegistryRefused, match="s3://models") as caught:
            bucket(f"http://127.0.0.1:{sock.getsockname()[1]}").size("x")
    assert "can it be reached" in caught.value.hint


def test_a_store_without_tls_is_this_machine_or_named() -> None:
    with Liar(lambda _: Said(404)) as liar:
        elsewhere = liar.url.replace("127.0.0.1", "localhost.localdomain")
        with pytest.raises(RegistryRefused):
            bucket(elsewhere).size("x")
    assert liar.seen == []


def test_every_key_is_below_the_prefix() -> None:
    def answers(asked: Asked) -> Said:
        return Said(404, body=error("NoSuchKey"))

    with Liar(answers) as liar:
        assert bucket(liar.url).size("b/c") is None
    assert {asked.path for asked in liar.seen} == {"/models/a/b/c"}


@pytest.mark.parametrize("address", ["no address", "ftp://x", "http://", "http://a b", "//x", "http://u:p@x"])
def test_a_setting_that_cannot_be_is_told(address: str) -> None:
    with pytest.raises(InvalidRequest, match="no address of a store"):
        bucket(address)


def test_the_stand_in_for_google_keeps_large_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    with clouds.gs() as cloud:
        cloud.enter(monkeypatch)
        found = Bucket("gs", clouds.BUCKET, "", cloud.network)
        found.write("a", bytes(12 << 20))
        assert found.size("a") == 12 << 20


def test_builtin_errors_are_told_too() -> None:
    assert builtins.FileNotFoundError in KINDS
    assert builtins.OSError in KINDS

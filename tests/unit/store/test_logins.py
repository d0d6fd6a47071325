"""Who we are to a registry: what ``docker login`` wrote, and what credential helpers say."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import Unavailable
from modelyard.core.imagename import parse_image
from modelyard.core.network import Network
from modelyard.store import logins
from modelyard.store.logins import Login

NAME = parse_image("r.example:5000/ml/churn")
HUB = parse_image("python")


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def find(config: Any, name: Any = NAME) -> Login | None:
    return logins.find(name, Network(login=json.dumps(config)))


@pytest.mark.parametrize(
    "key", ["r.example:5000", "https://r.example:5000", "https://r.example:5000/v2/", "r.example:5000/ml/churn"]
)
def test_a_login_is_found_by_its_host(key: str) -> None:
    assert find({"auths": {key: auth("me:pass:word")}}) == Login("me", "pass:word")


@pytest.mark.parametrize("key", ["r.example", "r.example:5001", "xr.example:5000", "r.example:5000/ml/chur", "other"])
def test_a_login_of_another_host_is_nobodys_business(key: str) -> None:
    assert find({"auths": {key: auth("me:word")}}) is None


def test_the_closest_login_counts() -> None:
    found = {"r.example:5000": auth("all:1"), "r.example:5000/ml": auth("ml:2"), "r.example:5000/other": auth("o:3")}
    assert find({"auths": found}) == Login("ml", "2")


def test_docker_hub_has_a_name_of_its_own() -> None:
    config = {"auths": {"https://index.docker.io/v1/": auth("me:word")}}
    assert find(config, HUB) == Login("me", "word")
    assert find(config) is None


def test_tokens_are_logins_too() -> None:
    config = {"auths": {"r.example:5000": {"identitytoken": "refresh"}}}
    assert find(config) == Login(token="refresh")


def test_files_are_asked_in_order_and_may_be_missing(tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    first.write_text(json.dumps({"auths": {"other": auth("x:y")}}))
    second.write_text(json.dumps({"auths": {"r.example:5000": auth("me:word")}, "credHelpers": {"else": "x"}}))
    network = Network(logins=(tmp_path / "none.json", first, second))
    assert logins.find(NAME, network) == Login("me", "word")
    told = Network(logins=(second,), login=json.dumps({"auths": {"r.example:5000": auth("env:word")}}))
    assert logins.find(NAME, told) == Login("env", "word")
    assert logins.find(NAME, Network()) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"auths": 1}', '{"auths": {"r.example:5000": {"auth": "%%%"}}}', "[" * 5000, "\udc80"]
)
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(Unavailable, match=r"logins cannot be read: config\.json"):
        logins.find(NAME, Network(logins=(path,)))


def test_nothing_of_it_is_printed() -> None:
    login = Login("me", "word-7", "token-7")
    assert "-7" not in repr(login)
    assert base64.b64decode(login.basic.removeprefix("Basic ")) == b"me:word-7"


def helper(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = folder / "docker-credential-house"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_helper_is_asked_for_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, monkeypatch, f'echo "$1 $(cat)" > {tmp_path}/asked; echo \'{{"Username":"me","Secret":"word"}}\'')
    assert find({"credHelpers": {"r.example:5000": "house"}}) == Login("me", "word")
    assert (tmp_path / "asked").read_text() == "get r.example:5000\n"
    assert find({"credsStore": "house"}, HUB) == Login("me", "word")
    assert (tmp_path / "asked").read_text() == "get https://index.docker.io/v1/\n"
    assert find({"credHelpers": {"other": "house"}}) is None


def test_a_helper_may_know_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, monkeypatch, 'echo \'{"Username":"<token>","Secret":"refresh"}\'')
    assert find({"credsStore": "house"}) == Login(token="refresh")


def test_a_helper_that_knows_nobody_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, monkeypatch, "echo credentials not found in native keychain; exit 1")
    assert find({"credsStore": "house"}) is None
    assert find({"credsStore": "house", "auths": {"r.example:5000": auth("me:word")}}) == Login("me", "word")


@pytest.mark.parametrize(
    ("script", "cause"),
    [("exit 3", "it ends with 3"), ("echo nothing", "not the JSON"), ("sleep 5", "does not answer")],
)
def test_a_helper_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, cause: str) -> None:
    helper(tmp_path, monkeypatch, script)
    monkeypatch.setattr(logins, "_HELPER_S", 0.5)
    with pytest.raises(Unavailable, match="docker-credential-house") as caught:
        find({"credsStore": "house"})
    assert cause in caught.value.cause


@pytest.mark.parametrize("name", ["../x", "a b", "x;y", "-x", "", "x" * 80, "/bin/sh"])
def test_only_a_name_is_the_name_of_a_helper(name: str) -> None:
    if name:
        with pytest.raises(Unavailable, match="credential helper"):
            find({"credHelpers": {"r.example:5000": name}})
    else:
        assert find({"credHelpers": {"r.example:5000": name}}) is None


def test_a_helper_that_is_not_there_is_named() -> None:
    with pytest.raises(Unavailable, match="docker-credential-nowhere") as caught:
        find({"credsStore": "nowhere"})
    assert caught.value.cause == "it is not installed"

"""Certificates are made for this machine, and their bearers may what somebody said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.control.actions import tls
from modelyard.control.actions.home import Home
from modelyard.core.errors import Conflict, Forbidden, InvalidName, InvalidRequest, NotFound
from modelyard.core.identity import Principal, Role, scopes
from modelyard.guard import authority
from modelyard.guard.certificates import Bearer
from modelyard.guard.tls import Contexts, Files

SCORER = Bearer(name="uri:spiffe://example.org/scorer", role=Role.PREDICTOR, models="fraud-*")


def test_a_server_can_use_what_is_made(home: Home) -> None:
    made = tls.make(home, ["model.example.org"])
    Contexts(Files(made.cert, made.key))
    assert set(tls.show(made.cert).names) >= {"dns:localhost", "ip:127.0.0.1", "ip:::1", "dns:model.example.org"}
    assert {path.name: path.stat().st_mode & 0o777 for path in home.settings.tls.iterdir()} == {
        "ca.pem": 0o600, "ca-key.pem": 0o600, "cert.pem": 0o600, "key.pem": 0o600
    }  # fmt: skip


def test_the_authority_stays_and_certificates_are_renewed(home: Home) -> None:
    made = tls.make(home)
    before = made.ca.read_bytes(), made.cert.read_bytes()
    again = tls.make(home)
    assert again.ca.read_bytes() == before[0]
    assert again.cert.read_bytes() != before[1]
    assert authority.fits(again.cert.read_bytes(), again.key.read_bytes())


def test_a_callers_certificate_has_one_name_and_a_file_of_its_own(home: Home) -> None:
    tls.make(home)
    made = tls.make_client(home, "uri:spiffe://example.org/../scorer")
    assert made.cert.parent == home.settings.tls
    assert tls.show(made.cert).names == ("uri:spiffe://example.org/../scorer",)


@pytest.mark.parametrize(("first", "second"), [("uri:a/b", "uri:a-b"), ("a", "a-key"), ("a-key", "a")])
def test_a_name_that_is_written_alike_takes_no_files_away(home: Home, first: str, second: str) -> None:
    made = tls.make_client(home, first)
    before = made.cert.read_bytes(), made.key.read_bytes()
    with pytest.raises(Conflict, match="for another name"):
        tls.make_client(home, second)
    assert (made.cert.read_bytes(), made.key.read_bytes()) == before
    assert tls.make_client(home, first).cert.read_bytes() != before[0], "it is renewed"


def test_a_name_that_is_none_changes_nothing(home: Home) -> None:
    made = tls.make(home)
    before = made.cert.read_bytes()
    with pytest.raises(InvalidName):
        tls.make(home, ["not a name"])
    assert made.cert.read_bytes() == before


def test_show_says_what_is_wrong_with_a_file(home: Home, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        tls.show(tmp_path / "none.pem")
    (tmp_path / "x.pem").write_bytes(b"x")
    with pytest.raises(InvalidRequest):
        tls.show(tmp_path / "x.pem")


def test_bearers_are_allowed_and_refused(home: Home) -> None:
    assert tls.bearers(home) == ()
    tls.allow(home, SCORER)
    more = Bearer(name=SCORER.name, role=Role.VIEWER)
    tls.allow(home, more)
    with pytest.raises(Conflict):
        tls.allow(home, SCORER)
    assert tls.bearers(home) == (SCORER, more)
    tls.refuse(home, SCORER.name)
    assert tls.bearers(home) == ()
    with pytest.raises(NotFound):
        tls.refuse(home, SCORER.name)
    with home.database.read() as connection:
        rows = connection.execute("SELECT action, outcome FROM audit ORDER BY sequence").fetchall()
    assert [tuple(row) for row in rows] == [
        ("certificate.allow", "done"),
        ("certificate.allow", "done"),
        ("certificate.allow", "failed"),
        ("certificate.refuse", "done"),
        ("certificate.refuse", "failed"),
    ]


def test_only_who_may_configure_does(home: Home) -> None:
    other = replace(home, actor=Principal("key:abc", scopes(Role.DEPLOYER), "key"))
    for act in (lambda: tls.make(other), lambda: tls.allow(other, SCORER), lambda: tls.refuse(other, "dns:x")):
        with pytest.raises(Forbidden):
            act()
    assert not home.settings.certificates.exists()

"""Whom a client believes."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from modelyard.client.load import trust
from modelyard.client.load.step import Place
from modelyard.core.errors import InvalidRequest, NotFound
from modelyard.guard import authority


def test_without_tls_there_is_nothing_to_believe() -> None:
    assert trust.context(Place("127.0.0.1", 80)) is None


def test_an_authority_of_ones_own_is_the_only_one_and_names_are_checked(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(authority.authority().cert)
    place = Place("localhost", 443, tls=True, ca=str(tmp_path / "ca.pem"))
    context = trust.context(place)
    assert context is not None
    assert [found["subject"] for found in context.get_ca_certs()] == [
        ((("commonName", "Modelyard development authority"),),)
    ]
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert trust.context(place) is context  # a connection is opened often


def test_files_that_hold_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_bytes(b"")
    with pytest.raises(InvalidRequest):
        trust.context_of(str(tmp_path / "empty.pem"))
    with pytest.raises(NotFound):
        trust.context_of(str(tmp_path / "none.pem"))

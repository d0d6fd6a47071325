"""The configuration of privacy, pseudonyms, and the key of captures with and without a master key."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.core.errors import StoreDamaged, Unavailable
from modelyard.core.privacy import Auditing, Privacy
from modelyard.guard import payloads, privacy
from modelyard.guard.keysources import FileSource
from modelyard.guard.masterkeys import Keys
from modelyard.guard.privacy import CAPTURE_KEY, CaptureKey, Kept, Pseudonyms


@pytest.fixture
def masters(tmp_path: Path) -> Keys:
    keys = Keys(lambda: FileSource(tmp_path / "master.key"))
    keys.prepare()
    return keys


def test_the_configuration_survives_its_file() -> None:
    kept = Kept(turn=3, models={"churn": Privacy(audit=Auditing(pseudonyms=True))})
    assert privacy.parse(kept.to_bytes()) == kept
    assert privacy.parse(b"") == Kept()
    for wrong in (b"{", b'{"more": 1}', b'{"models": {"churn": {"capture": {"sample": 2}}}}', b"\xff"):
        with pytest.raises(StoreDamaged):
            privacy.parse(wrong)


def test_a_pseudonym_is_the_same_as_long_as_its_secret(tmp_path: Path) -> None:
    path = privacy.secret(tmp_path / "secrets")
    assert path.stat().st_mode & 0o777 == 0o600
    one = Pseudonyms.read(path).of("key:ab12cd34ef")
    assert Pseudonyms.read(privacy.secret(tmp_path / "secrets")).of("key:ab12cd34ef") == one
    assert one != Pseudonyms.read(path).of("key:ab12cd34eg")
    assert "ab12" not in one
    path.unlink()
    assert Pseudonyms.read(privacy.secret(tmp_path / "secrets")).of("key:ab12cd34ef") != one


def test_there_is_a_pseudonym_of_every_text(tmp_path: Path) -> None:
    """Of a word as the command line gives what is no UTF-8, too."""
    of = Pseudonyms.read(privacy.secret(tmp_path)).of
    assert len({of(text) for text in ("", "Zoë", "\udcff", "\ud800", "x" * 100_000)}) == 5


def test_the_key_of_captures_is_made_once(tmp_path: Path, masters: Keys) -> None:
    key = CaptureKey(tmp_path / "secrets")
    with pytest.raises(Unavailable):
        key.private(masters)
    public = key.public(None)
    assert key.public(None) == public == payloads.public_of(key.private(masters))
    assert key.master == ""
    assert (tmp_path / "secrets" / CAPTURE_KEY).stat().st_mode & 0o777 == 0o600


def test_it_moves_under_the_master_key_and_back(tmp_path: Path, masters: Keys) -> None:
    key = CaptureKey(tmp_path / "secrets")
    key.keep(masters, wrapped=True)  # there is none yet
    public = key.public(masters)
    plain = key.private(masters)
    raw = (tmp_path / "secrets" / CAPTURE_KEY).read_bytes()
    assert key.master == masters.current
    assert plain not in raw
    masters.keep(masters.ring.with_new())
    key.keep(masters, wrapped=True)
    assert key.master == masters.current
    masters.keep(masters.ring.newest())
    assert payloads.public_of(key.private(masters)) == public
    key.keep(masters, wrapped=False)
    assert key.master == ""
    assert key.private(masters) == plain


def test_a_key_that_was_changed_is_an_error(tmp_path: Path, masters: Keys) -> None:
    key = CaptureKey(tmp_path / "secrets")
    key.public(None)
    for wrong in (b"no key\n", b'{"master": 1}', b'{"master": "x", "wrapped": ""}'):
        (tmp_path / "secrets" / CAPTURE_KEY).write_bytes(wrong)
        with pytest.raises((StoreDamaged, Unavailable)):
            key.private(masters)

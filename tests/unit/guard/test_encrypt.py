"""The configuration of encryption: off when nothing was said, refused when it cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.core.errors import StoreDamaged
from modelyard.core.settings import Settings
from modelyard.guard import encrypt
from modelyard.guard.encrypt import Encryption, Kept
from modelyard.guard.keysources import CommandSource, EnvironmentSource, FileSource


@pytest.mark.parametrize(
    "wanted",
    [Encryption(), Encryption(on=True, kept=Kept.ENVIRONMENT), Encryption(kept=Kept.COMMAND, command=("kms", "-v"))],
)
def test_saved_and_read(tmp_path: Path, wanted: Encryption) -> None:
    path = tmp_path / "encryption.json"
    assert encrypt.read(path) == Encryption()
    encrypt.save(path, wanted)
    assert encrypt.read(path) == wanted


@pytest.mark.parametrize(
    "raw", ["", "{", '{"on": 1}', '{"kept": "cellar"}', '{"kept": "command"}', '{"command": ["x"]}']
)
def test_what_cannot_be_read_is_not_off(tmp_path: Path, raw: str) -> None:
    path = tmp_path / "encryption.json"
    path.write_text(raw)
    with pytest.raises(StoreDamaged, match=r"encryption\.json"):
        encrypt.read(path)


def test_where_keys_are(tmp_path: Path) -> None:
    settings = Settings(tmp_path, master_key="from outside")
    assert encrypt.source(settings, Encryption()) == FileSource(settings.secrets / "master.key")
    assert encrypt.source(settings, Encryption(kept=Kept.ENVIRONMENT)) == EnvironmentSource("from outside")
    command = Encryption(kept=Kept.COMMAND, command=("kms",))
    assert encrypt.source(settings, command) == CommandSource(("kms",), settings.secrets / "master.key.wrapped")
    assert "from outside" not in repr(settings)

"""Export: the same bytes as a folder or a .zip, whole or not at all."""

from __future__ import annotations

import errno
import zipfile
from pathlib import Path

import pytest

from modelyard.control.actions.export import export
from modelyard.control.actions.home import Home, open_home
from modelyard.control.actions.publish import publish
from modelyard.core.errors import Conflict, NotFound, StoreFull, Unavailable
from modelyard.core.reference import parse_reference
from modelyard.core.settings import Settings
from modelyard.model.bundle import Bundle, open_bundle
from tests.models import linear_bundle

LINEAR = parse_reference("linear")


@pytest.fixture
def bundle(home: Home) -> Bundle:
    bundle = linear_bundle()
    publish(home, bundle)
    return bundle


def test_folder(home: Home, bundle: Bundle, tmp_path: Path) -> None:
    path = export(home, LINEAR, tmp_path / "out")
    assert open_bundle(path, digest=bundle.digest) == bundle
    assert sorted(item.name for item in tmp_path.iterdir()) == ["home", "out"]


def test_zip_is_the_same_for_everyone(home: Home, bundle: Bundle, tmp_path: Path) -> None:
    first = export(home, LINEAR, tmp_path / "one.zip").read_bytes()
    elsewhere = open_home(Settings(home=tmp_path / "another"))
    publish(elsewhere, bundle)
    assert export(elsewhere, LINEAR, tmp_path / "two.zip").read_bytes() == first
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o100644}
    assert open_bundle(tmp_path / "unpacked", digest=bundle.digest) == bundle


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_what_is_there_is_not_overwritten(home: Home, bundle: Bundle, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(Conflict, match=name):
        export(home, LINEAR, tmp_path / name)
    assert (tmp_path / name).read_text() == "precious"


def test_no_folder_to_write_into(home: Home, bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no folder 'nowhere'") as caught:
        export(home, LINEAR, tmp_path / "nowhere" / "out.zip")
    assert caught.value.hint.endswith(f": mkdir -p {tmp_path / 'nowhere'}")


@pytest.mark.parametrize("name", ["out", "out.zip"])
@pytest.mark.parametrize(("number", "expected"), [(errno.ENOSPC, StoreFull), (errno.EROFS, Unavailable)])
def test_a_failing_disk_leaves_nothing(
    home: Home,
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    number: int,
    expected: type[Exception],
) -> None:
    def fail(self: object, *args: object, **kwargs: object) -> None:
        raise OSError(number, "the disk")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail)
        with pytest.raises(expected):
            export(home, LINEAR, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]

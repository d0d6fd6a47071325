"""A foreign folder is never left, and what is read of it is bounded and plain."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.core.errors import InvalidModel, NotFound
from modelyard.model.folders import View
from modelyard.model.folders import _view as module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "models"
    inner.mkdir()
    (tmp_path / "secret.json").write_text('{"key": "value"}')
    (inner / "settings.json").write_text('{"debug": false}')
    return inner


@pytest.mark.parametrize("way", ["../secret.json", "sub/../../secret.json", "/etc/passwd"])
def test_a_path_that_leads_outside_is_refused(folder: Path, way: str) -> None:
    with pytest.raises(InvalidModel, match="leads out of the folder"):
        View(folder).text(way)


def test_a_link_that_leads_outside_is_refused(folder: Path) -> None:
    (folder / "link.json").symlink_to(folder.parent / "secret.json")
    (folder / "deep").mkdir()
    (folder / "deep" / "up").symlink_to(folder.parent)
    with pytest.raises(InvalidModel, match="is a link that leads out"):
        View(folder).json("link.json")
    with pytest.raises(InvalidModel, match="out of the folder"):
        View(folder).text("deep/up/secret.json")
    assert View(folder).find("secret.json") == []


def test_a_link_inside_is_followed(folder: Path) -> None:
    """As Kubernetes mounts a ConfigMap: every name is a link into a hidden folder beside it."""
    (folder / "..data").mkdir()
    (folder / "..data" / "model.json").write_text("{}")
    (folder / "model.json").symlink_to("..data/model.json")
    assert View(folder).table("model.json") == {}
    assert View(folder).find("model.json") == ["model.json"]


def test_an_absolute_path_inside_is_inside(folder: Path) -> None:
    assert View(folder).inside(str(folder)) == folder.resolve()


def test_a_sub_view_keeps_the_border(folder: Path) -> None:
    (folder / "a").mkdir()
    view = View(folder).sub("a")
    assert view.inside("../settings.json").name == "settings.json"
    with pytest.raises(InvalidModel):
        view.inside("../../secret.json")


def test_what_is_not_there(folder: Path) -> None:
    with pytest.raises(NotFound, match="no file"):
        View(folder).text("setings.json")
    with pytest.raises(NotFound, match="no folder"):
        View(folder / "nothing")


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("a.json", "{", "not valid JSON"),
        ("a.json", "[1]", "object with names"),
        ("a.json", "[" * 100_000, "not valid JSON"),
        ("a.yaml", "a: !!python/object/apply:os.system ['true']", "read safely"),
        ("a.yaml", "a: &x [1]\nb: [*x, *x]", "aliases"),
        ("a.yaml", "a: [", "read safely"),
        ("a.yaml", "1: x", "object with names"),
        ("a.yaml", "[" * 500_000, "nested more than 64"),
    ],
)
def test_broken_settings_are_a_clear_error(folder: Path, file: str, text: str, said: str) -> None:
    (folder / file).write_text(text)
    with pytest.raises(InvalidModel, match=said):
        View(folder).table(file)


def test_settings_are_small_text(folder: Path) -> None:
    (folder / "big.json").write_bytes(b" " * (module.MAX_SETTINGS_BYTES + 1))
    (folder / "bytes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidModel, match="larger than 1 MiB"):
        View(folder).json("big.json")
    with pytest.raises(InvalidModel, match="UTF-8"):
        View(folder).json("bytes.json")


def test_a_huge_folder_is_not_searched_to_its_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for at in range(30):
        (folder / f"{at}.txt").touch()
    monkeypatch.setattr(module, "MAX_ENTRIES", 20)
    with pytest.raises(InvalidModel, match="more than 20"):
        View(folder).find("settings.json")

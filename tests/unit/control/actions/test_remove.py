"""Remove: refused while in use, gone for good after, and nothing else goes with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelyard.control.actions import destroy
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.control.actions.remove import remove
from modelyard.core.errors import Conflict, NotFound
from modelyard.core.reference import parse_reference
from tests.models import linear_bundle
from tests.targets._workshop import furnish, put, quiet


def test_one_version(home: Home) -> None:
    for slope in (1.0, 2.0):
        publish(home, linear_bundle(slope=slope))
    assert [str(version) for version in remove(home, parse_reference("linear@1"))] == ["linear@1"]
    assert [str(version) for version in home.catalogue.versions("linear")] == ["linear@2"]


def test_a_whole_model(home: Home) -> None:
    for slope in (1.0, 2.0):
        publish(home, linear_bundle(slope=slope))
    publish(home, linear_bundle("other"))
    assert [str(version) for version in remove(home, parse_reference("linear"))] == ["linear@1", "linear@2"]
    assert [model.name for model in home.catalogue.models()] == ["other"]
    with pytest.raises(NotFound):
        remove(home, parse_reference("linear"))


def test_in_use(home: Home) -> None:
    publish(home, linear_bundle(), ["production"])
    with pytest.raises(Conflict, match="linear@production") as caught:
        remove(home, parse_reference("linear@1"))
    assert "--force" in caught.value.hint
    assert remove(home, parse_reference("linear@production"), force=True)[0].version == 1


@pytest.mark.parametrize("reference", ["churn@1", "churn"])
def test_deployed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reference: str) -> None:
    shop = furnish(monkeypatch, tmp_path)
    put(shop, "churn@1")
    before = shop.catalogue.model("churn").versions
    with pytest.raises(Conflict, match="churn@1 cannot be removed: churn on prod serves it") as caught:
        remove(shop, parse_reference(reference))
    assert caught.value.hint == "modelyard destroy churn --to prod, or add --force"
    assert shop.catalogue.model("churn").versions == before
    destroy.destroy(destroy.look(shop, "churn", "prod")[0], quiet)
    assert remove(shop, parse_reference(reference))[0].version == 1


def test_deployed_and_told_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shop = furnish(monkeypatch, tmp_path)
    put(shop, "churn@1")
    assert [version.version for version in remove(shop, parse_reference("churn@1"), force=True)] == [1]


def test_old_bytes_that_nothing_needs_go(home: Home) -> None:
    keep = publish(home, linear_bundle("keep"))
    publish(home, linear_bundle(slope=5.0))
    blobs = list((home.settings.blobs / "sha256").iterdir())
    for path in blobs:
        os.utime(path, (1.0, 1.0))
    remove(home, parse_reference("linear"))
    kept = home.artifacts.read(keep.digest).manifest
    assert {path.name for path in (home.settings.blobs / "sha256").iterdir()} == {
        keep.digest,
        *(entry.sha256 for entry in kept.files.values()),
    }


def test_a_damaged_neighbour_does_not_stop_it(home: Home) -> None:
    damaged = publish(home, linear_bundle("damaged"))
    publish(home, linear_bundle())
    (home.settings.blobs / "sha256" / damaged.digest).write_bytes(b"")
    remove(home, parse_reference("linear"))
    assert [model.name for model in home.catalogue.models()] == ["damaged"]

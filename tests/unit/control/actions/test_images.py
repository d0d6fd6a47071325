"""Images of deployments: named by digest, brought once, the same when they are made again."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from modelyard.control.actions import images
from modelyard.control.actions.home import Home
from modelyard.control.actions.images import Making
from modelyard.core.errors import Conflict, InvalidRequest
from modelyard.core.release import Shipped
from modelyard.ship.packages import Packed
from tests.targets._workshop import draft, furnish, quiet, site
from tests.targets.twin import Options, Twin

PACKED = Packed(digest="sha256:1", size_bytes=1, image_id="sha256:2")


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    return furnish(monkeypatch, tmp_path)


def test_an_image_is_named_as_its_target_knows_it(tmp_path: Path) -> None:
    assert images.name_of(Twin(Options(), tmp_path), "churn", PACKED) == "sha256:2"
    far = Twin(Options(repository="registry.example/ml/"), tmp_path)
    assert images.name_of(far, "churn", PACKED) == "registry.example/ml/churn@sha256:1"


def test_a_target_that_names_no_registry_says_how_to(tmp_path: Path) -> None:
    far = Twin(Options(repository="x"), tmp_path)
    far.repository = ""
    with pytest.raises(InvalidRequest, match="where images are pushed") as caught:
        images.name_of(far, "churn", PACKED)
    assert "repository=" in caught.value.hint


def test_a_bundle_has_an_address_of_its_own(tmp_path: Path) -> None:
    thin = Twin(Options(fetches="oci://registry.example/ml/"), tmp_path)
    model = Shipped(name="churn", version=7, digest="0" * 64)
    assert images.address_of(thin, model) == "oci://registry.example/ml/churn-bundle:7"


def test_what_the_engine_has_is_not_made_again(shop: Home) -> None:
    release = draft(shop).release
    said: list[str] = []
    images.deliver(shop, site(shop).target, release, Making(), said.append)
    assert said == ["an image is made", "the image is loaded into docker"]
    said.clear()
    images.deliver(shop, site(shop).target, release, Making(), said.append)
    assert said == []


def test_what_becomes_another_image_is_not_loaded(shop: Home, tmp_path: Path) -> None:
    release = msgspec.structs.replace(draft(shop).release, image="sha256:other")
    with pytest.raises(Conflict, match="cannot be made again") as caught:
        images.deliver(shop, site(shop).target, release, Making(), quiet)
    assert caught.value.hint.endswith("modelyard deploy churn@3 --to prod --name churn")
    assert list((tmp_path / "engine").iterdir()) == []

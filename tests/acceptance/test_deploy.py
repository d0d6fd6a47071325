"""Images and bundles reach a target through a registry: real images, a real registry, and a twin that runs nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec
import pytest

from modelyard.control.actions import deploy, keys, rollback, targets
from modelyard.control.actions.deploy import Draft, Order
from modelyard.control.actions.home import Home, open_home
from modelyard.control.actions.images import Making
from modelyard.control.actions.publish import publish
from modelyard.control.actions.rollouts import Site
from modelyard.core.errors import Conflict, RegistryRefused
from modelyard.core.identity import parse_scope
from modelyard.core.imagename import parse_image
from modelyard.core.release import Release
from modelyard.core.settings import Settings
from modelyard.guard.grant import Grant
from modelyard.ship import targets as door
from modelyard.ship.carriers import open_carrier
from modelyard.store.distribution import Repository
from tests.containers import CACHE, Registry, base_layout
from tests.models import linear_bundle


@dataclass
class Yard:
    """A home, and a registry that its targets take images from."""

    home: Home
    host: str
    told: list[str]

    def draft(self, model: str, target: str = "prod", base: str = "") -> Draft:
        order = Order(references=(model,), target=target, making=Making(base=base or f"oci:{base_layout()}"))
        return deploy.draft(self.home, order, self.told.append)

    def put(self, model: str, target: str = "prod") -> Release:
        self.told.clear()
        return deploy.deploy(self.draft(model, target), self.told.append)

    def pushed(self) -> int:
        return sum("is pushed" in line for line in self.told)

    def repository(self, image: str) -> Repository:
        return Repository(parse_image(image), self.home.settings.network)


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    base_layout()
    folder = tmp_path_factory.mktemp("yard")
    with pytest.MonkeyPatch.context() as patch, Registry() as registry:
        patch.setitem(door.TARGETS, "twin", "tests.targets.twin")
        home = open_home(Settings(home=folder / "home", cache=CACHE))
        for slope in (1.0, 2.0):
            publish(home, linear_bundle("churn", slope=slope))
        keys.create(home, Grant(name="shop", scopes=frozenset({parse_scope("model:*:predict")})))
        targets.add(home, "prod", "twin", {"repository": f"{registry.host}/ml"})
        targets.add(home, "thin", "twin", {"repository": f"{registry.host}/ml", "fetches": f"oci://{registry.host}/ml"})
        yield Yard(home, registry.host, [])


def test_a_plan_pushes_nothing(yard: Yard) -> None:
    planned = yard.draft("churn@1")
    assert planned.release.image.startswith(f"{yard.host}/ml/churn@sha256:")
    assert yard.repository(planned.release.image).head(parse_image(planned.release.image).digest) == ""


def test_an_image_is_pushed_once_and_found_by_its_digest(yard: Yard) -> None:
    release = yard.put("churn@1")
    assert yard.pushed() == 1
    manifest = json.loads(yard.repository(release.image).manifest().raw)
    assert manifest["layers"]
    yard.put("churn@2")
    assert yard.pushed() == 1
    way = rollback.look(yard.home, "churn", "prod")
    yard.told.clear()
    back = rollback.rollback(way, yard.told.append)
    assert (back.image, yard.pushed()) == (release.image, 0)


def test_an_image_that_is_gone_is_made_again_and_is_the_same(yard: Yard) -> None:
    release = yard.put("churn@2")
    yard.repository(release.image).delete(parse_image(release.image).digest)
    yard.put("churn@1")
    way = rollback.look(yard.home, "churn", "prod")
    assert way.release.image == release.image
    found = [yard.draft("churn@2").release.image, release.image]
    assert found[0] == found[1]
    yard.put("churn@2")
    assert yard.pushed() == 1
    assert yard.repository(release.image).head(parse_image(release.image).digest)


def test_where_models_are_fetched_the_image_has_none_and_is_the_same_for_all(yard: Yard) -> None:
    planned = yard.draft("churn@1", "thin")
    one = yard.put("churn@1", "thin")
    assert planned.release.image == one.image
    assert yard.pushed() == 2  # the image, and the bundle
    (model,) = one.models
    assert model.source.startswith(f"oci://{yard.host}/ml/churn-bundle@sha256:")
    assert open_carrier(model.source, yard.home.settings.network).find().digest == model.digest
    two = yard.put("churn@2", "thin")
    assert two.image == one.image
    assert two.models[0].source != model.source
    same = yard.draft("churn@2", "thin")
    assert not same.changes
    site = Site(yard.home, targets.known(yard.home, "thin"), "churn")
    assert site.target.status("churn").release == 2


def test_a_registry_that_is_down_leaves_nothing_begun(yard: Yard) -> None:
    targets.add(yard.home, "away", "twin", {"repository": "127.0.0.1:9/ml"})
    with pytest.raises(RegistryRefused):
        yard.put("churn@1", "away")
    site = Site(yard.home, targets.known(yard.home, "away"), "churn")
    assert site.history().records == ()
    assert targets.deployments(yard.home, "away") == []


def test_an_image_that_becomes_another_one_is_not_passed_off_as_the_same(yard: Yard) -> None:
    drafted = yard.draft("churn@1", "thin")
    site = Site(yard.home, targets.known(yard.home, "thin"), "churn")
    other = str(parse_image(drafted.release.image).at("sha256:" + "0" * 64))
    release = msgspec.structs.replace(drafted.release, image=other)
    yard.told.clear()
    with pytest.raises(Conflict, match="cannot be made again"):
        deploy.deploy(replace(drafted, release=release), yard.told.append)
    assert yard.pushed() == 0
    assert site.history().under_way is None

"""What is taken out of the registry for an image, and which keys go with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.control.actions import encrypt, keys
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.control.actions.shipment import NO_MODEL, access, access_digest, prepare, taken_out
from modelyard.core.errors import CorruptBundle, InvalidName, InvalidRequest, NotFound, Untrusted
from modelyard.core.identity import Permission, Verb, parse_scope
from modelyard.core.release import Shipped
from modelyard.core.trust import Policy
from modelyard.guard import peppers
from modelyard.guard.grant import Grant
from modelyard.guard.keytable import KeyTable
from modelyard.model.bundle import open_bundle
from modelyard.ship import layout
from modelyard.store.volatile import lies_in_memory
from tests.models import linear_bundle


def key(home: Home, name: str, *scopes: str) -> str:
    return keys.create(home, Grant(name=name, scopes=frozenset(map(parse_scope, scopes)))).text


def test_a_shipment_has_verified_bundles_and_paths_of_a_container(home: Home) -> None:
    publish(home, linear_bundle("churn"))
    second = publish(home, linear_bundle("churn", slope=3.0))
    shipment = prepare(home, ["churn"])
    assert (shipment.name, shipment.label) == ("churn", "churn@2")
    assert open_bundle(shipment.bundles[second.digest], digest=second.digest).manifest.name == "churn"
    (model,) = shipment.plan.models
    assert [each.path for each in model.versions] == [str(layout.BUNDLES / second.digest)]
    assert shipment.plan.access.keys == str(layout.ACCESS / layout.KEYS)
    assert str(home.settings.home) not in shipment.plan.to_bytes().decode()


def test_the_same_references_are_the_same_shipment(home: Home) -> None:
    publish(home, linear_bundle("churn"))
    publish(home, linear_bundle("price"))
    one, two = (prepare(home, order, name="shop") for order in (["churn", "price"], ["price", "churn"]))
    assert one == two
    assert one.label == "churn@1, price@1"


def test_several_models_need_a_name_and_none_is_an_image_without_a_model(home: Home) -> None:
    publish(home, linear_bundle("churn"))
    publish(home, linear_bundle("price"))
    with pytest.raises(InvalidRequest, match="churn, price together needs a name"):
        prepare(home, ["churn", "price"])
    with pytest.raises(InvalidName):
        prepare(home, ["churn"], name="Not_A_Label")
    empty = prepare(home, [], extras=["clouds", "clouds"])
    assert (empty.name, empty.label, empty.bundles, empty.extras) == (NO_MODEL, "no model", {}, ("clouds",))


def test_what_is_not_there_damaged_or_unsigned_makes_no_shipment(home: Home) -> None:
    with pytest.raises(NotFound):
        prepare(home, ["churn"])
    version = publish(home, linear_bundle("churn"))
    with pytest.raises(Untrusted):
        prepare(home, ["churn"], signatures=Policy.ENFORCE)
    for path in home.settings.blobs.rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            path.write_bytes(b"x")
    with pytest.raises(CorruptBundle, match=version.digest[:12]):
        prepare(home, ["churn"])


def test_only_keys_that_are_of_use_there_go_along(home: Home) -> None:
    key(home, "mine", "model:churn:predict", "model:secret-*:predict")
    key(home, "all", "model:*:predict")
    key(home, "others", "model:price:predict")
    key(home, "prometheus", "server:metrics")
    found = access(home, [Shipped(name="churn", version=1, digest="0" * 64)])
    table = KeyTable.from_bytes(found[layout.KEYS])
    assert {one.name: one.scopes for one in table.keys} == {
        "mine": ("model:churn:predict",),
        "all": ("model:*:predict",),
        "prometheus": ("server:metrics",),
    }
    assert b"model:secret-" not in b"".join(found.values())
    without_models = KeyTable.from_bytes(access(home, [])[layout.KEYS])
    assert {one.name for one in without_models.keys} == {"mine", "all", "others", "prometheus"}


def test_peppers_are_files_that_a_server_reads(home: Home, tmp_path: Path) -> None:
    from modelyard.guard.keyring import load

    text = key(home, "mine", "model:churn:predict")
    keys.renew_pepper(home)  # a newer one, which no key needs yet
    found = access(home, [Shipped(name="churn", version=1, digest="0" * 64)])
    for name, raw in found.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(raw)
    assert peppers.peppers(tmp_path / layout.PEPPERS).keys() == {1}
    with home.database.read() as connection:
        granted = load(connection.execute).find("mine")
    assert granted.id in text
    assert granted.grant.scopes == {parse_scope("model:churn:predict")}
    assert Permission(Verb.PREDICT, "churn").scope in granted.grant.scopes


def test_the_digest_of_access_changes_with_the_keys(home: Home) -> None:
    models = [Shipped(name="churn", version=1, digest="0" * 64)]
    key(home, "mine", "model:churn:predict")
    before = access_digest(access(home, models))
    key(home, "others", "model:price:predict")
    assert access_digest(access(home, models)) == before
    keys.revoke(home, "mine")
    assert access_digest(access(home, models)) != before
    assert access_digest({"a": b"bc"}) != access_digest({"ab": b"c"})


def test_what_is_encrypted_at_rest_lies_in_memory_while_an_image_is_made(home: Home) -> None:
    version = publish(home, linear_bundle("churn"))
    with taken_out(home, lambda: prepare(home, ["churn"])) as shipment:
        assert not lies_in_memory(shipment.bundles[version.digest]) or lies_in_memory(home.settings.home)
    encrypt.turn_on(home)
    with taken_out(home, lambda: prepare(home, ["churn"])) as shipment:
        place = shipment.bundles[version.digest]
        assert lies_in_memory(place)
        assert open_bundle(place, digest=version.digest).manifest.name == "churn"
    assert not place.exists()

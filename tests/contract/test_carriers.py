"""What every carrier promises; run on each backend of the door, with a real registry and real object stores."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from modelyard.core.errors import CorruptBundle, InvalidRequest, ModelyardError, NotFound, RegistryRefused
from modelyard.core.manifest import CARD, MANIFEST, MODEL
from modelyard.core.network import Network
from modelyard.model import golden
from modelyard.model.bundle import Bundle, open_bundle, seal
from modelyard.model.runtime import load
from modelyard.ship.carriers import CARRIERS, Carrier, open_carrier
from tests.clouds import CLOUDS, Cloud
from tests.containers import Registry
from tests.models import linear_bundle

#: Opens an address at one place, with this name and this tag or digest: ``churn:7``.
Opener = Callable[[str], Carrier]


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    with Registry() as found:
        yield found


@pytest.fixture(params=["oci", "file", *CLOUDS])
def place(request: pytest.FixtureRequest, tmp_path: Path, cloud: Callable[[str], Cloud]) -> Opener:
    """A place of each kind where nothing is yet."""
    fresh, network = secrets.token_hex(4), Network()
    if request.param == "oci":
        base = f"oci://{request.getfixturevalue('registry').host}/{fresh}"
    elif request.param == "file":
        base = (tmp_path / "share").as_uri()
    else:
        found = cloud(request.param)
        base, network = found.url(fresh), found.network
    return lambda name: open_carrier(name if "://" in name else f"{base}/{name}", network)


def signed(bundle: Bundle, signature: bytes = b'{"payload": ""}') -> Bundle:
    return replace(bundle, signature=signature)


def same(found: Bundle, bundle: Bundle) -> bool:
    return (found.digest, dict(found.files), found.signature) == (bundle.digest, dict(bundle.files), bundle.signature)


def test_every_carrier_is_run() -> None:
    assert {"oci", "file", *CLOUDS} == CARRIERS.keys() - ({"az"} - CLOUDS.keys())


@pytest.mark.parametrize("signature", [None, b'{"payload": ""}'])
def test_what_is_pushed_is_found(place: Opener, signature: bytes | None) -> None:
    bundle = replace(linear_bundle(), signature=signature)
    address = place("churn:7").push(bundle)
    for found in (place("churn:7").find(), place(address).find()):
        assert same(found.bundle(), bundle)
        assert found.address == address
        assert found.manifest.to_bytes() == bundle.manifest.to_bytes()


def test_it_is_laid_out_as_a_folder(place: Opener, tmp_path: Path) -> None:
    bundle = signed(linear_bundle())
    place("churn:7").push(bundle)
    folder = tmp_path / "out"
    folder.mkdir()
    place("churn:7").find().write(folder)
    assert same(open_bundle(folder, digest=bundle.digest), bundle)


def test_it_answers_as_before(place: Opener) -> None:
    bundle = linear_bundle(slope=3.0)
    place("churn:7").push(bundle)
    rows = [{"feature": 2.0}, {"feature": -7.5}]
    before, after = (golden.record(load(each), rows) for each in (bundle, place("churn:7").find().bundle()))
    assert before == after
    assert before.outputs["prediction"] == [6.0, -22.5]


def test_the_same_bundle_has_the_same_address(place: Opener) -> None:
    first, again = place("churn:7").push(linear_bundle()), place("churn:7").push(linear_bundle())
    other = place("churn:stable").push(linear_bundle())
    assert first == again == other
    assert place("churn:7").push(linear_bundle(slope=5.0)) != first


def test_a_tag_moves_and_what_it_meant_stays(place: Opener) -> None:
    assert place("churn:7").standing() == ""
    before = place("churn:7").push(linear_bundle())
    assert place("churn:7").standing() == before
    after = place("churn:7").push(linear_bundle(slope=5.0))
    assert place("churn:7").standing() == after != before
    assert same(place(before).find().bundle(), linear_bundle())
    assert same(place("churn:7").find().bundle(), linear_bundle(slope=5.0))


def test_a_signature_may_come_later(place: Opener) -> None:
    place("churn:7").push(linear_bundle())
    place("churn:7").push(signed(linear_bundle()))
    assert same(place("churn:7").find().bundle(), signed(linear_bundle()))


def test_what_is_not_there_is_told_with_what_is(place: Opener) -> None:
    with pytest.raises(NotFound) as caught:
        place("churn:7").find()
    assert "push" in caught.value.hint
    place("churn:7").push(linear_bundle())
    place("churn:stable").push(linear_bundle())
    with pytest.raises(NotFound, match="'8'") as caught:
        place("churn:8").find()
    assert caught.value.facts["known"] == ["7", "stable"]
    with pytest.raises(NotFound):
        place(f"churn@sha256:{'0' * 64}").find()


def test_a_digest_is_not_chosen(place: Opener) -> None:
    with pytest.raises(InvalidRequest, match="digest"):
        place(f"churn@sha256:{'0' * 64}").push(linear_bundle())


def test_a_large_bundle_goes_and_comes(place: Opener) -> None:
    card = secrets.token_bytes(9 << 20)
    plain = linear_bundle()
    bundle = seal(plain.manifest, {**plain.files, CARD: card})
    place("churn:7").push(bundle)
    assert same(place("churn:7").find().bundle(), bundle)


def test_a_bundle_that_names_strangers_is_not_believed(place: Opener) -> None:
    plain = linear_bundle()
    files = {**plain.manifest.files, "../evil": plain.manifest.files[MODEL]}
    evil = Bundle(msgspec.structs.replace(plain.manifest, files=files), {**plain.files, "../evil": plain.files[MODEL]})
    place("churn:7").push(evil)
    with pytest.raises(CorruptBundle, match="stranger"):
        place("churn:7").find()


def test_a_bundle_whose_files_lie_is_not_believed(place: Opener, tmp_path: Path) -> None:
    plain = linear_bundle()
    entry = msgspec.structs.replace(plain.manifest.files[MODEL], size_bytes=7)
    lying = Bundle(msgspec.structs.replace(plain.manifest, files={**plain.manifest.files, MODEL: entry}), plain.files)
    with suppress(ModelyardError):  # a registry may see through it, too
        place("churn:7").push(lying)
    with pytest.raises((CorruptBundle, NotFound, RegistryRefused)):
        place("churn:7").find().write(tmp_path)
    assert not (tmp_path / MANIFEST).exists()


@pytest.mark.parametrize("url", ["", "churn", "gopher://x/churn:7", "oci:churn", "s3:/b/x", "://x"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="no address of a bundle"):
        open_carrier(url, Network())


@pytest.mark.parametrize(
    "url",
    ["oci://churn:7", "oci://r.example/../x", "oci://r.example/x?y", "oci://user@r.example/x", "file://host/a/x:1",
     "file:///a/x?y", "file:///a/x:", "s3://b/x:1/y", "s3://B_/x:1", "s3://bucket", "s3://bucket/../x:1",
     "s3://bucket/a/.b/x:1", "s3://user@bucket/x:1", "gs://bucket/p/x@sha256:12", "az://c/p/x:a b", "s3://bucket/X:1",
     f"file:///{'a' * 2000}/x:1"],
)  # fmt: skip
def test_what_is_nearly_an_address_is_refused(url: str) -> None:
    with pytest.raises(ModelyardError) as caught:
        open_carrier(url, Network())
    assert caught.value.kind == "invalid"

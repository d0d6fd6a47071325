"""The OCI artifact of a bundle: the same for everybody, and not believed when it is not what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from modelyard.core.errors import CorruptBundle, InvalidRequest, ModelyardError, RegistryRefused
from modelyard.core.manifest import MANIFEST, MODEL, SIGNATURE
from modelyard.core.network import Network
from modelyard.model.bundle import Bundle, sha256
from modelyard.ship.carriers import open_carrier
from modelyard.ship.carriers.oci import ARTIFACT, CONFIG, DIGEST, TITLE, artifact
from modelyard.ship.parcel import Parcel
from modelyard.store.distribution import OCI_MANIFEST
from tests.liar import Asked, Liar, Said
from tests.models import linear_bundle

BUNDLE = replace(linear_bundle(), signature=b"signed")


def test_it_is_what_others_read() -> None:
    made = json.loads(artifact(BUNDLE))
    assert (made["schemaVersion"], made["mediaType"], made["artifactType"]) == (2, OCI_MANIFEST, ARTIFACT)
    assert made["config"] == {
        "mediaType": CONFIG,
        "digest": f"sha256:{BUNDLE.digest}",
        "size": len(BUNDLE.manifest.to_bytes()),
    }
    titles = [layer["annotations"][TITLE] for layer in made["layers"]]
    assert titles == sorted({*BUNDLE.files, MANIFEST, SIGNATURE})
    assert made["annotations"][TITLE] == "linear"
    assert made["annotations"][DIGEST] == f"sha256:{BUNDLE.digest}"


def test_it_is_a_function_of_bundle_and_signature() -> None:
    again = Bundle(BUNDLE.manifest, dict(reversed(BUNDLE.files.items())), b"signed")
    assert artifact(again) == artifact(BUNDLE)
    assert artifact(linear_bundle()) != artifact(BUNDLE)
    assert sha256(artifact(linear_bundle())) == sha256(artifact(linear_bundle()))


def pulled(change: Callable[[dict[str, Any]], Any], blobs: dict[str, bytes] | None = None) -> Parcel:
    """What is found where the artifact's manifest was changed so."""
    made = json.loads(artifact(BUNDLE))
    changed = change(made)
    raw = changed if isinstance(changed, bytes) else json.dumps(made).encode()
    contents = {sha256(each): each for each in (*BUNDLE.files.values(), BUNDLE.manifest.to_bytes(), b"signed")}

    def answers(asked: Asked) -> Said:
        if "/manifests/" in asked.path:
            return Said(headers={"Content-Type": OCI_MANIFEST}, body=raw)
        digest = asked.path.rpartition("sha256:")[2]
        found = {**contents, **(blobs or {})}.get(digest)
        return Said(404) if found is None else Said(body=found)

    with Liar(answers) as liar:
        return open_carrier(f"oci://{liar.host}/ml/linear:1", Network()).find()


def layer(title: str, raw: bytes = b"x") -> dict[str, Any]:
    return {"mediaType": "x", "digest": f"sha256:{sha256(raw)}", "size": len(raw), "annotations": {TITLE: title}}


def test_unchanged_it_is_found() -> None:
    assert pulled(lambda made: None).digest == BUNDLE.digest
    assert pulled(lambda made: made["layers"].pop()).signature is None


@pytest.mark.parametrize("title", ["../x", "/etc/passwd", "model.onnx/..", "", "Model.onnx", "model.onnx\n", "x.py"])
def test_titles_are_names_of_a_bundle(title: str) -> None:
    with pytest.raises(CorruptBundle, match="stranger"):
        pulled(lambda made: made["layers"].append(layer(title)))


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made["layers"].append(made["layers"][0]),
        lambda made: made["layers"].clear(),
        lambda made: made["layers"].append(layer("profile.json")),
        lambda made: made["layers"][2].update(size=1),
        lambda made: made["layers"][2].update(digest=f"sha256:{'0' * 64}"),
        lambda made: made["layers"][2].update(digest="sha256:../../x"),
        lambda made: made["config"].update(digest="../x"),
        lambda made: made.pop("layers"),
        lambda made: made.update(layers=7),
        lambda made: b"",
        lambda made: b"[" * 100_000,
        lambda made: b"\xff",
    ],
)
def test_what_does_not_agree_is_not_believed(change: Callable[[dict[str, Any]], Any]) -> None:
    with pytest.raises(CorruptBundle):
        pulled(change)


def test_other_blobs_are_not_believed() -> None:
    with pytest.raises(RegistryRefused):
        pulled(lambda made: None, {BUNDLE.digest: b"x" * len(BUNDLE.manifest.to_bytes())})
    with pytest.raises(RegistryRefused):
        pulled(lambda made: None, {sha256(b"signed"): b"forged"})


@pytest.mark.parametrize("size", [1 << 40, -1])
def test_sizes_are_bounded(size: int) -> None:
    for where in ("config", "signature"):

        def change(made: dict[str, Any], where: str = where) -> None:
            (made["config"] if where == "config" else made["layers"][-1]).update(size=size)

        with pytest.raises(ModelyardError):
            pulled(change)


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.pop("artifactType"),
        lambda made: made.update(artifactType="application/vnd.other"),
        lambda made: made["config"].update(mediaType="application/vnd.oci.image.config.v1+json"),
        lambda made: made.pop("config"),
    ],
)
def test_an_image_is_no_bundle(change: Callable[[dict[str, Any]], Any]) -> None:
    with pytest.raises(InvalidRequest, match="is no bundle of Modelyard"):
        pulled(change)


def test_a_host_comes_first() -> None:
    with Liar(lambda _: Said(404)) as liar, pytest.raises(ModelyardError):
        open_carrier(f"oci://{liar.host}/x", Network(), tag="7").find()
    assert liar.seen[0].path == "/v2/x/manifests/7"
    assert MODEL in BUNDLE.files

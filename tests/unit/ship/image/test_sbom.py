"""The bill of materials: valid by CycloneDX's own rules, complete, the same every time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import modelyard
from modelyard.core.plan import Plan
from modelyard.core.release import Shipped
from modelyard.ship.image import ownwheel, wheels
from modelyard.ship.image.sbom import Contents, bill
from modelyard.ship.shipment import Shipment
from tests.containers import CACHE
from tests.models import linear_bundle, mixed_bundle

DIGEST = "sha256:" + "ab" * 32
STANZA = "Package: libc6\nArchitecture: amd64\nSource: glibc\nVersion: 2.36-9+deb12u14"


@pytest.fixture
def contents(tmp_path: Path) -> Contents:
    models, places = [], {}
    for number, bundle in enumerate((linear_bundle(), mixed_bundle()), 3):
        places[bundle.digest] = tmp_path / bundle.digest
        places[bundle.digest].mkdir()
        bundle.write(places[bundle.digest])
        models.append(Shipped(name=bundle.manifest.name, version=number, digest=bundle.digest))
    return Contents(
        shipment=Shipment("shop", tuple(models), places, Plan(models=())),
        version="7",
        wheels=(*wheels.fetch(CACHE), ownwheel.build(tmp_path / "own")),
        base="registry.example:5000/python:3.11-slim",
        base_digest=DIGEST,
        debian={"libc6": STANZA},
    )


def parts(raw: bytes) -> dict[str, dict[str, Any]]:
    return {part["bom-ref"]: part for part in json.loads(raw)["components"]}


def test_it_is_valid(contents: Contents) -> None:
    check = JsonStrictValidator(SchemaVersion.V1_6)
    assert check.validate_str(bill(contents).decode()) is None
    empty = replace(contents, shipment=Shipment("modelyard", (), {}, Plan(models=())), base_digest="", debian={})
    assert check.validate_str(bill(empty).decode()) is None


def test_everything_is_in_it(contents: Contents) -> None:
    found = parts(bill(contents))
    packages = {ref: part for ref, part in found.items() if ref.startswith("pkg:pypi/")}
    assert len(packages) == len(contents.wheels)
    assert {part["hashes"][0]["content"] for part in packages.values()} == set(map(wheels.digest_of, contents.wheels))
    numpy = next(part for ref, part in packages.items() if ref.startswith("pkg:pypi/numpy@"))
    assert "BSD-3-Clause" in numpy["licenses"][0]["expression"]
    assert found[f"pkg:pypi/modelyard@{modelyard.__version__}"]["licenses"] == [{"expression": "Apache-2.0"}]
    assert sum("licenses" in part for part in packages.values()) >= len(packages) - 1
    libc = found["pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64"]
    assert (libc["name"], libc["version"]) == ("libc6", "2.36-9+deb12u14")
    base = found["base:registry.example:5000/python:3.11-slim"]
    assert base["version"] == DIGEST
    assert base["purl"].startswith("pkg:oci/python@sha256%3Aabab")


def test_models_are_components_with_their_digests(contents: Contents) -> None:
    model = parts(bill(contents))["model:linear@3"]
    bundle = linear_bundle()
    assert model["type"] == "machine-learning-model"
    assert model["hashes"] == [{"alg": "SHA-256", "content": bundle.digest}]
    assert model["modelCard"]["modelParameters"]["task"] == bundle.manifest.task
    files = {part["name"]: part["hashes"][0]["content"] for part in model["components"]}
    assert files == {name: entry.sha256 for name, entry in bundle.manifest.files.items()}


def test_it_is_the_same_every_time_and_another_for_another_image(contents: Contents) -> None:
    one = bill(contents)
    turned = replace(contents, wheels=tuple(reversed(contents.wheels)))
    assert bill(turned) == one
    other = bill(replace(contents, version="8"))
    assert json.loads(one)["serialNumber"] != json.loads(other)["serialNumber"]
    assert "timestamp" not in one.decode()


@pytest.mark.parametrize("base", ["oci:/srv/base", "archive:base.tar", "python:3.11-slim"])
def test_a_base_that_nobody_looked_at_is_named_only(contents: Contents, base: str) -> None:
    part = parts(bill(replace(contents, base=base, base_digest="")))[f"base:{base}"]
    assert part == {"type": "container", "bom-ref": f"base:{base}", "name": base}
    pinned = bill(replace(contents, base=f"python@{DIGEST}", base_digest=""))
    assert parts(pinned)[f"base:python@{DIGEST}"]["version"] == DIGEST

"""Building: what is asked for, what it is called and where it goes, what is recorded. Packing itself is elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import modelyard
from modelyard.control.actions import build as building
from modelyard.control.actions.aliases import set_alias
from modelyard.control.actions.build import Wanted, build
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.core.errors import BuildFailed, Conflict, InvalidRequest, ModelyardError, NotFound, Untrusted
from modelyard.core.reference import parse_reference
from modelyard.core.trust import Policy
from modelyard.model.bundle import open_bundle
from modelyard.ship import layout
from modelyard.ship.deployment import Told
from modelyard.ship.image.labels import version_of
from modelyard.ship.packages import Packed, Recipe
from modelyard.ship.shipment import Shipment
from tests.models import linear_bundle, mixed_bundle

DIGEST = "sha256:" + "12" * 32


class Packer:
    """Stands for a package: keeps what it was given, and says that it is made."""

    def __init__(self) -> None:
        self.given: list[tuple[Shipment, Recipe]] = []
        self.fails: ModelyardError | None = None

    def __call__(self, shipment: Shipment, recipe: Recipe, told: Told) -> Packed:
        told("made")
        for digest, folder in shipment.bundles.items():
            assert open_bundle(folder, digest=digest).digest == digest
        self.given.append((shipment, recipe))
        if self.fails:
            raise self.fails
        return Packed(path=recipe.output, tag=recipe.tag, digest=DIGEST, size_bytes=7, pushed=recipe.push)


@pytest.fixture
def packer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Packer:
    packer = Packer()
    monkeypatch.setattr(building, "pack", lambda kind: packer)
    monkeypatch.chdir(tmp_path)
    return packer


@pytest.fixture
def stocked(home: Home) -> Home:
    """linear@1, linear@2 and mixed@1."""
    for bundle in (linear_bundle(), linear_bundle(slope=3.0), mixed_bundle()):
        publish(home, bundle)
    return home


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return Recipe(cache=tmp_path / "cache")


def records(home: Home) -> list[tuple[str, str, dict[str, str]]]:
    with home.database.read() as connection:
        query = "SELECT object, outcome, detail FROM audit WHERE action = 'model.build' ORDER BY sequence"
        return [(name, outcome, json.loads(detail)) for name, outcome, detail in connection.execute(query)]


def test_the_usual_names(stocked: Home, packer: Packer, recipe: Recipe) -> None:
    for form, output in (("image", None), ("oci", Path("dist/linear-2.tar")), ("context", Path("dist/linear-2"))):
        built = build(stocked, Wanted(references=["linear"], format=form), recipe, print)
        made = packer.given[-1][1]
        assert (made.tag, made.output) == ("linear:2", output)
        assert (str(built.shipment.models[0]), built.packed.digest, built.uncovered) == ("linear@2", DIGEST, False)
        assert made.cache == recipe.cache
    assert not Path("dist").exists()  # nothing came to lie in it


def test_what_is_served_is_planned_as_in_a_container(stocked: Home, packer: Packer, recipe: Recipe) -> None:
    set_alias(stocked, parse_reference("linear@1"), "production")
    build(stocked, Wanted(references=["linear"]), recipe, print)
    shipment = packer.given[-1][0]
    planned = shipment.plan.models[0]
    assert (planned.default, planned.aliases) == (1, {"production": 1})
    assert planned.versions[0].path == f"{layout.BUNDLES}/{planned.versions[0].digest}"
    assert shipment.plan.access.keys == "/run/modelyard/access/keys.json"
    assert not any(folder.exists() for folder in shipment.bundles.values())  # they were lent for the build


def test_several_models_need_a_name_and_are_told_apart(stocked: Home, packer: Packer, recipe: Recipe) -> None:
    with pytest.raises(InvalidRequest, match="linear, mixed together needs a name") as caught:
        build(stocked, Wanted(references=["linear", "mixed"]), recipe, print)
    assert "--name" in caught.value.hint
    first = build(stocked, Wanted(references=["linear@1", "mixed"], name="shop"), recipe, print)
    other = build(stocked, Wanted(references=["linear@2", "mixed"], name="shop"), recipe, print)
    assert version_of(first.shipment) != version_of(other.shipment)
    assert packer.given[-1][1].tag == f"shop:{version_of(other.shipment)}"


def test_no_model_is_an_image_of_modelyard(home: Home, packer: Packer, recipe: Recipe) -> None:
    built = build(home, Wanted(references=[], extras=["convert"]), recipe, print)
    assert (packer.given[0][1].tag, built.shipment.models) == (f"modelyard:{modelyard.__version__}", ())
    assert built.shipment.extras == ("convert",)


@pytest.mark.parametrize(
    ("tag", "becomes"),
    [("shop:blue", "shop:blue"), ("r.example/ml/x", "r.example/ml/x:2"), ("a:b:c", None), ("-v", None)],
)
def test_a_tag_is_taken_as_it_is(stocked: Home, packer: Packer, recipe: Recipe, tag: str, becomes: str | None) -> None:
    if becomes is None:
        with pytest.raises(InvalidRequest, match="no name of an image"):
            build(stocked, Wanted(references=["linear"]), replace(recipe, tag=tag), print)
        assert packer.given == []
    else:
        build(stocked, Wanted(references=["linear"]), replace(recipe, tag=tag), print)
        assert packer.given[0][1].tag == becomes


def test_each_build_is_recorded(stocked: Home, packer: Packer, recipe: Recipe) -> None:
    build(stocked, Wanted(references=["linear"], format="oci"), replace(recipe, push="r.example/linear"), print)
    packer.fails = BuildFailed(what="the image does not work: it ended")
    with pytest.raises(BuildFailed):
        build(stocked, Wanted(references=["linear@1"]), recipe, print)
    with pytest.raises(NotFound):
        build(stocked, Wanted(references=["nobody"]), recipe, print)
    told = {"format": "oci", "models": "linear@2", "tag": "linear:2", "digest": DIGEST, "pushed": "r.example/linear"}
    kept = [("linear", "done"), ("linear@1", "failed"), ("nobody", "failed")]
    assert [(name, outcome) for name, outcome, _ in records(stocked)] == kept
    assert records(stocked)[0][2] == told


def test_unsigned_versions_are_refused_where_signatures_are_enforced(
    stocked: Home, packer: Packer, recipe: Recipe
) -> None:
    with pytest.raises(Untrusted):
        build(stocked, Wanted(references=["linear"], signatures=Policy.ENFORCE), recipe, print)
    assert packer.given == []


def test_files_of_others_are_not_touched(stocked: Home, packer: Packer, recipe: Recipe, tmp_path: Path) -> None:
    letter = tmp_path / "letter.tar"
    letter.write_text("Dear all")
    with pytest.raises(Conflict, match="no archive of an image") as caught:
        build(stocked, Wanted(references=["linear"], format="oci"), replace(recipe, output=letter), print)
    assert "-o PATH" in caught.value.hint
    assert letter.read_text() == "Dear all"
    assert packer.given == []


def test_an_output_without_a_folder_for_it(stocked: Home, packer: Packer, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no folder 'nowhere'") as caught:
        build(
            stocked,
            Wanted(references=["linear"], format="oci"),
            replace(recipe, output=tmp_path / "nowhere" / "x.tar"),
            print,
        )
    assert caught.value.hint.endswith(f": mkdir -p {tmp_path / 'nowhere'}")
    with pytest.raises(InvalidRequest, match="not written to 'x'") as caught:
        build(stocked, Wanted(references=["linear"]), replace(recipe, output=tmp_path / "x"), print)
    assert "--format oci" in caught.value.hint

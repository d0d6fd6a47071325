"""Models, versions and aliases in a real database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.core.errors import Conflict, InvalidName, NotFound
from modelyard.core.manifest import FileEntry, Lineage, Manifest, Source, Task
from modelyard.core.metric import Metric
from modelyard.core.reference import parse_reference, suggest_name
from modelyard.registry.catalogue import Catalogue
from modelyard.store.database import Database
from tests.models import linear_signature


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return Catalogue(Database.open(tmp_path / "modelyard.db"))


def manifest(name: str = "churn", mark: str = "", **facts: Any) -> Manifest:
    fields: dict[str, Any] = {
        "task": Task.REGRESSION,
        "signature": linear_signature(),
        "files": {"model.onnx": FileEntry(sha256="0" * 64, size_bytes=1000)},
        "source": Source(format="onnx"),
        "lineage": Lineage(notes=(mark,)),
    }
    return Manifest(name=name, **(fields | facts))


def numbers(catalogue: Catalogue, name: str = "churn") -> list[int]:
    return [version.version for version in catalogue.versions(name)]


def test_versions_count_from_one_for_each_name(catalogue: Catalogue) -> None:
    published = [catalogue.publish(manifest(name, mark)) for name, mark in (("a", "1"), ("a", "2"), ("b", "1"))]
    assert [str(version) for version in published] == ["a@1", "a@2", "b@1"]
    assert [model.name for model in catalogue.models()] == ["a", "b"]


def test_a_version_says_what_its_manifest_said(catalogue: Catalogue) -> None:
    metrics = (
        Metric(name="rmse", value=0.1 + 0.2, baseline=1.5, higher_is_better=False),
        Metric(name="r2", value=0.99),
    )
    document = manifest(metrics=metrics)
    published = catalogue.publish(document)
    (read,) = catalogue.versions("churn")
    assert published.fresh
    assert read == msgspec.structs.replace(published, fresh=False)
    assert read.metrics == metrics
    assert (read.task, read.source_format) == ("regression", "onnx")
    assert read.size_bytes == 1000 + len(document.to_bytes())
    assert read.created_at.tzinfo is UTC
    assert abs(datetime.now(UTC) - read.created_at) < timedelta(seconds=60)


def test_the_same_bundle_again_is_the_same_version(catalogue: Catalogue) -> None:
    first = catalogue.publish(manifest(mark="1"))
    again = catalogue.publish(manifest(mark="1"), aliases=["production"])
    assert (again.version, again.fresh) == (first.version, False)
    assert catalogue.model("churn").aliases == {"production": 1}
    catalogue.publish(manifest(mark="2"))
    assert catalogue.publish(manifest(mark="1")).version == 3, "an older bundle published again is news: a roll-back"


def test_a_number_may_be_asked_for_and_is_never_used_twice(catalogue: Catalogue) -> None:
    asked = [
        catalogue.publish(manifest(mark=str(at)), at_least=at_least).version for at, at_least in enumerate([3, 2, 9])
    ]
    assert asked == [3, 4, 9]
    assert catalogue.publish(manifest(mark="next")).version == 10
    assert catalogue.publish(manifest(mark="next"), at_least=99).version == 10  # the same bundle again
    catalogue.remove_model("churn")
    assert catalogue.publish(manifest(mark="again"), at_least=5).version == 11


def test_a_removed_number_is_never_used_again(catalogue: Catalogue) -> None:
    for mark in "123":
        catalogue.publish(manifest(mark=mark))
    catalogue.remove_version(parse_reference("churn@3"))
    assert catalogue.publish(manifest(mark="4")).version == 4
    assert numbers(catalogue) == [1, 2, 4]
    catalogue.remove_model("churn")
    assert catalogue.models() == []
    assert catalogue.publish(manifest(mark="5")).version == 5


def test_removing_the_last_version_removes_the_model(catalogue: Catalogue) -> None:
    catalogue.publish(manifest())
    catalogue.remove_version(parse_reference("churn"))
    assert catalogue.models() == []
    with pytest.raises(NotFound, match="no model 'churn'"):
        catalogue.versions("churn")


def test_production_is_what_a_bare_name_means(catalogue: Catalogue) -> None:
    for mark in "123":
        catalogue.publish(manifest(mark=mark))
    bare = parse_reference("churn")
    assert catalogue.resolve(bare).version == 3
    catalogue.set_alias(parse_reference("churn@1"), "production")
    assert catalogue.resolve(bare).version == 1
    catalogue.set_alias(parse_reference("churn@latest"), "production")
    assert catalogue.resolve(bare).version == 3
    assert catalogue.remove_alias("churn", "production").version == 3
    assert catalogue.model("churn").aliases == {}


def test_publish_moves_aliases_with_the_version(catalogue: Catalogue) -> None:
    catalogue.publish(manifest(mark="1"), aliases=["production", "canary"])
    catalogue.publish(manifest(mark="2"), aliases=["canary"])
    assert catalogue.model("churn").aliases == {"canary": 2, "production": 1}


def test_publish_is_one_act(catalogue: Catalogue) -> None:
    with pytest.raises(InvalidName):
        catalogue.publish(manifest(), aliases=["good", "Not Good"])
    assert catalogue.models() == []


BAD_NAMES = {
    "linear_regression": "linear-regression",
    "Linear": "linear",
    "my model": "my-model",
    "-churn-": "churn",
    "churn.v2": "churn-v2",
    "../churn": "churn",
    "..": "model",
    "": "model",
    "a/b": "a-b",
    "%2fetc": "2fetc",
    "x" * 64: "x" * 63,
    "x" * 300: "x" * 63,
    "café": "caf",
    "churn\n": "churn",
    "churn\0": "churn",
    "сhurn": "hurn",  # a Cyrillic letter that looks like c
    "模型": "model",
    "A__B--C": "a-b-c",
    "a" * 62 + "_b": "a" * 62,
}


@pytest.mark.parametrize(("name", "fix"), BAD_NAMES.items(), ids=[repr(name)[:20] for name in BAD_NAMES])
def test_bad_names_come_with_their_fix(catalogue: Catalogue, name: str, fix: str) -> None:
    with pytest.raises(InvalidName) as caught:
        catalogue.publish(manifest(name))
    assert caught.value.hint == f"use {fix!r}"
    assert catalogue.models() == []
    assert catalogue.publish(manifest(fix)).name == fix == suggest_name(name)


@pytest.mark.parametrize("name", ["a", "7", "churn", "x" * 63, "a-b", "2024-model", "xn--caf-dma"])
def test_good_names(catalogue: Catalogue, name: str) -> None:
    assert catalogue.publish(manifest(name)).name == name


@pytest.mark.parametrize(
    ("alias", "fix"),
    [
        ("latest", "production"),
        ("7", "v7"),
        ("Prod", "prod"),
        ("blue_green", "blue-green"),
        ("", "model"),
        ("a b", "a-b"),
    ],
)
def test_bad_aliases_come_with_their_fix(catalogue: Catalogue, alias: str, fix: str) -> None:
    catalogue.publish(manifest())
    with pytest.raises(InvalidName) as caught:
        catalogue.set_alias(parse_reference("churn@1"), alias)
    assert caught.value.hint == f"use {fix!r}"
    with pytest.raises(InvalidName):
        catalogue.remove_alias("churn", alias)
    assert catalogue.model("churn").aliases == {}


def test_a_version_in_use_is_not_removed_by_accident(catalogue: Catalogue) -> None:
    catalogue.publish(manifest(mark="1"), aliases=["production"])
    catalogue.publish(manifest(mark="2"))
    for remove in (
        lambda **force: catalogue.remove_version(parse_reference("churn@1"), **force),
        lambda **force: catalogue.remove_model("churn", **force),
    ):
        with pytest.raises(Conflict, match="churn@1 is in use: churn@production points at it") as caught:
            remove()
        assert "modelyard model alias churn@OTHER production" in caught.value.hint
        assert numbers(catalogue) == [1, 2]
    catalogue.remove_version(parse_reference("churn@1"), force=True)
    assert catalogue.model("churn").aliases == {}
    assert numbers(catalogue) == [2]


def test_unknown_names_say_what_there_is(catalogue: Catalogue) -> None:
    with pytest.raises(NotFound) as caught:
        catalogue.resolve(parse_reference("churn"))
    assert "modelyard train" in caught.value.hint
    catalogue.publish(manifest("churn-classifier"))
    with pytest.raises(NotFound) as caught:
        catalogue.resolve(parse_reference("churn-clasifier"))
    assert caught.value.cause == "did you mean 'churn-classifier'?"
    assert caught.value.hint == "modelyard model list"
    with pytest.raises(NotFound, match="no alias 'churn-classifier@canary'"):
        catalogue.remove_alias("churn-classifier", "canary")


def test_digests_are_those_of_versions(catalogue: Catalogue) -> None:
    kept = catalogue.publish(manifest(mark="1"))
    catalogue.publish(manifest("other", mark="1"))
    gone = catalogue.publish(manifest(mark="2"))
    catalogue.remove_version(gone.reference)
    assert catalogue.digests() == {kept.digest, catalogue.versions("other")[0].digest}


def test_fifty_threads_publish_one_name(catalogue: Catalogue) -> None:
    with ThreadPoolExecutor(50) as pool:
        published = list(pool.map(lambda at: catalogue.publish(manifest(mark=str(at))), range(50)))
    assert sorted(version.version for version in published) == list(range(1, 51))
    assert [version.digest for version in catalogue.versions("churn")] == [
        version.digest for version in sorted(published, key=lambda one: one.version)
    ]


def test_fifty_threads_publish_the_same_bundle(catalogue: Catalogue) -> None:
    with ThreadPoolExecutor(50) as pool:
        published = list(pool.map(lambda _: catalogue.publish(manifest()), range(50)))
    assert {version.version for version in published} == {1}
    assert sum(version.fresh for version in published) == 1

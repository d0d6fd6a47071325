"""From a CSV to a published bundle: every family, what the bundle carries, and every table that is refused."""

from datetime import UTC, datetime

import msgspec
import numpy as np
import pandas as pd
import pytest

from modelyard.control.actions.train import assemble, train
from modelyard.core.errors import Diverged, InvalidData, InvalidName, NotFound, UnknownCategory
from modelyard.core.manifest import Task
from modelyard.core.rows import from_columns, from_objects
from modelyard.core.signature import FeatureKind
from modelyard.lab.contract import as_sent
from modelyard.lab.prepare import prepare
from modelyard.lab.recipe import Recipe
from modelyard.lab.train import trainer
from modelyard.model import golden
from modelyard.model.runtime import load
from modelyard.model.table import read_table
from tests.lessons import HOUSES, LINEAR

CASES = [
    ("price", "linear"),
    ("price", "svm"),
    ("price", "forest"),
    ("price", "boosting"),
    ("price", "auto"),
    ("dear", "logistic"),
    ("dear", "svm"),
    ("dear", "auto"),
    ("band", "logistic"),
    ("band", "svm"),
    ("band", "forest"),
    ("band", "boosting"),
    ("rooms", "logistic"),
]


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    """Sixty houses with a number, a truth value, and three bands to learn; none gives the others away."""
    frame = pd.read_csv(HOUSES).head(70)
    rank = frame["price"].rank(pct=True) + np.random.default_rng(0).normal(0, 0.05, len(frame))
    frame["dear"] = np.where(frame["price"].isna(), None, np.where(rank > 0.6, "true", "false"))
    frame["band"] = np.where(rank > 0.66, "high", np.where(rank > 0.33, "middle", "low"))
    path = tmp_path_factory.mktemp("csv") / "houses.csv"
    frame.to_csv(path, index=False)
    return path


def _recipe(target, model, **options):
    others = {"price", "dear", "band"} - {target}
    return Recipe(target=target, model=model, drop=tuple(sorted(others)), **options)


@pytest.mark.parametrize(("target", "model"), CASES)
def test_the_bundle_answers_like_what_was_learnt(home, csv, target, model):
    trained = train(home, csv, _recipe(target, model), name="houses")
    runner = load(trained.bundle)
    assert golden.check(runner, trained.bundle.samples, "houses") == 5
    prepared, pipeline = trained.prepared, trained.learnt.pipeline
    for lesson in prepared.lessons:
        outputs = runner.run(from_columns(runner.signature, as_sent(lesson)))
        answers = outputs[runner.signature.output_index(runner.signature.prediction)].ravel()
        expected = pipeline.predict(lesson.inputs)
        if prepared.task is Task.REGRESSION:
            np.testing.assert_allclose(answers, expected, rtol=1e-5)
        else:
            assert answers.tolist() == expected.tolist()
    assert trained.bundle.manifest.metrics
    assert trained.bundle.manifest.parity.flips == 0


def test_what_the_bundle_carries(home, csv):
    recipe = _recipe("price", "linear", seed=3)
    trained = train(home, csv, recipe, name="houses")
    manifest, bundle = trained.bundle.manifest, trained.bundle
    assert set(bundle.files) == {"model.onnx", "profile.json", "samples.json", "card.md"}
    lineage = manifest.lineage
    assert lineage.data_sha256 == manifest.source.sha256 == read_table(csv).sha256
    assert (lineage.seed, lineage.target, lineage.baseline) == (3, "price", "always the mean")
    assert lineage.data_rows == len(trained.prepared.train)
    assert lineage.parameters["model"] == "linear"
    assert "column house_id left out: an id" in lineage.notes
    assert datetime.fromisoformat(lineage.created_at).tzinfo is not None
    assert (manifest.source.format, manifest.source.sandbox) == ("modelyard-train", "none")
    assert "scikit-learn" in manifest.source.libraries
    assert [one.name for one in manifest.metrics] == ["r2", "rmse", "mae"]
    profile = bundle.profile
    assert profile.rows == len(trained.prepared.train)
    assert set(profile.features) == set(manifest.signature.field_names)
    assert set(profile.features["garden"].categories) == {"true", "false"}
    assert profile.predictions.mean == pytest.approx(
        trained.learnt.pipeline.predict(trained.prepared.lessons[0].inputs).mean()
    )
    assert "always the mean" in bundle.files["card.md"].decode()
    assert home.catalogue.model("houses").latest.digest == bundle.digest


def test_the_signature_is_what_training_saw(home, csv):
    signature = train(home, csv, _recipe("price", "linear"), name="houses").bundle.manifest.signature
    kinds = {feature.name: (feature.kind, feature.nullable) for feature in signature.features}
    assert kinds == {
        "area": (FeatureKind.NUMBER, False),
        "rooms": (FeatureKind.NUMBER, False),
        "built": (FeatureKind.NUMBER, True),
        "district": (FeatureKind.CATEGORY, False),
        "garden": (FeatureKind.BOOLEAN, True),
        "heating": (FeatureKind.CATEGORY, True),
    }


ROW = {"area": 90.0, "rooms": 3, "built": 1990, "district": "hills", "garden": True, "heating": "gas"}


def test_missing_and_unknown_values(home, csv):
    runner = load(train(home, csv, _recipe("price", "linear"), name="houses").bundle)
    gaps = ROW | {"built": None, "garden": None, "heating": None}
    both = runner.run(from_objects(runner.signature, [ROW, gaps]))[0].ravel()
    assert np.isfinite(both).all()
    assert both[0] != both[1]
    with pytest.raises(UnknownCategory):
        from_objects(runner.signature, [ROW | {"district": "moon"}])


def test_unknown_categories_on_request(home, csv):
    runner = load(train(home, csv, _recipe("price", "linear", accept_unknown=True), name="houses").bundle)
    answers = runner.run(from_objects(runner.signature, [ROW | {"district": "moon"}, ROW]))[0].ravel()
    assert np.isfinite(answers).all()
    assert answers[0] != answers[1]


@pytest.mark.parametrize("model", ["linear", "svm", "forest", pytest.param("boosting", marks=pytest.mark.long)])
def test_the_same_seed_is_the_same_bundle(csv, model):
    when = datetime(2026, 1, 2, tzinfo=UTC)

    def digest(seed):
        recipe = _recipe("price", model, seed=seed)
        table = read_table(csv)
        prepared = prepare(table.frame, recipe)
        learnt = trainer(model).train(prepared.lessons[0], recipe)
        return assemble("houses", table, recipe, prepared, learnt, created_at=when).digest

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)


def test_the_articles_example(home):
    recipe = Recipe(target="target", model="linear", solver="gradient")
    trained = train(home, LINEAR, recipe, name="linear-regression")
    runner = load(trained.bundle)
    answer = runner.run(from_objects(runner.signature, [{"feature": 3}]))
    assert answer[0].ravel().tolist() == pytest.approx([6.0], abs=1e-6)
    assert len(trained.prepared.test) == 0
    assert trained.bundle.manifest.metrics == ()
    assert trained.bundle.manifest.lineage.parameters["learnt"]["loss"][0] == [0, 44.0]
    msgspec.json.decode(trained.bundle.manifest.to_bytes())


def test_versions_count_up(home, csv):
    recipe = _recipe("price", "linear")
    versions = [train(home, csv, recipe, name="houses").version.version]
    versions += [train(home, csv, _recipe("price", "linear", seed=2), name="houses").version.version]
    assert versions == [1, 2]


ROWS = "".join(f"{at},{at * at}\n" for at in range(30))
BAD = {
    "empty": ("", {}, InvalidData, "empty"),
    "header only": ("x,y\n", {}, InvalidData, "no rows"),
    "one row": ("x,y\n1,2\n", {}, InvalidData, "at least 5 are needed"),
    "four rows": ("x,y\n1,2\n2,3\n3,4\n4,5\n", {}, InvalidData, "at least 5 are needed"),
    "ragged": ("x,y\n1,2\n1,2,3\n", {}, InvalidData, "line 3"),
    "not UTF-8": (b"x,y\n1,\xff\n", {}, InvalidData, "not UTF-8"),
    "no target": (f"x,z\n{ROWS}", {}, NotFound, "no column 'y'"),
    "constant target": ("x,y\n" + "".join(f"{at},5\n" for at in range(30)), {}, InvalidData, "nothing to learn"),
    "only the target": ("y\n" + "".join(f"{at}\n" for at in range(30)), {}, InvalidData, "only the target"),
    "all missing": ("x,y\n" + "".join(f",{at}\n" for at in range(30)), {}, InvalidData, "no values"),
    "target missing": ("x,y\n" + "".join(f"{at},\n" for at in range(30)), {}, InvalidData, "0 rows have a 'y'"),
    "text for linear": (
        "x,y\n" + "".join(f"{at},{'ab'[at % 2]}\n" for at in range(30)),
        {"model": "linear"},
        InvalidData,
        "holds text",
    ),
    "numbers for logistic": (
        "x,y\n" + "".join(f"{at},{at / 7}\n" for at in range(30)),
        {"model": "logistic"},
        InvalidData,
        "fractions",
    ),
    "rate": (
        f"x,y\n{ROWS}",
        {"model": "linear", "solver": "gradient", "learning_rate": 5.0},
        Diverged,
        "the loss grew for 5 epochs in a row",
    ),
}


@pytest.mark.parametrize(("text", "options", "error", "says"), BAD.values(), ids=BAD)
def test_bad_tables_are_refused_and_nothing_is_published(home, tmp_path, text, options, error, says):
    path = tmp_path / "data.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(error) as caught:
        train(home, path, Recipe(target="y", **options), name="model")
    assert says in caught.value.detail
    assert caught.value.hint or caught.value.cause
    assert list(home.catalogue.models()) == []


def test_a_bad_name_is_refused_before_anything_is_read(home, tmp_path):
    with pytest.raises(InvalidName) as caught:
        train(home, tmp_path / "nowhere.csv", Recipe(target="y"), name="linear_regression")
    assert caught.value.hint == "use 'linear-regression'"

"""Answers that skl2onnx is known to get wrong without saying so: each is exact here, or refused."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from modelyard.core.errors import InvalidInput, NotConvertible, ParityFailed
from modelyard.core.manifest import MODEL, Manifest, Source
from modelyard.core.rows import from_columns
from modelyard.core.signature import FeatureKind
from modelyard.core.tensor import Array
from modelyard.model import runtime
from modelyard.model.bundle import seal
from modelyard.model.convert import Converted, from_estimator

RNG = np.random.default_rng(11)
ROWS = 400
NUMBERS = pd.DataFrame(RNG.normal(size=(ROWS, 4)) * [1, 100, 0.01, 5] + [0, 1000, 3, 0], columns=list("abcd"))
CLASSES = np.where(NUMBERS["a"] + NUMBERS["d"] / 5 + RNG.normal(size=ROWS) > 0, "yes", "no")
RAGGED = NUMBERS.mask(RNG.random(NUMBERS.shape) < 0.2)
MIXED = pd.DataFrame(
    {
        "city": RNG.choice(["Paris", "Köln", "東京", "O'Hara"], ROWS),
        "size": RNG.choice(["S", "M", "L"], ROWS),
        "weight": RNG.normal(size=ROWS),
        "fresh": RNG.random(ROWS) < 0.5,
        "grade": RNG.integers(0, 4, ROWS),
    }
)
BUYS = np.where(MIXED["weight"] + (MIXED["size"] == "L") - MIXED["grade"] / 4 > 0, "yes", "no")


def converted(estimator: Any, x: Any, y: Any = None) -> Converted:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(x, y)
    return from_estimator(estimator, x if isinstance(x, pd.DataFrame) else pd.DataFrame({"text": x}))


def ask(model: Converted, columns: dict[str, list[Any]]) -> list[Array]:
    manifest = Manifest(name="m", task=model.task, signature=model.signature, files={}, source=Source(format="t"))
    return runtime.load(seal(manifest, {MODEL: model.onnx})).run(from_columns(model.signature, columns))


def plain(frame: pd.DataFrame) -> dict[str, list[Any]]:
    return {
        str(name): [None if item is None or item != item else item for item in frame[name].tolist()] for name in frame
    }


FORESTS = [
    make_pipeline(SimpleImputer(), StandardScaler(), RandomForestClassifier(60, random_state=0)),
    make_pipeline(SimpleImputer(add_indicator=True), StandardScaler(), GradientBoostingClassifier(random_state=0)),
    RandomForestClassifier(60, random_state=0),
    ExtraTreesClassifier(60, random_state=0),
    DecisionTreeClassifier(random_state=0),
    BaggingClassifier(DecisionTreeClassifier(), 5, random_state=0),
    HistGradientBoostingClassifier(max_iter=30),
]


@pytest.mark.parametrize("forest", FORESTS, ids=lambda item: type(item).__name__)
def test_trees_with_missing_values_answer_every_row_exactly(forest: Any) -> None:
    """Imputer and scaler in float32 move rows over thresholds (0.06 off); a dropped missing_go_to_left is 0.5 off."""
    model = converted(forest, RAGGED, CLASSES)
    labels, chances = ask(model, plain(RAGGED))
    assert np.abs(chances - forest.predict_proba(RAGGED)).max() < 1e-12
    assert (labels == forest.predict(RAGGED)).all()
    assert all(feature.nullable for feature in model.signature.features)


@pytest.mark.parametrize("forest", [HistGradientBoostingRegressor(max_iter=60), RandomForestRegressor(30)])
def test_large_magnitudes_are_exact(forest: Any) -> None:
    """Seconds since 1970 in float32 are 128 s apart: histogram boosting was off by 0.08 standard deviations."""
    x = pd.DataFrame({"at": 1.7e9 + RNG.uniform(0, 3e7, ROWS), "id": RNG.integers(2**24, 2**26, ROWS).astype(float)})
    y = np.sin(x["at"] / 1e6) + RNG.normal(size=ROWS) / 10
    got = ask(converted(forest, x, y), plain(x))[0]
    assert np.abs(got[:, 0] - forest.predict(x)).max() < 1e-12


@pytest.mark.parametrize("kind", ["category", "codes"])
def test_histogram_boosting_with_categories(kind: str) -> None:
    x = MIXED[["size", "city", "weight", "grade"]].copy()
    if kind == "category":
        x["size"], x["city"] = x["size"].astype("category"), x["city"].astype("category")
        forest = HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=30)
    else:
        x = x[["grade", "weight"]]
        forest = HistGradientBoostingClassifier(categorical_features=["grade"], max_iter=30)
    model = converted(forest, x, BUYS)
    chances = ask(model, plain(x.astype({"size": object, "city": object}) if kind == "category" else x))[1]
    assert np.abs(chances - forest.predict_proba(x)).max() < 1e-12


def test_there_is_no_zipmap() -> None:
    model = converted(SVC(), NUMBERS, CLASSES)
    kinds = {node.op_type for node in onnx.load_from_string(model.onnx).graph.node}
    assert "ZipMap" not in kinds
    assert model.signature.outputs[1].labels == ("no", "yes")
    scores = ask(model, plain(NUMBERS.head(5)))[1]
    assert scores.shape == (5, 2)


def test_isolation_forest_and_soft_voting_convert() -> None:
    assert converted(IsolationForest(n_estimators=20, random_state=0), NUMBERS).parity is not None
    vote = VotingClassifier([("a", LogisticRegression(max_iter=5000)), ("b", DecisionTreeClassifier())], voting="soft")
    assert vote.flatten_transform
    assert converted(vote, NUMBERS, CLASSES).parity is not None


ENCODERS = {
    "one-hot, unknown ignored": OneHotEncoder(handle_unknown="ignore"),
    "one-hot, strict": OneHotEncoder(),
    "one-hot, first dropped": OneHotEncoder(drop="first"),
    "one-hot, dense": OneHotEncoder(sparse_output=False, handle_unknown="ignore"),
    "one-hot, rare ones together": OneHotEncoder(min_frequency=110, handle_unknown="infrequent_if_exist"),
    "ordinal": OrdinalEncoder(),
    "ordinal, unknown coded": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    "target": TargetEncoder(random_state=0),
}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("last", [LogisticRegression(max_iter=2000), RandomForestClassifier(20, random_state=0)])
def test_text_columns_through_a_column_transformer(encoder: str, last: Any) -> None:
    step = ENCODERS[encoder]
    chain = make_pipeline(
        make_column_transformer((step, ["city", "size"]), (StandardScaler(), ["weight"]), ("passthrough", ["fresh"])),
        last,
    )
    model = converted(chain, MIXED, BUYS)
    chances = ask(model, plain(MIXED))[1]
    assert np.abs(chances - chain.predict_proba(MIXED)).max() < 1e-12
    city = next(feature for feature in model.signature.features if feature.name == "city")
    assert city.kind is FeatureKind.CATEGORY
    assert city.categories == ("Köln", "O'Hara", "Paris", "東京")
    strict = getattr(step, "handle_unknown", "ignore") == "error"
    assert city.accepts_unknown is not strict
    stranger = plain(MIXED.head(1)) | {"city": ["Atlantis"]}
    if strict:
        with pytest.raises(InvalidInput):
            ask(model, stranger)
    else:
        assert ask(model, stranger)[1].shape == (1, 2)


@pytest.mark.parametrize("fill", ["most_frequent", "constant"])
def test_missing_texts(fill: str) -> None:
    """At the boundary a null is an empty string; the imputer of the graph sees it, the original sees NaN."""
    x = MIXED.copy()
    x.loc[::7, "city"], x.loc[::5, "size"], x.loc[::6, "weight"] = np.nan, np.nan, np.nan
    imputer = SimpleImputer(strategy=fill, fill_value="none" if fill == "constant" else None)
    chain = make_pipeline(
        make_column_transformer(
            (make_pipeline(imputer, OneHotEncoder(handle_unknown="ignore")), ["city", "size"]),
            (SimpleImputer(strategy="median"), ["weight", "grade"]),
        ),
        RandomForestClassifier(30, random_state=0),
    )
    model = converted(chain, x, BUYS)
    chances = ask(model, plain(x))[1]
    assert np.abs(chances - chain.predict_proba(x)).max() < 1e-12
    assert {feature.name for feature in model.signature.features if feature.nullable} >= {"city", "size", "weight"}


def test_a_category_of_missing_values() -> None:
    x = MIXED[["size", "weight"]].copy()
    x.loc[::5, "size"] = np.nan
    chain = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["size"]), ("passthrough", ["weight"])), LogisticRegression()
    )
    model = converted(chain, x, BUYS)
    assert np.abs(ask(model, plain(x))[1] - chain.predict_proba(x)).max() < 1e-12
    assert model.signature.features[0].nullable
    assert model.signature.features[0].categories == ("L", "M", "S")


def test_a_null_that_would_be_taken_for_an_empty_text_is_refused() -> None:
    """The encoder knows '' as a category and NaN as unknown; after the boundary they look alike."""
    x = MIXED[["size", "weight"]].replace({"size": {"S": ""}})
    chain = make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["size"]), ("passthrough", ["weight"])),
        LogisticRegression(),
    )
    model = converted(chain, x, BUYS)
    assert not model.signature.features[0].nullable
    assert np.abs(ask(model, plain(x))[1] - chain.predict_proba(x)).max() < 1e-12


def test_a_number_that_the_encoder_does_not_know_is_refused() -> None:
    """The signature has no list of numbers; the graph itself must refuse, as the original does."""
    chain = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["grade"]), ("passthrough", ["weight"])), LogisticRegression()
    )
    model = converted(chain, MIXED[["grade", "weight"]], BUYS)
    assert ask(model, {"grade": [3], "weight": [0.1]})[1].shape == (1, 2)
    with pytest.raises(InvalidInput):
        ask(model, {"grade": [9], "weight": [0.1]})


WORDS = ["alpha", "beta", "gamma", "delta", "don't", "x"]
FOREIGN = [*WORDS, "café", "naïve", "größe", "模型"]


@pytest.mark.parametrize("words", [WORDS, FOREIGN], ids=["ascii", "foreign"])
@pytest.mark.parametrize(
    "vectoriser",
    [
        TfidfVectorizer(),
        CountVectorizer(),
        TfidfVectorizer(ngram_range=(1, 2)),
        TfidfVectorizer(lowercase=False),
        TfidfVectorizer(token_pattern="[a-zA-Z0-9_]+"),
        CountVectorizer(binary=True, stop_words=["alpha"]),
    ],
    ids=["tfidf", "counts", "pairs", "case", "pattern", "stop words"],
)
def test_texts_are_cut_alike(vectoriser: Any, words: list[str]) -> None:
    """The ASCII pattern that skl2onnx writes was 0.7 off on accents; here the pattern speaks of letters."""
    texts = [" ".join(RNG.choice(words, 8)) for _ in range(150)]
    chain = make_pipeline(vectoriser, LogisticRegression())
    model = converted(chain, texts, ["alpha" in text for text in texts])
    tried = [*texts[:20], "Café ALPHA don't", "alphaé, éalpha; größe GRÖSSE", "模型 beta部署", "ÉCOLE x.y_z", ""]
    chances = ask(model, {"text": tried})[1]
    assert np.abs(chances - chain.predict_proba(tried)).max() < 1e-6
    assert model.signature.features[0].kind is FeatureKind.TEXT


def test_a_text_model_loads_where_no_locale_is_installed() -> None:
    chain = make_pipeline(TfidfVectorizer(), LogisticRegression())
    model = converted(chain, ["alpha beta", "gamma delta"] * 20, [0, 1] * 20)
    for node in onnx.load_from_string(model.onnx).graph.node:
        if node.op_type == "StringNormalizer":
            assert {item.name: item.s for item in node.attribute}["locale"] == b"C"
    ort.InferenceSession(model.onnx)


def test_another_number_is_refused_and_the_rows_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    line = LinearRegression().fit(NUMBERS, NUMBERS["a"])
    monkeypatch.setattr(line, "predict", lambda x: LinearRegression.predict(line, x) + (x["a"] > 2) * 0.01)
    with pytest.raises(ParityFailed) as caught:
        from_estimator(line, NUMBERS)
    assert caught.value.facts["rows"]
    assert "of 160 rows have other values in 'prediction'" in caught.value.detail


def test_a_label_that_flips_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LogisticRegression(max_iter=5000).fit(NUMBERS, CLASSES)
    honest = model.predict(NUMBERS.iloc[:1])[0]

    def predict(x: Any) -> Any:
        labels = LogisticRegression.predict(model, x)
        labels[0] = "no" if honest == "yes" else "yes"
        return labels

    monkeypatch.setattr(model, "predict", predict)
    with pytest.raises(ParityFailed, match="other labels in 'label'"):
        from_estimator(model, NUMBERS)


def test_the_refusal_says_what_is_special_about_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    line = LinearRegression().fit(NUMBERS, NUMBERS["a"])
    monkeypatch.setattr(line, "predict", lambda x: LinearRegression.predict(line, x) + (x["b"] > 2000) * 1.0)
    with pytest.raises(ParityFailed) as caught:
        from_estimator(line, NUMBERS * [1, 3, 1, 1])
    assert caught.value.facts["count"] > 0


@pytest.mark.parametrize(
    "step",
    [
        FunctionTransformer(functools.partial(np.add, 1)),
        HashingVectorizer(n_features=16),
        TfidfVectorizer(analyzer="char_wb"),
    ],
    ids=["function", "hashing", "char_wb"],
)
def test_what_cannot_be_translated_is_refused(step: Any) -> None:
    text = not isinstance(step, FunctionTransformer)
    chain = make_pipeline(step, LogisticRegression())
    with pytest.raises((NotConvertible, ParityFailed)):
        converted(
            chain, ["alpha beta", "gamma delta"] * 20 if text else NUMBERS[["a"]], ["a", "b"] * 20 if text else CLASSES
        )


def test_an_empty_cell_of_the_sample_is_the_category_it_was_in_training() -> None:
    """Trained on '' for what was missing; a CSV cannot tell '' from missing, so its empty cell is that category."""
    x = MIXED[["size", "weight"]].replace({"size": {"S": ""}})
    chain = make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["size"]), ("passthrough", ["weight"])),
        LogisticRegression(),
    ).fit(x, BUYS)
    read_back = x.replace({"size": {"": None}})
    model = from_estimator(chain, read_back, origin="sample")
    assert np.abs(ask(model, plain(x))[1] - chain.predict_proba(x)).max() < 1e-12

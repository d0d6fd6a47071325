"""What a folder declares, against what conversion found."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.core.errors import InvalidModel
from modelyard.core.manifest import Task
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.model.converted import Converted
from modelyard.model.declared import Column, Declared, Port, take_over
from tests.models import mixed_signature


def packed(width: int = 2, *, nullable: bool = True) -> Converted:
    """A conversion of a model that remembers no names: f0, f1, ..."""
    features = tuple(Feature(name=f"f{at}", nullable=nullable, minimum=0.0, maximum=9.0) for at in range(width))
    signature = Signature(
        inputs=(TensorSpec(name="input", datatype=Datatype.FP64, shape=(-1, width), features=features),),
        outputs=(
            TensorSpec(name="label", datatype=Datatype.INT64, shape=(-1,)),
            TensorSpec(name="probabilities", datatype=Datatype.FP64, shape=(-1, 2), labels=(0, 1)),
        ),
        prediction="label",
        probabilities="probabilities",
    )
    rows: list[dict[str, Any]] = [{"f0": 1.4, "f1": 0.2}, {"f0": None, "f1": 0.9}]
    return converted(signature, rows)


def converted(signature: Signature, rows: list[dict[str, Any]]) -> Converted:
    return Converted(b"", signature, Task.CLASSIFICATION, "Model", {}, None, rows=rows)


def test_nothing_declared_changes_nothing() -> None:
    before = packed()
    assert take_over(before, Declared()) == before


def test_columns_name_and_type_the_inputs() -> None:
    columns = (Column("age", FeatureKind.INTEGER), Column("member", FeatureKind.BOOLEAN, required=False))
    after = take_over(packed(), Declared(columns=columns))
    assert [(f.name, f.kind, f.nullable) for f in after.signature.features] == [
        ("age", FeatureKind.INTEGER, False),
        ("member", FeatureKind.BOOLEAN, True),
    ]
    assert after.rows == [{"age": 1, "member": False}]  # the row with a gap in age is no longer one


def test_a_required_number_may_still_be_missing_where_the_model_knows_what_to_do() -> None:
    """MLflow takes NaN in a double column that it calls required: the column must be there, not each value."""
    after = take_over(packed(), Declared(columns=(Column("a"), Column("b"))))
    assert all(feature.nullable for feature in after.signature.features)


def test_ranges_of_a_handful_of_rows_are_forgotten() -> None:
    after = take_over(packed(), Declared(), ranged=False)
    assert {feature.minimum for feature in after.signature.features} == {None}


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (Declared(columns=(Column("a"),)), "declare the columns a; the model takes f0, f1"),
        (Declared(columns=(Column("a", FeatureKind.TEXT), Column("b"))), "declare the column 'a' as text"),
        (Declared(inputs=(Port("x"),)), "declare the input 'x'; the model has: input"),
        (Declared(inputs=(Port("input", "FP32"),)), "as FP32; the model has FP64"),
        (Declared(inputs=(Port("", "", (-1, 3)),)), r"\[-1, 3\]; the model has \[-1, 2\]"),
        (Declared(inputs=(Port("input", "", (-1, -1)),)), r"the shape \[-1, -1\]"),
        (Declared(outputs=(Port("label", "INT32"),)), "the output 'label' as INT32"),
        (Declared(outputs=(Port("", "INT64"),)), "declare a single output"),
        (Declared(outputs=(Port("probabilities", labels=("a", "b", "c")),)), "2 columns and 3 labels"),
    ],
)
def test_a_contradiction_is_refused(declared: Declared, said: str) -> None:
    with pytest.raises(InvalidModel, match=said):
        take_over(packed(), declared)


def test_a_model_that_remembers_its_columns_takes_no_others() -> None:
    mixed = converted(mixed_signature(), [])
    columns = (Column("kind", FeatureKind.TEXT), Column("length"), Column("mass"))
    with pytest.raises(InvalidModel, match="the model takes species, length, mass"):
        take_over(mixed, Declared(columns=columns))
    shuffled = (Column("mass"), Column("species", FeatureKind.TEXT), Column("length"))
    assert take_over(mixed, Declared(columns=shuffled)).signature == mixed.signature


def test_clients_keep_their_names_of_tensors() -> None:
    declared = Declared(input_name="x", output_names={"label": "predict", "probabilities": "predict_proba"})
    signature = take_over(packed(), declared).signature
    assert [(spec.name, spec.graph_name) for spec in signature.inputs] == [("x", "input")]
    assert [(spec.name, spec.graph_name) for spec in signature.outputs] == [
        ("predict", "label"),
        ("predict_proba", "probabilities"),
    ]
    assert (signature.prediction, signature.probabilities) == ("predict", "predict_proba")


def test_another_output_may_be_the_answer() -> None:
    assert take_over(packed(), Declared(answer="probabilities")).signature.prediction == "probabilities"
    assert take_over(packed(), Declared(answer="scores")).signature.prediction == "label"


def test_labels_make_an_output_the_probabilities() -> None:
    before = packed()
    outputs = (TensorSpec(name="probs", datatype=Datatype.FP32, shape=(-1, 2)),)
    bare = converted(Signature(inputs=before.signature.inputs, outputs=outputs), before.rows)
    signature = take_over(bare, Declared(outputs=(Port("probs", labels=("no", "yes")),))).signature
    assert signature.outputs[0].labels == ("no", "yes")
    assert signature.probabilities == "probs"


def test_one_number_a_row_has_two_shapes() -> None:
    narrow = packed(width=1)
    for shape in ((-1,), (-1, 1)):
        take_over(converted(narrow.signature, []), Declared(inputs=(Port("input", "FP64", shape),)))

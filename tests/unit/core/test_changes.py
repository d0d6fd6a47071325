"""Each kind of change of a signature, and whom it breaks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from modelyard.core.changes import Breaks, signature_changes
from modelyard.core.errors import ModelyardError
from modelyard.core.rows import from_objects
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Datatype

NOBODY, TENSORS, EVERYONE = Breaks.NOBODY, Breaks.TENSORS, Breaks.EVERYONE
COLOURS = ("blue", "red")
BASE: dict[str, Feature] = {
    "age": Feature(name="age", minimum=18, maximum=90),
    "visits": Feature(name="visits", kind=FeatureKind.INTEGER),
    "colour": Feature(name="colour", kind=FeatureKind.CATEGORY, categories=COLOURS),
}


def signature(*features: Feature, **facts: Any) -> Signature:
    """One tensor a feature; strings as BYTES, numbers as FP64."""
    inputs = tuple(
        TensorSpec(
            name=feature.name,
            datatype=Datatype.BYTES if feature.kind in {FeatureKind.CATEGORY, FeatureKind.TEXT} else Datatype.FP64,
            shape=(-1,),
            features=(feature,),
        )
        for feature in features
    )
    label = TensorSpec(name="label", datatype=Datatype.BYTES, shape=(-1,))
    scores = TensorSpec(name="scores", datatype=Datatype.FP32, shape=(-1, 2), labels=("no", "yes"))
    fields: dict[str, Any] = {"outputs": (label, scores), "prediction": "label", "probabilities": "scores"}
    return Signature(inputs=inputs, **(fields | facts))


def changed(name: str, **facts: Any) -> Signature:
    features = BASE | {name: msgspec.structs.replace(BASE[name], **facts)}
    return signature(*features.values())


def test_nothing_changed() -> None:
    assert signature_changes(signature(*BASE.values()), signature(*BASE.values())) == []


@pytest.mark.parametrize(
    ("name", "facts", "what", "breaks"),
    [
        ("age", {"nullable": True}, "input 'age': may now be missing", NOBODY),
        ("age", {"minimum": 0.0}, "input 'age': range in training 18…90 became 0…90", NOBODY),
        ("age", {"minimum": None, "maximum": None}, "input 'age': range in training 18…90 became ?…?", NOBODY),
        ("age", {"kind": FeatureKind.INTEGER}, "input 'age': number became integer", EVERYONE),
        ("visits", {"kind": FeatureKind.NUMBER}, "input 'visits': integer became number", NOBODY),
        ("colour", {"categories": ("red",)}, "input 'colour': no longer knows blue", EVERYONE),
        ("colour", {"categories": (*COLOURS, "green")}, "input 'colour': now knows green", NOBODY),
        ("age", {"description": "in years"}, None, NOBODY),
    ],
)
def test_one_feature(name: str, facts: dict[str, Any], what: str | None, breaks: Breaks) -> None:
    changes = signature_changes(signature(*BASE.values()), changed(name, **facts))
    assert [(change.what, change.breaks) for change in changes] == ([(what, breaks)] if what else [])


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"nullable": True}, {}, {"input 'colour': may no longer be missing": EVERYONE}),
        (
            {"accepts_unknown": True},
            {},
            {"input 'colour': categories that are not listed are now refused": EVERYONE},
        ),
        ({}, {"accepts_unknown": True}, {}),
        (
            {"accepts_unknown": True},
            {"accepts_unknown": True, "categories": ("red",)},
            {"input 'colour': no longer knows blue": NOBODY},
        ),
        (
            {"kind": FeatureKind.TEXT, "categories": ()},
            {},
            {
                "input 'colour': text became category": EVERYONE,
                "input 'colour': categories that are not listed are now refused": EVERYONE,
                "input 'colour': now knows blue, red": NOBODY,
            },
        ),
        ({}, {"kind": FeatureKind.TEXT, "categories": ()}, {"input 'colour': category became text": NOBODY}),
    ],
)
def test_categories(before: dict[str, Any], after: dict[str, Any], expected: dict[str, Breaks]) -> None:
    changes = signature_changes(changed("colour", **before), changed("colour", **after))
    assert {change.what: change.breaks for change in changes} == expected


@pytest.mark.parametrize(("nullable", "breaks"), [(True, NOBODY), (False, EVERYONE)])
def test_a_new_input_and_one_that_goes(nullable: bool, breaks: Breaks) -> None:
    less = signature(BASE["age"])
    more = signature(BASE["age"], Feature(name="income", nullable=nullable))
    grown = {change.what: change.breaks for change in signature_changes(less, more)}
    assert grown == {"input 'income' (number) is new": breaks, "input tensor 'income' is new": TENSORS}
    shrunk = {change.what: change.breaks for change in signature_changes(more, less)}
    assert shrunk == {"input 'income' is gone": EVERYONE, "input tensor 'income' is gone": TENSORS}


def packed(*names: str, datatype: Datatype = Datatype.FP64) -> Signature:
    features = tuple(Feature(name=name) for name in names)
    spec = TensorSpec(name="input", datatype=datatype, shape=(-1, len(names)), features=features)
    return Signature(inputs=(spec,), outputs=(TensorSpec(name="y", datatype=Datatype.FP64, shape=(-1,)),))


def test_only_callers_with_tensors_see_the_order_the_datatype_and_the_layout() -> None:
    assert [(one.what, one.breaks) for one in signature_changes(packed("a", "b"), packed("b", "a"))] == [
        ("input tensor 'input': its columns changed order", TENSORS)
    ]
    assert [(one.what, one.breaks) for one in signature_changes(packed("a"), packed("a", datatype=Datatype.FP32))] == [
        ("input tensor 'input': FP64 became FP32", TENSORS)
    ]
    layout = signature_changes(packed("age", "visits"), signature(Feature(name="age"), Feature(name="visits")))
    assert {one.breaks for one in layout if "input" in one.what} == {TENSORS}


def test_an_opaque_tensor_is_a_field_of_rows_too() -> None:
    def image(name: str, size: int) -> Signature:
        spec = TensorSpec(name=name, datatype=Datatype.FP32, shape=(-1, size, size))
        return Signature(inputs=(spec,), outputs=(TensorSpec(name="y", datatype=Datatype.FP64, shape=(-1,)),))

    (change,) = signature_changes(image("pixels", 28), image("pixels", 32))
    assert (change.what, change.breaks) == (
        "input tensor 'pixels': shape [-1, 28, 28] became [-1, 32, 32]",
        EVERYONE,
    )
    assert {one.breaks for one in signature_changes(image("pixels", 28), image("image", 28))} == {EVERYONE}


def test_outputs() -> None:
    base = signature(BASE["age"])
    label, scores = base.outputs
    renamed = msgspec.structs.replace(scores, labels=("yes", "no"))
    (change,) = signature_changes(base, signature(BASE["age"], outputs=(label, renamed)))
    assert (change.what, change.breaks) == ("output 'scores': labels no, yes became yes, no", EVERYONE)
    alone = signature(BASE["age"], outputs=(label,), probabilities="")
    assert {one.what: one.breaks for one in signature_changes(base, alone)} == {
        "output 'scores' is gone": EVERYONE,
        "the probabilities: output 'scores' became 'none'": EVERYONE,
    }
    assert {one.breaks for one in signature_changes(alone, base)} == {NOBODY}


ROWS: list[dict[str, Any]] = [
    {"age": 30.5, "visits": 3, "colour": "red"},
    {"age": 30, "visits": 3, "colour": "blue"},
    {"age": 30, "visits": 3.0, "colour": "green"},
    {"age": None, "visits": 3, "colour": "red"},
    {"age": 30, "visits": 3, "colour": None},
    {"age": 30, "visits": 3},
    {"age": 30, "visits": 3, "colour": "red", "income": 5},
]
VARIANTS = [
    *(changed(name, nullable=True) for name in BASE),
    changed("colour", accepts_unknown=True),
    changed("colour", categories=("red",)),
    changed("colour", categories=(*COLOURS, "green")),
    changed("colour", kind=FeatureKind.TEXT, categories=()),
    changed("visits", kind=FeatureKind.NUMBER),
    changed("age", kind=FeatureKind.INTEGER),
    signature(*list(BASE.values())[:2]),
    signature(*BASE.values(), Feature(name="income", nullable=True)),
    signature(*BASE.values(), Feature(name="income")),
]


def accepts(signature: Signature, row: dict[str, Any]) -> bool:
    try:
        from_objects(signature, [row])
    except ModelyardError:
        return False
    return True


@pytest.mark.parametrize("after", range(len(VARIANTS)))
@pytest.mark.parametrize("before", range(len(VARIANTS)))
def test_a_change_that_breaks_nobody_refuses_no_row_that_was_accepted(before: int, after: int) -> None:
    """The claim itself, against the code that reads rows."""
    old, new = VARIANTS[before], VARIANTS[after]
    broken = [row for row in ROWS if accepts(old, row) and not accepts(new, row)]
    if broken:
        assert any(change.breaks is EVERYONE for change in signature_changes(old, new)), broken

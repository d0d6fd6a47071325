"""The model card says what the manifest says, and only that."""

import msgspec

from modelyard.core.manifest import Parity
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.model.card import card
from tests.models import linear_bundle


def _manifest(**changes):
    return msgspec.structs.replace(linear_bundle("price").manifest, **changes)


def test_a_card():
    text = card(_manifest(parity=Parity(rows=120, origin="training", max_abs=0.0, max_rel=1e-9)))
    assert text.startswith("# price\n")
    assert "| feature | number | no | 1 to 5 |" in text
    assert "| RMSE | 0.25 | 2.5 |" in text
    assert "on 120 rows" in text
    assert "2026-01-02" in text
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_what_is_not_known_is_not_said():
    text = card(_manifest(metrics=()))
    assert "Not measured." in text
    assert "answers like the original" not in text
    assert "## Notes" not in text


def test_names_cannot_break_the_table():
    feature = Feature(name="a|b\nc", kind=FeatureKind.CATEGORY, categories=tuple("pqrstuvwxyz"), nullable=True)
    spec = TensorSpec(name="x", datatype=Datatype.BYTES, shape=(-1,), features=(feature,))
    out = TensorSpec(name="y", datatype=Datatype.FP64, shape=(-1,))
    text = card(_manifest(signature=Signature(inputs=(spec,), outputs=(out,))))
    assert "| a\\|b c | category | yes | p, q, r, s, t, u, v, w, … |" in text

"""Every form of the same rows is the same arrays and the same refusal, and no body breaks any of them."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import time
import tracemalloc
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.errors import Kind, MissingExtra, ModelyardError
from modelyard.core.rows import from_objects
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.serve.http.forms import FORMS, OFFERED, Form, form, installed
from tests.models import count_bundle, image_bundle, linear_signature, mixed_signature
from tests.unit.serve.http.forms.bodies import WRITERS, parquet, table
from tests.unit.serve.http.forms.hostile import same

OUTPUT = TensorSpec(name="y", datatype=Datatype.FP64, shape=(-1,))


def packed(datatype: Datatype, *features: Feature) -> Signature:
    spec = TensorSpec(name="t", datatype=datatype, shape=(-1, len(features)), features=features)
    return Signature(inputs=(spec,), outputs=(OUTPUT,))


SIGNATURES: dict[str, Signature] = {
    "linear": linear_signature(("a", "b")),
    "mixed": mixed_signature(),
    "image": image_bundle().manifest.signature,
    "count": count_bundle().manifest.signature,
    "nullable": packed(
        Datatype.FP32, Feature(name="n", nullable=True), Feature(name="i", kind=FeatureKind.INTEGER, nullable=True)
    ),
    "words": packed(
        Datatype.BYTES,
        Feature(name="c", kind=FeatureKind.CATEGORY, categories=("a", "b", "é"), nullable=True),
        Feature(name='f <&">', kind=FeatureKind.TEXT),
    ),
    "truth": packed(Datatype.BOOL, Feature(name="yes", kind=FeatureKind.BOOLEAN)),
    "small": packed(Datatype.INT8, Feature(name="i", kind=FeatureKind.INTEGER)),
    "half": packed(Datatype.FP16, Feature(name="h")),
}
NAMES = st.sampled_from(list(SIGNATURES))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-1000, 1000).map(float)
# Text that every form can hold, and that no form of text takes for a missing value or trims.
TEXTS = st.text(st.characters(codec="utf-8", categories=("L", "N", "S", "P")), min_size=1, max_size=6).map("w".__add__)


def values_of(feature: Feature) -> st.SearchStrategy[Any]:
    kinds: dict[FeatureKind, st.SearchStrategy[Any]] = {
        FeatureKind.NUMBER: NUMBERS,
        FeatureKind.INTEGER: st.integers(-200, 200),
        FeatureKind.BOOLEAN: st.booleans(),
        FeatureKind.CATEGORY: st.sampled_from([*feature.categories, "never seen"]),
        FeatureKind.TEXT: TEXTS,
    }
    return kinds[feature.kind] | st.none() if feature.nullable else kinds[feature.kind]


def rows_of(signature: Signature) -> st.SearchStrategy[list[dict[str, Any]]]:
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for spec in signature.inputs:
        fields |= {feature.name: values_of(feature) for feature in spec.features}
        if not spec.features:
            flat = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=4, max_size=4)
            fields[spec.name] = st.lists(flat, min_size=3, max_size=3)
    return st.lists(st.fixed_dictionaries(fields), min_size=1, max_size=5)


def made(media: str, signature: Signature) -> Form:
    return form(media.encode())(signature, "m", 1)


def outcome(decode: Any) -> Any:
    try:
        return decode()
    except ModelyardError as exc:
        return exc


@settings(max_examples=100, deadline=None)
@given(NAMES.flatmap(lambda name: st.tuples(st.just(name), rows_of(SIGNATURES[name]))))
def test_every_form_is_the_same_arrays_and_the_same_refusal(case: tuple[str, list[dict[str, Any]]]) -> None:
    name, rows = case
    signature = SIGNATURES[name]
    want = outcome(lambda: from_objects(signature, rows))
    for media, write in WRITERS.items():
        reader = made(media, signature)
        if not reader.reads(signature):
            continue
        if media == "application/x-npy" and None in [value for row in rows for value in row.values()]:
            continue  # an array of text has no missing elements
        got = outcome(partial(reader.decode, write(signature, rows)))
        if isinstance(want, ModelyardError):
            assert isinstance(got, type(want)), (media, got, want)
            assert got.detail == want.detail, media
        else:
            assert not isinstance(got, ModelyardError), (media, got)
            assert same(got, want), media


BAD: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "unknown field": ("linear", [{"a": 1.0, "b": 2.0, "c": 3.0}]),
    "missing field": ("linear", [{"a": 1.0}]),
    "unknown category": ("mixed", [{"species": "dodo", "length": 1.0, "mass": 1.0}]),
    "no number": ("mixed", [{"species": "adelie", "length": None, "mass": 1.0}]),
    "out of range": ("small", [{"i": 300}]),
    "too large": ("half", [{"h": 1e6}]),
}


@pytest.mark.parametrize("media", [media for media in WRITERS if media != "application/x-npy"])
@pytest.mark.parametrize("case", BAD)
def test_bad_rows_are_refused_alike(media: str, case: str) -> None:
    name, rows = BAD[case]
    signature = SIGNATURES[name]
    kinds = {field: Feature(name=field) for row in rows for field in row}
    known = {feature.name: feature for feature in signature.features}
    features = tuple(known.get(field, feature) for field, feature in kinds.items())
    as_sent = Signature(
        inputs=tuple(
            TensorSpec(
                name=item.name,
                datatype=Datatype.BYTES if item.kind is FeatureKind.CATEGORY else Datatype.FP64,
                shape=(-1,),
                features=(item,),
            )
            for item in features
        ),
        outputs=(OUTPUT,),
    )
    body = WRITERS[media](as_sent, rows)
    got, want = outcome(lambda: made(media, signature).decode(body)), outcome(lambda: from_objects(signature, rows))
    assert isinstance(want, ModelyardError)
    assert (type(got), got.detail) == (type(want), want.detail)


ROWS = [{"species": "adelie", "length": 3.0, "mass": 3.5}, {"species": "gentoo", "length": 5.5, "mass": None}]
PICTURES = [{"image": np.arange(12.0).reshape(3, 4).tolist()}] * 2
SMALL = {
    media: (signature, WRITERS[media](signature, rows))
    for media in WRITERS
    for signature, rows in [
        (SIGNATURES["image"], PICTURES) if media == "application/x-npy" else (SIGNATURES["mixed"], ROWS)
    ]
}


def survives(media: str, signature: Signature, body: bytes) -> None:
    """An array or an error that is the caller's fault, soon."""
    started = time.perf_counter()
    found = outcome(lambda: made(media, signature).decode(body))
    if isinstance(found, ModelyardError):
        assert found.kind in {Kind.INVALID, Kind.TOO_LARGE, Kind.UNSUPPORTED}, found
        assert 0 < len(found.detail) < 1_000
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("media", SMALL)
def test_a_body_may_end_anywhere(media: str) -> None:
    signature, body = SMALL[media]
    for end in range(len(body)):
        survives(media, signature, body[:end])


@pytest.mark.parametrize("media", SMALL)
def test_a_body_may_be_damaged_anywhere(media: str) -> None:
    signature, body = SMALL[media]
    chance = random.Random(media)
    for _ in range(300):
        broken = bytearray(body)
        for _ in range(chance.choice([1, 1, 2, 8])):
            at = chance.randrange(len(broken))
            action = chance.randrange(4)
            if action == 0:
                broken[at] ^= 1 << chance.randrange(8)
            elif action == 1:
                broken[at : at + 8] = chance.choice([b"\xff" * 8, b"\x00" * 8, b"\xff" * 7 + b"\x7f"])
            elif action == 2:
                del broken[at : at + chance.randrange(1, 6)]
            else:
                broken[at:at] = broken[: chance.randrange(8)]
            broken = broken or bytearray(b"x")
        survives(media, signature, bytes(broken))


@pytest.mark.parametrize("media", SMALL)
@pytest.mark.parametrize(
    "body", [b"", b"\x00", b"\xff" * 64, b"<" * 500, b"PAR1" * 4, b"\xdd\xff\xff\xff\xff", b"[" * 9000]
)
def test_another_body_is_no_body(media: str, body: bytes) -> None:
    with pytest.raises(ModelyardError):
        made(media, SIGNATURES["mixed"]).decode(body)


def test_the_table_is_what_the_classes_say() -> None:
    for media in FORMS:
        kind = form(media)
        assert media in kind.MEDIA
        assert FORMS[kind.MEDIA[0]] == FORMS[media]
        assert kind.CONTENT_TYPE.startswith(kind.MEDIA[0])
    assert {media.encode() for media in OFFERED} == {form(media).MEDIA[0] for media in FORMS}
    assert all(installed(media) for media in OFFERED)


OUTPUTS = {
    "mixed": [np.array(["small", "big"], dtype=object), np.array([[0.1, 0.9], [math.nan, math.inf]], dtype=np.float32)],
    "image": [np.array([1.5, -0.0], dtype=np.float32), np.array([[[1.0]], [[2.0]]], dtype=np.float32)],
    "count": [np.array([[2], [-(2**62)]])],
}


@pytest.mark.parametrize("media", OFFERED)
@pytest.mark.parametrize("name", OUTPUTS)
def test_every_answer_can_be_written(media: str, name: str) -> None:
    signature = SIGNATURES[name]
    writer = made(media, signature)
    for full, encode in ((False, writer.encode), (True, writer.encode_full)):
        if writer.writes(signature, full=full):
            assert encode(OUTPUTS[name])


def test_pyarrow_is_imported_when_it_is_used_and_pandas_never() -> None:
    """In a process of its own, which decodes and encodes all columnar forms."""
    bodies = {media: WRITERS[media](SIGNATURES["mixed"], ROWS) for media in OFFERED if "apache" in media}
    program = f"""
import sys
import numpy as np
from modelyard.serve.http import contracts
contracts.contract("simple")
assert "pyarrow" not in sys.modules
from modelyard.serve.http.forms import form
from tests.models import mixed_signature
for media, body in {bodies!r}.items():
    columns = form(media.encode())(mixed_signature(), "m", 1)
    assert len(columns.decode(body)) == 3
    columns.encode_full([np.array(["a"], dtype=object), np.array([[0.5, 0.5]], dtype=np.float32)])
assert "pandas" not in sys.modules
"""
    # tests.models needs onnx, which is no part of the question
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_pyarrow_the_form_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "modelyard.serve.http.forms.columnar", raising=False)
    with pytest.raises(MissingExtra) as caught:
        form(b"application/vnd.apache.parquet")
    assert caught.value.hint == 'pip install "modelyard[arrow]"'


def test_a_large_body_costs_a_few_times_its_size() -> None:
    signature = SIGNATURES["linear"]
    rows = [{"a": float(at), "b": at / 7} for at in range(20_000)]
    want = from_objects(signature, rows)
    for media in ("text/csv", "application/vnd.apache.parquet", "application/vnd.msgpack"):
        body = WRITERS[media](signature, rows)
        reader = made(media, signature)
        tracemalloc.start()
        got = reader.decode(body)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert same(got, want)
        assert peak < 30 * len(body), media


def test_the_bodies_of_this_test_hold_what_they_say() -> None:
    content = table(SIGNATURES["mixed"], ROWS)
    assert content.to_pylist() == ROWS
    assert parquet(content).startswith(b"PAR1")

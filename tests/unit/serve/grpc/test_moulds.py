"""A mould answers exactly as reading the message does, or it does not answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.core.errors import ModelyardError
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import Datatype, encode_raw
from modelyard.serve.grpc.codec import Codec
from modelyard.serve.grpc.messages import message
from modelyard.serve.grpc.moulds import Moulds
from tests.unit.serve.grpc.test_codec import VALUES, Anything

REQUEST = message("ModelInferRequest")
KINDS = [Datatype.FP32, Datatype.INT64, Datatype.BYTES, Datatype.BF16, Datatype.BOOL]


def codec_of(*kinds: Datatype) -> Codec:
    specs = tuple(TensorSpec(name=f"it{at}", datatype=kind, shape=(-1, 2)) for at, kind in enumerate(kinds))
    return Codec(Anything(Signature(inputs=specs, outputs=specs)))  # type: ignore[arg-type]


def request_of(*kinds: Datatype, rows: int = 1, flip: bool = False, **fields: Any) -> bytes:
    inputs, raws = [], []
    for at, kind in enumerate(kinds):
        values = VALUES[kind][::-1] if flip else VALUES[kind]
        inputs.append({"name": f"it{at}", "datatype": kind.value, "shape": [rows, 2]})
        raws.append(encode_raw(np.array([values] * rows, dtype=kind.dtype), kind))
    return bytes(REQUEST(model_name="any", inputs=inputs, raw_input_contents=raws, **fields).SerializeToString())


def learnt(codec: Codec, *said: bytes) -> Moulds:
    moulds = Moulds()
    for raw in said:
        request = REQUEST.FromString(raw)
        moulds.keep(raw, request, codec, codec.decode(request).form)
    return moulds


def tried(read: Callable[[], InferRequest]) -> tuple[InferRequest | None, ModelyardError | None]:
    try:
        return read(), None
    except ModelyardError as exc:
        return None, exc


def same(codec: Codec, moulds: Moulds, raw: bytes) -> bool:
    """Whether there is a mould; if so it must give what reading gives, be that arrays or an error."""
    mould = moulds.find(raw)
    if mould is None:
        return False
    read, error = tried(lambda: codec.decode(REQUEST.FromString(raw)))
    got, ours = tried(lambda: mould.read(raw, float("inf")))
    assert (type(ours), str(ours)) == (type(error), str(error))
    if read is None:
        return True
    assert got is not None
    assert (got.form, got.id, got.deadline) == (read.form, read.id, read.deadline)
    for ours, theirs in zip(got.arrays, read.arrays, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    return True


@pytest.mark.parametrize("kinds", [[kind] for kind in KINDS] + [KINDS])
def test_the_second_of_its_kind_is_known(kinds: list[Datatype]) -> None:
    codec = codec_of(*kinds)
    moulds = learnt(codec, request_of(*kinds), request_of(*kinds, rows=3))
    for rows in (1, 3):
        for flip in (False, True):
            assert same(codec, moulds, request_of(*kinds, rows=rows, flip=flip))
    assert not same(codec, moulds, request_of(*kinds, rows=2))


@pytest.mark.parametrize(
    "fields", [{"id": "mine"}, {"parameters": {"timeout": {"int64_param": 5}}}], ids=["an id", "parameters"]
)
def test_what_has_no_second_of_its_kind_is_not_kept(fields: dict[str, Any]) -> None:
    raw = request_of(Datatype.FP32, **fields)
    assert learnt(codec_of(Datatype.FP32), raw).find(raw) is None


def test_typed_questions_are_not_kept() -> None:
    tensor = {"name": "it0", "datatype": "FP32", "shape": [1, 2], "contents": {"fp32_contents": [1.0, 2.0]}}
    raw = REQUEST(model_name="any", inputs=[tensor]).SerializeToString()
    assert learnt(codec_of(Datatype.FP32), raw).find(raw) is None


def test_fields_in_another_order_are_read_and_not_kept() -> None:
    """The raw tensor before the model's name, as no library writes it; then the end is not a tensor."""
    codec, usual = codec_of(Datatype.FP32), request_of(Datatype.FP32)
    tail = usual[-10:]
    odd = tail + usual[:-10]
    assert REQUEST.FromString(odd) == REQUEST.FromString(usual)
    assert learnt(codec, odd).find(odd) is None
    assert not same(codec, learnt(codec, usual), odd)


def test_there_are_never_too_many() -> None:
    codec = codec_of(Datatype.FP32)
    moulds = learnt(codec, *(request_of(Datatype.FP32, rows=rows) for rows in range(1, 600)))
    assert len(moulds._moulds) <= 256
    assert len(moulds._lengths) <= 256


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_changed_bytes_are_never_misread(data: st.DataObject) -> None:
    kinds = [Datatype.FP32, Datatype.BYTES]
    codec = codec_of(*kinds)
    said = [request_of(*kinds), request_of(*kinds, rows=2)]
    moulds = learnt(codec, *said)
    raw = bytearray(data.draw(st.sampled_from(said)))
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        REQUEST.FromString(bytes(raw))
    except DecodeError:
        assert moulds.find(bytes(raw)) is None
    else:
        same(codec, moulds, bytes(raw))


@pytest.mark.parametrize("kinds", [[kind] for kind in Datatype] + [[Datatype.FP32, Datatype.INT8, Datatype.BYTES]])
@pytest.mark.parametrize("whole", [True, False])
def test_an_answer_is_the_same_in_bytes(kinds: list[Datatype], whole: bool, tmp_path: Path) -> None:
    codec = codec_of(*kinds)
    arrays = [np.array([VALUES[kind]] * 5, dtype=kind.dtype) for kind in kinds]
    given = InferResponse.whole(arrays)
    if not whole:
        given = InferResponse(given.call, 2, 2)
    for fields in ({}, {"id": "mine"}, {"outputs": [{"name": f"it{len(kinds) - 1}"}]}):
        asked = codec.decode(REQUEST.FromString(request_of(*kinds, **fields)))
        told = message("ModelInferResponse").FromString(codec.answer(asked, given))
        assert told == codec.encode(asked, given)

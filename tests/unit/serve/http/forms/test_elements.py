"""Elements in JSON and not in JSON: texts by their content type, halves of a float. `test_tensors` has the rest."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from modelyard.core.errors import Unsupported, WrongType
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import Datatype, encode_raw
from modelyard.serve.http.forms.tensors import TensorForm

SPECS = [TensorSpec(name=kind.lower(), datatype=kind, shape=(-1, -1)) for kind in Datatype]
ECHOES = {spec.datatype: TensorForm(Signature(inputs=(spec,), outputs=(spec,)), "echo", 1) for spec in SPECS}


def text(data: list[Any], kind: Any, datatype: str = "BYTES") -> bytes:
    item = {"name": datatype.lower(), "shape": [len(data), 1], "datatype": datatype, "data": data}
    return json.dumps({"inputs": [{**item, "parameters": {"content_type": kind}}]}).encode()


@pytest.mark.parametrize(
    ("kind", "data", "seen"),
    [
        ("base64", ["R3LDtsOfZQ==", ""], ["Größe", ""]),
        ("str", ["R3LDtsOfZQ=="], ["R3LDtsOfZQ=="]),
        ("np", ["a"], ["a"]),
        (None, ["a"], ["a"]),
    ],
)
def test_texts_by_their_content_type(kind: Any, data: list[str], seen: list[str]) -> None:
    assert ECHOES[Datatype.BYTES].decode(text(data, kind), None)[0][0].ravel().tolist() == seen


def test_content_types_that_are_refused() -> None:
    form = ECHOES[Datatype.BYTES]
    for broken in ("R3LDtsOfZQ", "?", "Ré", "_w==", "/w=="):
        with pytest.raises(WrongType, match=r"UTF-8 text in base64.*element 1"):
            form.decode(text(["", broken], "base64"), None)
    for kind in ("pillow_image", "datetime", 3, ["np"]):
        with pytest.raises(Unsupported, match="content_type"):
            form.decode(text(["a"], kind), None)
    with pytest.raises(Unsupported, match="'base64' of its data"):
        ECHOES[Datatype.INT8].decode(text([1], "base64", "INT8"), None)


@pytest.mark.parametrize("datatype", [Datatype.FP16, Datatype.BF16])
def test_halves_go_in_and_out_in_binary(datatype: Datatype) -> None:
    codec, name = ECHOES[datatype], datatype.lower()
    raw = encode_raw(np.array([[1.5, -2.0]]), datatype)
    item = {"name": name, "shape": [1, 2], "datatype": datatype, "parameters": {"binary_data_size": 4}}
    text = json.dumps({"inputs": [item], "parameters": {"binary_data_output": True}}).encode()
    arrays, wanted = codec.decode(text + raw, b"%d" % len(text))
    assert arrays[0].tolist() == [[1.5, -2.0]]
    body, length = codec.encode(tuple(arrays), wanted)
    assert body[length:] == raw
    classes = {"name": name, "parameters": {"classification": 1}}
    text = json.dumps({"inputs": [item], "outputs": [classes]}).encode()
    arrays, wanted = codec.decode(text + raw, b"%d" % len(text))
    assert json.loads(codec.encode(tuple(arrays), wanted)[0])["outputs"][0]["data"] == ["1.500000:0"]

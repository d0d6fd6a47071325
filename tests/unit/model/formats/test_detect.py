"""Files are told by their bytes, never by their names, and nothing is opened to tell."""

from __future__ import annotations

import io
import zipfile

import joblib
import numpy as np
import pytest
import skops.io
from onnx import TensorProto, helper
from sklearn.linear_model import LinearRegression

from modelyard.core.errors import UnknownFormat, Unsupported
from modelyard.model import formats
from modelyard.model.formats import detect

LINE = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])


class Loud:
    """Would be noticed if detection opened a pickle."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise RuntimeError('opened')",)


def dumped(thing: object, **options: object) -> bytes:
    body = io.BytesIO()
    joblib.dump(thing, body, **options)
    return body.getvalue()


@pytest.mark.parametrize("codec", [None, "zlib", "gzip", "bz2", "xz", "lzma"])
def test_pickles_in_every_codec(codec: str | None) -> None:
    for thing in (LINE, Loud()):
        raw = dumped(thing, compress=(codec, 3)) if codec else dumped(thing)
        assert detect(raw, "model.onnx") == "sklearn-pickle"


def test_the_others() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    model = helper.make_model(helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "g", [x], [y]))
    assert detect(model.SerializeToString(), "model.pkl") == "onnx"
    assert detect(skops.io.dumps(LINE), "model.pkl") == "sklearn-skops"
    assert detect(b"beta0: 1\nbeta1: 2\n", "x") == "linear-params"


def zipped(*names: str) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return body.getvalue()


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "empty"),
        (b"\x00" * 64, "starts with 00 00"),
        (np.random.default_rng(1).bytes(512), "starts with"),
        (b"feature,target\n1,2\n", "starts with"),
        (b'{"learner":{"attributes":{}}}', "XGBoost"),
        (b"tree\nversion=v4\n", "LightGBM"),
        (b"CBM1abcdef", "CatBoost"),
        (b"\x89HDF\r\n\x1a\n....", "Keras"),
        (b"<PMML xmlns=''>", "PMML"),
        (b"\x1c\0\0\0TFL3....", "TensorFlow Lite"),
        (b"\x20\0\0\0ORTM....", "ONNX Runtime"),
        (b"GGUF....", "GGUF"),
        (b'\x40\0\0\0\0\0\0\0{"a":1}', "safetensors"),
        (zipped("archive/data.pkl"), "PyTorch"),
        (zipped("model.weights.h5"), "Keras"),
        (zipped("word/document.xml"), "zip archive"),
        (b"PK\x03\x04 not a zip", "damaged zip"),
    ],
)
def test_the_rest_is_named_and_refused(raw: bytes, says: str) -> None:
    with pytest.raises(UnknownFormat) as caught:
        detect(raw, "thing.bin")
    assert says in caught.value.cause
    assert ".joblib" in caught.value.hint


def test_every_format_has_a_title_and_a_backend() -> None:
    assert set(formats.FORMATS) == set(formats.TITLES)
    assert set(formats.FORMATS) >= formats.PLAIN | formats.CODE
    for name in formats.FORMATS:
        assert callable(formats.backend(name).convert)
    with pytest.raises(Unsupported, match="model format 'pmml'"):
        formats.backend("pmml")

"""Large arrays: the bits and the refusals of the ways that look at each number, whatever is wrong with one of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.errors import ModelyardError
from modelyard.core.signature import Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype
from modelyard.serve.http.forms import numeric
from modelyard.serve.http.forms.dataframe import DataframeForm
from modelyard.serve.http.forms.instances import InstanceForm
from modelyard.serve.http.forms.invocation import Invocation
from modelyard.serve.http.forms.tensors import TensorForm
from tests.unit.serve.http.forms.hostile import outcome, same

FILL = 300  # numbers that make a text large
NUMBERS = ("FP64", "FP32", "INT64", "INT32", "INT8", "UINT64", "UINT8")
OPAQUE = {kind: TensorSpec(name="x", datatype=Datatype(kind), shape=(-1, -1)) for kind in (*NUMBERS, "BOOL", "BYTES")}
ECHOES = {kind: TensorForm(Signature(inputs=(spec,), outputs=(spec,)), "echo", 1) for kind, spec in OPAQUE.items()}
TABLE = TensorSpec(
    name="x", datatype=Datatype.FP32, shape=(-1, 3), features=tuple(Feature(name=name) for name in ("a", "b", "c"))
)
TABLES = TensorForm(Signature(inputs=(TABLE,), outputs=(TABLE,)), "table", 1)

#: Numbers as they may be written, right and wrong.
WRITTEN = (
    "0 -0 -0.0 0e5 1E+5 1e-400 -1e-400 1e400 -1e400 5e-324 2.4703282292062327e-324 2.2250738585072011e-308 "
    "1.7976931348623157e308 1.7976931348623159e308 3.4028235677973366e38 3.4028235677973365e38 16777217 1e300 "
    "9007199254740993 9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809 "
    "18446744073709551615 18446744073709551616 127 128 -128 -129 255 256 1.0 1e2 0.1 "
    "123456789012345678901234567890 0.30000000000000004440892098500626 "
    "null true false NaN Infinity -Infinity nan 01 -01 1. .5 +1 - 1e 1e+ 0x1 1_0 1d0 1f [] [1] {} 1,2 1,,2 , "
    '"1" "" "x]" 1] [1 1}'
)
TOKENS = st.sampled_from(WRITTEN.split()) | st.floats(allow_nan=False, allow_infinity=False).map(repr)
SPACES = st.sampled_from(["", " ", "\n\t", "\r\n", "\x0c", "\xa0", "\ufeff", "\x00", "//"])


def plainly(call: Callable[[], Any]) -> Any:
    """The same without this module."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(numeric, "Parser", None)
        return outcome(call)


def alike(call: Callable[[], Any], *, wanted: bool = False) -> Any:
    """What becomes of a body, which is what becomes of it without this module; `wanted` when not arrays alone."""
    quick, slow = outcome(call), plainly(call)
    if isinstance(slow, ModelyardError):
        assert isinstance(quick, ModelyardError)
        assert quick.to_wire() == slow.to_wire()
    elif wanted:
        assert same(quick[0], slow[0])
        assert quick[1] == slow[1]
    else:
        assert same(quick, slow)
        assert all(array.flags.c_contiguous for array in quick)
    return quick


def agreed(form: TensorForm, body: bytes) -> Any:
    """The same of a v2 body."""
    return alike(lambda: form.decode(body, None), wanted=True)


def written(texts: list[str], *, width: int = 0) -> str:
    if not width:
        return f"[{','.join(texts)}]"
    return f"[{','.join(written(texts[at : at + width]) for at in range(0, len(texts), width))}]"


def body(data: str, kind: str, shape: list[int], *, before: str = "", after: str = "") -> bytes:
    return f'{{"inputs":[{{"name":"x",{before}"shape":{shape},"datatype":"{kind}","data":{data}{after}}}]}}'.encode()


@given(st.data(), st.sampled_from(sorted(ECHOES)), st.sampled_from([0, 3]), st.lists(TOKENS, max_size=3))
@settings(deadline=None, max_examples=300)
def test_odd_numbers_in_large_arrays(data: st.DataObject, kind: str, width: int, odd: list[str]) -> None:
    texts = [str(at % 100) if "INT" in kind else f"{at}.25" for at in range(FILL)]
    for text in odd:
        space = data.draw(SPACES)
        texts[data.draw(st.integers(0, FILL - 1))] = space + text + data.draw(st.sampled_from(["", space]))
    shape = data.draw(st.sampled_from([[FILL // 3, 3], [FILL, 1], [FILL], [3, FILL // 3], [FILL // 3, 4]]))
    agreed(ECHOES[kind], body(written(texts, width=width), kind, shape))
    if kind == "FP32":
        agreed(TABLES, body(written(texts, width=width), kind, shape))


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_a_changed_byte_in_a_large_body(data: st.DataObject) -> None:
    width = data.draw(st.sampled_from([0, 3]))
    whole = body(written([f"{at}.5" for at in range(FILL)], width=width), "FP32", [FILL // 3, 3])
    at = data.draw(st.integers(0, 80) | st.integers(0, len(whole) - 1) | st.integers(len(whole) - 9, len(whole) - 1))
    piece = data.draw(
        st.sampled_from([b"", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b" ", b"-", b"\xff", b"e"])
    )
    agreed(TABLES, whole[:at] + piece + whole[at + data.draw(st.integers(0, 1)) :])


LARGE = written([f"{at}.5" for at in range(FILL)])
SHAPE = [FILL // 3, 3]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ',"data":[1]'),  # said twice: the last counts
        (f'"data":{LARGE},', ""),
        (f'"data":{LARGE},', ',"data":[1,2,3]'),
        ('"data":[1,2,3],', ""),
        (f'"parameters":{{"data":{LARGE}}},', ""),
        (f'"parameters":{{"x\\"data":{LARGE}}},', ""),
        (f'"other":{LARGE},', ""),
        (f'"instances":{LARGE},', ""),
        ('"parameters":{"x":"[[[]]]"},', ""),
        ('"parameters":{"x":[[[]]]},', ""),
        ('"data":[[[]]],', ""),
        ("", ',"data":[[[]]]'),
        ("", ',"parameters":{}'),
        ("", ',"parameters":{"content_type":"np"}'),
        ("", ',"parameters":{"binary_data_size":4}'),
        ("", ',"parameters":{"shared_memory_region":"r"}'),
        ("", ","),
        ("", "]"),
        ("", " 3"),
        ("", "}]}x"),
        ("", '},{"name":"x"'),
        ("", '},{"name":"y","shape":[1],"datatype":"FP32","data":[1]'),
        ("", f'}},{{"name":"y","shape":{SHAPE},"datatype":"FP32","data":{LARGE}'),
        ("", f'}}],"inputs":[{{"name":"x","shape":{SHAPE},"datatype":"FP32","data":{LARGE}'),
        ("", '}],"id":"data","outputs":[{"name":"nope"'),
        ("", '}],"id":"[[[]]]","outputs":[{"name":"x"'),
        ("", '}],"id":"\xff'),
    ],
)
@pytest.mark.parametrize("form", [TABLES, ECHOES["FP32"]], ids=["table", "opaque"])
def test_what_stands_beside_a_large_array(before: str, after: str, form: TensorForm) -> None:
    whole = body(LARGE, "FP32", SHAPE, before=before, after=after)
    agreed(form, whole)
    agreed(form, b"\xef\xbb\xbf" + whole)
    agreed(form, whole.replace(b"\xc3\xbf", b"\xff"))
    agreed(form, whole[:-1])
    agreed(form, whole + b" \n")


PLAIN = Signature(inputs=(TABLE,), outputs=(TABLE,))
WHOLE = TensorSpec(
    name="x",
    datatype=Datatype.FP64,
    shape=(-1, 3),
    features=(Feature(name="a"), Feature(name="b", kind=FeatureKind.INTEGER, nullable=True), Feature(name="c")),
)
SIGNATURES = {
    "table": PLAIN,
    "whole": Signature(inputs=(WHOLE,), outputs=(TABLE,)),
    "count": Signature(
        inputs=(
            TensorSpec(
                name="n",
                datatype=Datatype.INT64,
                shape=(-1, 1),
                features=(Feature(name="a", kind=FeatureKind.INTEGER),),
            ),
        ),
        outputs=(TABLE,),
    ),
    "columns": Signature(
        inputs=tuple(
            TensorSpec(name=name, datatype=Datatype.FP32, shape=(-1,), features=(Feature(name=name),)) for name in "abc"
        ),
        outputs=(TABLE,),
    ),
    "image": Signature(inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 3)),), outputs=(TABLE,)),
    "halves": Signature(inputs=(TensorSpec(name="x", datatype=Datatype.BF16, shape=(-1, 3)),), outputs=(TABLE,)),
}
BODIES = [
    '{"dataframe_split":{"columns":["a","b","c"],"data":%s}}',
    '{"dataframe_split":{"columns":["c","a","b"],"data":%s}}',
    '{"dataframe_split":{"data":%s,"index":[1,2],"columns":["a","b","c"]}}',
    '{"dataframe_split":{"data":%s,"columns":["a","b"]}}',
    '{"dataframe_split":{"data":%s,"columns":["a","b","b"]}}',
    '{"dataframe_split":{"data":%s,"data":[[1,2,3]],"columns":["a","b","c"]}}',
    '{"dataframe_split":{"columns":["a"],"data":%s}}',
    '{"dataframe_records":%s}',
    '{"instances":%s}',
    '{"instances": %s , "params": {"a":1}}',
    '{"instances":%s,"instances":[1]}',
    '{"inputs":%s}',
    '{"inputs":%s,"instances":[[1,2,3]]}',
    '{"inputs":[{"name":"x","shape":[100,3],"datatype":"FP32","data":%s}]}',
    "%s",
    " %s ",
    '{"x":{"instances":%s}}',
]


@given(
    st.data(),
    st.sampled_from(sorted(SIGNATURES)),
    st.sampled_from(BODIES),
    st.sampled_from([0, 1, 3]),
    st.lists(TOKENS, max_size=2),
)
@settings(deadline=None, max_examples=300)
def test_every_form_agrees_with_itself(data: st.DataObject, name: str, form: str, width: int, odd: list[str]) -> None:
    signature = SIGNATURES[name]
    whole = name in {"whole", "count"} and data.draw(st.booleans())
    texts = [str(at) if whole else f"{at}.5" for at in range(FILL)]
    for text in odd:
        texts[data.draw(st.integers(0, FILL - 1))] = text
    body = (form % written(texts, width=width)).encode()
    frames, invocation = DataframeForm(signature, "m", 1), Invocation(signature, "m", 1)
    alike(lambda: frames.decode(body))
    alike(lambda: invocation.read_json(body)[0])
    instances = InstanceForm(signature, "m", 1)
    alike(lambda: instances.rows(written(texts, width=width).encode()))
    alike(lambda: instances.columns(written(texts, width=width).encode()))


@pytest.mark.parametrize(
    "body", [*[item for item in BODIES if "split" in item][:2], '{"instances":%s}', '{"inputs":%s}']
)
def test_tables_of_numbers_are_read_at_once(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = written([f"{at}.5" for at in range(FILL)], width=3)
    monkeypatch.setattr(DataframeForm, "_well_formed", None)  # the other way is not even tried
    (array,) = DataframeForm(PLAIN, "m", 1).decode((body % texts).encode())
    expected = np.array(json.loads(texts), dtype=np.float32)
    assert array.tolist() == (expected[:, [1, 2, 0]] if '"c","a"' in body else expected).tolist()


def test_a_large_array_is_found_unread_and_read_at_once() -> None:
    found = numeric.cut(body(LARGE, "FP32", SHAPE))
    assert found is not None
    assert found.texts == [LARGE.encode()]
    assert found.rest == body(numeric.MARK.decode(), "FP32", SHAPE)
    array = numeric.read(found.texts[0], Datatype.FP32)
    assert array is not None
    assert array.tolist() == json.loads(LARGE)
    assert isinstance(agreed(TABLES, body(LARGE, "FP32", SHAPE)), tuple)


@pytest.mark.parametrize("many", [1, 3])
def test_several_large_arrays_in_one_body(many: int) -> None:
    specs = tuple(TensorSpec(name=f"x{at}", datatype=Datatype.FP64, shape=(-1,)) for at in range(many))
    form = TensorForm(Signature(inputs=specs, outputs=specs), "several", 1)
    items = [
        {
            "name": spec.name,
            "datatype": "FP64",
            "shape": [FILL],
            "data": [float(at + FILL * number) for at in range(FILL)],
        }
        for number, spec in enumerate(specs)
    ]
    items[0]["data"] = items[0]["data"] if many == 1 else [0.5] * FILL
    arrays, _ = agreed(form, json.dumps({"inputs": items[::-1]}).encode())
    assert [array.tolist() for array in arrays] == [item["data"] for item in items]


@given(
    st.recursive(
        st.integers(-(2**63), 2**63 - 1),
        lambda inner: st.lists(inner, max_size=3) | st.lists(inner, min_size=2, max_size=2),
        max_leaves=12,
    )
)
@settings(deadline=None, max_examples=300)
def test_lists_are_regular_or_none_of_ours(data: Any) -> None:
    array = numeric.read(json.dumps(data).encode(), Datatype.INT64)
    try:
        expected: Array | None = np.array(data, dtype=np.int64)
    except ValueError:
        expected = None
    if expected is None or not isinstance(data, list) or not expected.size:
        assert array is None
    else:
        assert array is not None
        assert array.tolist() == expected.tolist() == data


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.sampled_from(["%r", "%.40e", "%.17g"])
)
@settings(deadline=None, max_examples=300)
def test_numbers_have_the_bits_that_msgspec_gives_them(values: list[float], form: str) -> None:
    text = written([form % value for value in values]).encode()
    array = numeric.read(text, Datatype.FP64)
    assert array is not None
    assert array.tobytes() == np.array(msgspec.json.decode(text, type=list[float])).tobytes()


def test_nothing_is_kept_of_the_largest() -> None:
    text = b"[%s1]" % (b"1," * (1 << 20))
    array = numeric.read(text, Datatype.FP64)
    assert array is not None
    assert array.sum() == array.size == (1 << 20) + 1


@given(
    st.lists(
        st.tuples(st.floats(), st.floats() | st.integers(-(10**400), 10**400) | st.none() | st.booleans()), min_size=1
    )
)
@settings(deadline=None, max_examples=300)
@pytest.mark.parametrize("datatype", [Datatype.FP32, Datatype.FP64])
def test_rows_are_packed_as_numpy_would(datatype: Datatype, rows: list[tuple[Any, Any]]) -> None:
    array = numeric.table(rows, datatype)
    plain = all(isinstance(value, (int, float)) for row in rows for value in row)
    try:
        with np.errstate(over="ignore"):
            expected = np.array(rows, dtype=datatype.dtype) if plain else None
    except OverflowError:
        expected = None
    if array is None:
        large = expected is not None and bool(np.isinf(expected).any())
        assert expected is None or large
    else:
        assert expected is not None
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)
        assert np.array_equal(np.signbit(array), np.signbit(expected)) or bool(np.isnan(expected).any())


@given(st.binary())
def test_colons_are_counted(text: bytes) -> None:
    for many in (text, text * 300, bytearray(text * 300)):
        assert numeric.colons(many) == many.count(b":")

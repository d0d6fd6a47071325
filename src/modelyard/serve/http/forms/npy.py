"""NumPy's file format, one array in and one out, for models with one input tensor. No pickles, no objects.

Source: NumPy enhancement proposal 1, *A simple file format for NumPy arrays*.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from modelyard.core.errors import InvalidRequest, Unsupported, WrongShape, WrongType
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import Array, element_count
from modelyard.core.vectors import from_vectors
from modelyard.serve.http.forms.answers import AnswerTable

_MAGIC = b"\x93NUMPY"
_LENGTHS = {b"\x01\x00": 2, b"\x02\x00": 4}  # bytes of the header's length by version; 3 is for named columns only
_HEADER_BYTES = 10_000
_PLAIN = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|U[1-9][0-9]{0,8})")
_MEMBER = re.compile(
    r"""\s*(['"])(?P<name>descr|fortran_order|shape)\1\s*:\s*"""
    r"""(?:(['"])(?P<descr>[^'"\\]{0,40})\3|(?P<order>True|False)|\((?P<shape>(?:\s*\d{1,12}\s*,)*\s*(?:\d{1,12}\s*)?)\))"""
    r"\s*(?:,\s*|(?=\}))"
)
_MAX_RANK = 16
_MAX_ELEMENTS = 1 << 31


class NpyForm:
    """One array for one version; made once, when it is first asked so."""

    MEDIA: ClassVar[tuple[bytes, ...]] = (b"application/x-npy",)
    CONTENT_TYPE: ClassVar[bytes] = b"application/x-npy"

    def __init__(self, signature: Signature, name: str, version: int) -> None:
        del name, version
        self._signature = signature
        self._table = AnswerTable(signature)

    @staticmethod
    def reads(signature: Signature) -> bool:
        """Whether questions fit this form: one tensor does."""
        return len(signature.inputs) == 1

    @staticmethod
    def writes(signature: Signature, *, full: bool) -> bool:
        """Whether answers fit this form: one array does."""
        return AnswerTable(signature).single and not full

    def decode(self, body: bytes | bytearray) -> tuple[Array, ...]:
        """The arranged array; a `ModelyardError` says what does not fit."""
        if not self.reads(self._signature):
            names = ", ".join(spec.name for spec in self._signature.inputs[:8])
            raise Unsupported(what=f"one array for a model of several inputs ({names})", hint="send Arrow or JSON")
        spec = self._signature.inputs[0]
        array = _read(bytes(body), spec)
        if not spec.features:
            return from_vectors(self._signature, {spec.name: array})
        table = _table(spec, array)
        return from_vectors(self._signature, {f.name: table[:, at] for at, f in enumerate(spec.features)})

    def encode(self, outputs: Sequence[Array]) -> bytes:
        """The prediction, a row each; text as fixed-width characters."""
        if not self._table.single:
            raise Unsupported(what="one array for an answer of several outputs", hint="ask for Arrow or JSON")
        ((_, array),) = self._table.columns(outputs, full=False)
        out = io.BytesIO()
        np.lib.format.write_array(out, array.astype("U") if array.dtype.kind == "O" else array, allow_pickle=False)
        return out.getvalue()

    def encode_full(self, outputs: Sequence[Array]) -> bytes:
        """Refused: one array cannot hold a label and its probabilities."""
        del outputs
        raise Unsupported(what="details in one array", hint="ask for Arrow or JSON")


def _read(body: bytes, spec: TensorSpec) -> Array:
    start, header = _header(body)
    descr, shape = str(header["descr"]), header["shape"]
    if not _PLAIN.fullmatch(descr):
        raise WrongType(field=spec.name, expected=f"an array of {spec.datatype}", got=f"one of {descr[:40]}", where="")
    dtype = np.dtype(descr)
    need = element_count(shape) * dtype.itemsize
    if len(body) - start != need:
        problem = f"shape {list(shape)} of {descr} needs {need} bytes, got {len(body) - start}"
        raise WrongShape(field=spec.name, problem=problem)
    flat = np.frombuffer(body, dtype=dtype, offset=start) if need else np.empty(element_count(shape), dtype=dtype)
    array = flat.reshape(shape, order="F" if header["fortran_order"] else "C")
    return _texts(array, spec) if dtype.kind == "U" else array.astype(dtype.newbyteorder("="), copy=False)


def _texts(array: Array, spec: TensorSpec) -> Array:
    try:
        return array.astype(object)
    except ValueError as exc:  # a number that is no character
        raise InvalidRequest(what=f"input {spec.name!r}: the text is damaged", cause=str(exc)[:100]) from exc


def _header(body: bytes) -> tuple[int, dict[str, Any]]:
    """Where the data begins, and the header: its dtype, order and shape."""
    width = _LENGTHS.get(body[6:8])
    if not body.startswith(_MAGIC) or width is None:
        raise InvalidRequest(what="the body is not an .npy file of version 1 or 2")
    start = 8 + width
    end = start + int.from_bytes(body[8:start], "little")
    if end - start > _HEADER_BYTES or end > len(body):
        raise InvalidRequest(what="the header of the .npy file is cut off or too long")
    return end, _members(body[start:end].decode("latin-1").strip())


def _members(text: str) -> dict[str, Any]:
    """The three members of a header, which is written as a Python dictionary and read as nothing but text."""
    found: dict[str, Any] = {}
    at = 1
    while member := _MEMBER.match(text, at):
        at = member.end()
        name, descr, order, shape = member["name"], member["descr"], member["order"], member["shape"]
        if name in found or (name == "descr", name == "fortran_order") != (descr is not None, order is not None):
            break
        found[name] = _axes(shape) if name == "shape" else descr if order is None else order == "True"
    if set(found) != {"descr", "fortran_order", "shape"} or text[:1] + text[at:] != "{}":
        raise InvalidRequest(what="the header of the .npy file must say descr, fortran_order and shape, each once")
    return found


def _axes(text: str) -> tuple[int, ...]:
    shape = tuple(int(length) for length in text.split(",") if length.strip())
    if len(shape) > _MAX_RANK or any(length > _MAX_ELEMENTS for length in shape):
        raise InvalidRequest(what="the header of the .npy file says no shape")
    return shape


def _table(spec: TensorSpec, array: Array) -> Array:
    """The array with a column a feature."""
    if array.ndim == 1 and len(spec.features) == 1:
        return array.reshape(-1, 1)
    if array.ndim != 2 or array.shape[1] != len(spec.features):
        raise WrongShape(field=spec.name, problem=f"shape {list(array.shape)} does not match {list(spec.shape)}")
    return array

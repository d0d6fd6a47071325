"""A body of whatever kind a cloud's callers send: told apart by content type, JSON by its members.

JSON means, in this order: a list of objects is rows, another list TensorFlow Serving's ``instances``; an object with
``inputs`` that are tensors (``name``, ``shape``, ``datatype``) is protocol v2; one with a member of `ENVELOPES` is
MLflow's or TensorFlow Serving's; every other object is a row or columns. A member that the model itself has as a field
of that name is that field. The answer is in the words of the question, unless ``Accept`` names another form.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

import msgspec
import orjson

from modelyard.core.errors import InvalidRequest, MissingExtra, ModelyardError, NoRows, NotAcceptable, Unsupported
from modelyard.core.signature import Signature
from modelyard.core.tensor import Array, Arrays
from modelyard.serve.http import forms
from modelyard.serve.http.forms import numeric
from modelyard.serve.http.forms.answers import AnswerTable
from modelyard.serve.http.forms.dataframe import FORMATS, DataframeForm
from modelyard.serve.http.forms.document import parse
from modelyard.serve.http.forms.instances import InstanceForm
from modelyard.serve.http.forms.rows import RowForm, dump_array
from modelyard.serve.http.forms.tensors import TensorForm, json_length
from modelyard.serve.http.negotiation import media_type, ranked

JSON = b"application/json"
LINES = b"application/jsonlines"
ENVELOPES = frozenset(FORMATS)

#: Writes outputs: the content type and the body.
Writer = Callable[[Sequence[Array]], tuple[bytes, bytes]]
Headers = Mapping[bytes, bytes]

_LINE_TYPES = (LINES, b"application/x-ndjson", b"application/jsonl", b"application/x-jsonlines")
_OCTETS = b"application/octet-stream"
_BINARY = b"application/vnd.%s-triton.binary+json"
_CSV = b"text/csv"
_TENSOR = {"name", "shape", "datatype"}
_MISFITS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_FIRST = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


class Invocation:
    """Every body for one version; made once, when it is loaded.

    Parameters
    ----------
    signature : Signature
        Of the model.
    name, version : str, int
        Of the model.
    platform : str
        Whose binary content type is answered: ``sagemaker`` or ``vertex-ai``.
    """

    def __init__(self, signature: Signature, name: str, version: int, platform: str = "sagemaker") -> None:
        self._made = partial(_make, signature, name, version)
        self._fields = signature.field_names
        self._own = ENVELOPES & set(self._fields)
        self._binary = _BINARY % platform.encode()
        self._rows = RowForm(signature, name, version)
        self._frames = DataframeForm(signature, name, version)
        self._instances = InstanceForm(signature, name, version)
        self._tensors = TensorForm(signature, name, version)
        self._answers = AnswerTable(signature)
        self._forms: dict[bytes, forms.Form] = {}

    def read(self, body: bytes | bytearray, headers: Headers, accept: bytes) -> tuple[Arrays, Writer]:
        """The arranged arrays that the body stands for, and who writes the answer.

        Parameters
        ----------
        body : bytes
            Without content encodings.
        headers : mapping
            Of the request; ``content-type`` is required.
        accept : bytes
            Value of ``Accept``, or what the platform's default is; empty for no wish.

        Raises
        ------
        Unsupported
            A content type, or no form in ``Accept``, that is spoken here.
        InvalidRequest, InvalidInput
            What does not fit.
        """
        kind, parameters = _media(headers.get(b"content-type", b""))
        arrays, own = self._decode(kind, parameters, body, headers)
        return arrays, self._writer(accept, own)

    def read_json(self, body: bytes | bytearray) -> tuple[Arrays, Writer]:
        """The same for a body that is JSON, and an answer that is."""
        start = bytes(body[:64]).lstrip()[:1]
        if start == b"[":
            return self._listed(body)
        large = numeric.cut(body)
        if large is not None:
            with suppress(*_MISFITS, ModelyardError):  # else it has to be looked at
                return self._by_members(_MEMBERS.decode(large.rest), body)
        try:
            members = _MEMBERS.decode(body)
        except _MISFITS:
            found = parse(body)  # it may hold NaN
            members = dict.fromkeys(found, msgspec.Raw()) if isinstance(found, dict) else {}
        return self._by_members(members, body)

    def _by_members(self, members: dict[str, msgspec.Raw], body: bytes | bytearray) -> tuple[Arrays, Writer]:
        """The same for an object that has these."""
        given = ENVELOPES & members.keys() - self._own
        if "inputs" in given and _is_tensors(members["inputs"]):
            arrays, wanted = self._tensors.decode(body, None)
            return arrays, partial(self._write_tensors, wanted)
        if given:
            return self._frames.decode(body), self._write_predictions
        return self._rows.decode(body), self._write_rows

    def _decode(
        self, kind: bytes, parameters: Mapping[bytes, bytes], body: bytes | bytearray, headers: Headers
    ) -> tuple[Arrays, Writer]:
        if kind in _LINE_TYPES:
            return self._lines(body), self._write_lines
        if kind.endswith(b"json") and kind != self._binary:
            return self.read_json(body)
        if kind in (_OCTETS, self._binary):
            length = json_length(headers)
            if length is None and kind == _OCTETS:
                raise Unsupported(what="octets without Inference-Header-Content-Length", hint=_HINT)
            arrays, wanted = self._tensors.decode(body, length)
            return arrays, partial(self._write_tensors, wanted)
        form = self._form(kind)
        if kind == _CSV:
            return _without_header(form, parameters, body, self._fields), self._write_predictions
        return form.decode(body), self._write_predictions

    def _listed(self, body: bytes | bytearray) -> tuple[Arrays, Writer]:
        """Rows, or the bare values of the only tensor."""
        if len(body) >= numeric.WORTH_BYTES:
            with suppress(ModelyardError):  # else it has to be looked at
                arrays = self._instances.numbers(bytes(body))
                if arrays is not None:
                    return arrays, self._write_predictions
        try:
            return self._rows.decode(body), self._write_rows
        except ModelyardError as exc:
            items = parse(body)
            if not items:
                raise NoRows() from exc
            if any(isinstance(item, dict) for item in items):
                raise
            return self._instances.from_rows(items), self._write_predictions

    def _lines(self, body: bytes | bytearray) -> tuple[Array, ...]:
        """A row object a line."""
        lines = [line for line in bytes(body).splitlines() if line.strip()]
        if not lines:
            raise NoRows()
        for at, line in enumerate(lines):
            if line.lstrip()[:1] != b"{":
                raise InvalidRequest(what=f"line {at + 1} is not a JSON object")
        try:
            return self._rows.decode_lines(lines)
        except InvalidRequest:
            for line in lines:  # one of them says what is wrong with it
                self._rows.decode(line)
            raise

    def _writer(self, accept: bytes, own: Writer) -> Writer:
        """The most welcome form; of equally welcome ones the question's own."""
        offered = (b"", JSON, self._binary, _OCTETS, _CSV, *_LINE_TYPES, *forms.FORMS)
        kind = next(iter(ranked(accept, offered)), None) if accept else b""
        if kind is None:
            raise NotAcceptable(accept=accept.decode("latin-1")[:200], known=forms.OFFERED)
        if kind == JSON and own == self._write_lines:
            return self._write_rows
        if kind in (b"", JSON, self._binary, _OCTETS):
            return own
        if kind in _LINE_TYPES:
            return self._write_lines
        if kind == _CSV and b"header=present" not in accept.lower():
            return self._write_csv
        return partial(self._write_form, self._form(kind))

    def _form(self, kind: bytes) -> forms.Form:
        """The form of this media type; its library is needed when it is first asked for."""
        if kind not in self._forms:
            if kind not in forms.FORMS:
                told = f"content type {kind.decode('latin-1')[:80]!r}" if kind else "a body without a content type"
                raise Unsupported(what=told, hint=_HINT)
            try:
                self._forms[kind] = self._made(kind)
            except MissingExtra as exc:
                raise Unsupported(what=exc.detail, hint=exc.hint) from exc
        return self._forms[kind]

    def _write_rows(self, outputs: Sequence[Array]) -> tuple[bytes, bytes]:
        return JSON, self._rows.encode(outputs)

    def _write_predictions(self, outputs: Sequence[Array]) -> tuple[bytes, bytes]:
        return JSON, self._frames.encode(outputs)

    def _write_lines(self, outputs: Sequence[Array]) -> tuple[bytes, bytes]:
        return LINES, b"".join(line.rstrip(b"\n") + b"\n" for line in self._rows.encode_lines(outputs))

    def _write_tensors(self, wanted: Any, outputs: Sequence[Array]) -> tuple[bytes, bytes]:
        content, length = self._tensors.encode(outputs, wanted)
        return (JSON if length is None else b"%s;json-header-size=%d" % (self._binary, length)), content

    def _write_csv(self, outputs: Sequence[Array]) -> tuple[bytes, bytes]:
        """Without the line of names, as the platforms' own containers answer."""
        out = io.StringIO(newline="")
        columns = [_texts(array) for _, array in self._answers.flat(outputs, full=False)]
        csv.writer(out, lineterminator="\n").writerows(zip(*columns, strict=True))
        return _CSV, out.getvalue().encode()

    @staticmethod
    def _write_form(form: forms.Form, outputs: Sequence[Array]) -> tuple[bytes, bytes]:
        return form.CONTENT_TYPE, form.encode(outputs)


def _make(signature: Signature, name: str, version: int, kind: bytes) -> forms.Form:
    return forms.form(kind)(signature, name, version)


def _texts(array: Array) -> list[Any]:
    """One value a row; NaN and infinity are nothing."""
    if array.dtype.kind == "b":
        return ["true" if item else "false" for item in array.tolist()]
    values: list[Any] = orjson.loads(dump_array(array))
    return values


def _is_tensors(raw: msgspec.Raw) -> bool:
    """Whether ``inputs`` are protocol v2's."""
    try:
        items = _FIRST.decode(raw)
    except _MISFITS:
        return False
    return bool(items) and items[0].keys() >= _TENSOR


def _without_header(
    form: Any, parameters: Mapping[bytes, bytes], body: bytes | bytearray, fields: Sequence[str]
) -> tuple[Array, ...]:
    """CSV with a line of names or none: as the content type says, else it is one when it names nothing but fields."""
    said = parameters.get(b"header")
    if said not in (None, b"present", b"absent"):
        raise Unsupported(what=f"header={said.decode('latin-1')[:20]}", hint="it is present or absent")
    first = bytes(body).split(b"\n", 1)[0].decode("utf-8", "replace").lstrip("\ufeff").strip()
    cells = {cell.strip().strip('"') for cell in first.replace(";", ",").replace("\t", ",").split(",")}
    present = said == b"present" if said else cells <= set(fields)
    arrays: tuple[Array, ...] = form.decode(body, header=present)
    return arrays


@lru_cache(maxsize=256)
def _media(value: bytes) -> tuple[bytes, Mapping[bytes, bytes]]:
    """A ``Content-Type`` in parts; UTF-8 is the only charset."""
    kind, parameters = media_type(value)
    charset = parameters.get(b"charset", b"utf-8")
    if charset not in (b"utf-8", b"utf8", b"us-ascii"):
        raise Unsupported(what=f"charset {charset.decode('latin-1')[:40]!r}", hint="send it in UTF-8")
    return kind, parameters


_HINT = "send JSON, CSV, JSON lines, npy, Parquet, Arrow, MessagePack, XML or v2 tensors"

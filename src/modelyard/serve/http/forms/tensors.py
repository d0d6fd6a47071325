"""Open Inference Protocol v2: JSON tensors and the binary tensor data extension, strictly checked.

Sources: the protocol's REST specification and its binary tensor data extension; where they are silent, Triton.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import repeat
from typing import Any

import msgspec
import orjson

from modelyard.core.errors import InvalidRequest, ModelyardError, UnknownField, WrongType
from modelyard.core.inference import Call, InferResponse
from modelyard.core.signature import ANY, Signature, TensorSpec
from modelyard.core.tensor import Array, Arrays, Datatype, checked_shape, decode_raw, encode_raw
from modelyard.serve.classification import classified, refuse_unscored
from modelyard.serve.http.forms import elements, numeric
from modelyard.serve.http.forms.raw import whole
from modelyard.serve.http.forms.usual import Beside, Output, UsualRequest
from modelyard.serve.parameters import binary_size, is_base64, output_parameters, request_parameters

HEADER_LENGTH = b"inference-header-content-length"
_DIGITS = 16  # of a length; a number of thousands of digits is not even read
_CARRIED = re.compile(rb"application/vnd\.(?:sagemaker|vertex-ai)-triton\.binary\+json;\s*json-header-size=(\d+)$")
_NO_BYTES = memoryview(b"")
_FOREVER = float("inf")

Outputs = tuple[tuple[int, bool], ...]
Classes = tuple[tuple[int, int], ...]
_NO_CLASSES: Classes = ()


class _Input(msgspec.Struct, gc=False):
    name: str
    shape: tuple[int, ...]
    datatype: str
    data: msgspec.Raw = msgspec.Raw(b"")
    parameters: dict[str, Any] | None = None


class _Body(Beside, gc=False):
    inputs: list[_Input]


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """What one request asks to be answered.

    Parameters
    ----------
    id : str
        The caller's name for it.
    outputs : tuple of (int, bool)
        Which outputs, by their place in the signature, and whether in binary.
    classes : tuple of (int, int)
        Outputs, by their place, of which so many best classes are wanted instead of the scores.
    wait_s : float
        How long the caller waits for it.
    """

    id: str
    outputs: Outputs
    classes: Classes = ()
    wait_s: float = _FOREVER


_BODY = msgspec.json.Decoder(_Body)


@lru_cache(maxsize=1024)  # most answers have the shape of the one before
def _extent(shape: tuple[int, ...]) -> bytes:
    return ",".join(map(str, shape)).encode()


def json_length(headers: Mapping[bytes, bytes]) -> bytes | None:
    """How much of a body is JSON, the rest being raw tensors; None when all of it is.

    Parameters
    ----------
    headers : mapping
        Of the request. Platforms that pass no header of their clients on carry it in ``Content-Type``.

    Raises
    ------
    InvalidRequest
        Text would be read as numbers.
    """
    length = headers.get(HEADER_LENGTH)
    if length is None:
        kind = headers.get(b"content-type")
        if kind is not None and kind.startswith(b"application/vnd.") and (found := _CARRIED.match(kind)):
            return found[1]
    elif length == b"0" and headers.get(b"content-type", b"").startswith(b"application/json"):
        raise InvalidRequest(
            what="the body is JSON by its content type, and one raw tensor by Inference-Header-Content-Length: 0",
            hint="send a raw tensor as application/octet-stream",
        )
    return length


class TensorForm:
    """The v2 contract for one version; made once, when it is loaded."""

    def __init__(self, signature: Signature, name: str, version: int) -> None:
        self._signature = signature
        self._inputs = {spec.name: elements.Elements(spec) for spec in signature.inputs}
        self._usual = UsualRequest(list(self._inputs.values()))
        self._prefix = b'{"model_name":%s,"model_version":"%d",' % (orjson.dumps(name), version)
        places = range(len(signature.outputs))
        self._all = tuple((at, False) for at in places)
        self._all_binary = tuple((at, True) for at in places)
        self._plain = Wanted("", self._all)
        self._in_json = all(spec.datatype.in_json for spec in signature.outputs)
        self._heads = [
            b'{"name":%s,"datatype":"%s","shape":[' % (orjson.dumps(spec.name), spec.datatype.encode())
            for spec in signature.outputs
        ]

    def decode(self, body: bytes | bytearray, header_length: bytes | None) -> tuple[Arrays, Wanted]:
        """The arranged arrays, and what is wanted back; a `ModelyardError` says what does not fit.

        Parameters
        ----------
        body : bytes
            The whole body.
        header_length : bytes or None
            Value of ``Inference-Header-Content-Length``: how much of the body is JSON; the rest is raw tensors. None
            when all of it is JSON; 0 when the body is one raw tensor.
        """
        if header_length is None:
            found = numeric.cut(body)
            if found is not None:
                with suppress(ModelyardError):  # what the body says without them may not be what is wrong with it
                    return self._read(_parsed(found.rest), _NO_BYTES, found.texts)
            usual = self._usual.read(body)
            if usual is not None:
                return usual[0], self._wanted(usual[1])
            return self._read(_parsed(body), _NO_BYTES, [])
        text, raw = _split(body, header_length)
        if not text:
            return whole(raw, self._signature), Wanted("", self._all_binary)
        return self._read(_parsed(text), raw, [])

    def encode(self, outputs: Sequence[Array], wanted: Wanted) -> tuple[bytes, int | None]:
        """The answer, and the length of its JSON when raw tensors follow it."""
        heads: Sequence[bytes] = self._heads
        specs: Sequence[TensorSpec] = self._signature.outputs
        if wanted.classes:
            outputs, heads, specs = self._classified(outputs, wanted)
        tensors, tail = [], []
        for at, binary in wanted.outputs:
            array = outputs[at]
            if binary:
                raw = encode_raw(array, specs[at].datatype)
                about = heads[at], _extent(array.shape), len(raw)
                tensors.append(b'%s%s],"parameters":{"binary_data_size":%d}}' % about)
                tail.append(raw)
            else:
                tensors.append(b'%s%s],"data":%s}' % (heads[at], _extent(array.shape), elements.dump(array)))
        name = b'"id":%s,' % orjson.dumps(wanted.id) if wanted.id else b""
        text = b'%s%s"outputs":[%s]}' % (self._prefix, name, b",".join(tensors))
        return (b"".join((text, *tail)), len(text)) if tail else (text, None)

    def answer(self, given: InferResponse, wanted: Wanted) -> tuple[bytes, int | None]:
        """`encode` for one of the questions of a call; what can be written for all of them at once is."""
        call, asked = given.call, wanted.outputs
        if given.rows > 1 or call.rows == 1 or wanted.classes:
            return self.encode(given.outputs, wanted)
        answers = call.notes.get(asked)
        if answers is None:
            answers = call.notes[asked] = self._rows(call, asked)
        if not answers:
            return self.encode(given.outputs, wanted)
        answer: bytes = answers[given.first]
        if wanted.id:
            answer = b'%b"id":%b,%b' % (self._prefix, orjson.dumps(wanted.id), answer[len(self._prefix) :])
        return answer, None

    def _rows(self, call: Call, asked: Outputs) -> Sequence[bytes]:
        """These outputs of each row alone, as they are answered without an id; nothing of what is not rows of JSON."""
        arrays = [call.outputs[at] for at, _ in asked]
        if any(array.shape[:1] != (call.rows,) for array in arrays) or any(binary for _, binary in asked):
            return ()
        heads = [
            b'%b%b],"data":[' % (self._heads[at], _extent((1, *array.shape[1:])))
            for (at, _), array in zip(asked, arrays, strict=True)
        ]
        columns = [elements.dump_rows(array) for array in arrays]
        first = b'%b"outputs":[%b' % (self._prefix, heads[0])
        if len(columns) == 1:
            return [b"%b%b]}]}" % (first, row) for row in columns[0]]
        between = [b"]}," + head for head in heads[1:]]
        parts = [part for column, head in zip(columns[1:], between, strict=True) for part in (repeat(head), column)]
        return list(map(b"".join, zip(repeat(first), columns[0], *parts, repeat(b"]}]}"))))

    def _read(self, message: _Body, raw: memoryview, texts: list[bytes]) -> tuple[tuple[Array, ...], Wanted]:
        """What a message means, with these texts where it has marks and the binary data that follows it."""
        arrays: dict[str, Array] = {}
        at = 0
        for item in message.inputs:
            if item.name in arrays:
                raise InvalidRequest(what=f"input {item.name[:80]!r} is sent twice")
            data = bytes(item.data)
            if texts and data == numeric.MARK:
                data = texts[at]
                at += 1
            arrays[item.name], raw = self._input(item, data, raw)
        if raw:
            raise InvalidRequest(what=f"{len(raw)} bytes of binary data belong to no input")
        if at < len(texts):
            raise InvalidRequest(what="large arrays that are no input's data")
        return self._signature.arrange(arrays), self._wanted(message)

    def _input(self, item: _Input, data: bytes, raw: memoryview) -> tuple[Array, memoryview]:
        """One input's array, and what is left of the binary data."""
        reader = self._inputs.get(item.name)
        if reader is None:
            raise UnknownField(field=item.name, known=self._inputs)
        spec = reader.spec
        if item.datatype != spec.datatype:
            raise WrongType(field=spec.name, expected=f"datatype {spec.datatype}", got=item.datatype[:16], where="")
        shape = checked_shape(item.shape, spec.name)
        parameters = item.parameters
        if not parameters:
            return reader.parse(data, shape), raw
        size = binary_size(spec.name, parameters, len(raw))
        text = size is None and spec.datatype is Datatype.BYTES
        in_base64 = "content_type" in parameters and is_base64(spec.name, parameters, text=text)
        if size is None:
            array = reader.parse(data, shape)
            return elements.from_base64(array, spec.name) if in_base64 else array, raw
        if data:
            raise InvalidRequest(what=f"input {spec.name!r} has both data and binary_data_size")
        return decode_raw(raw[:size], spec.datatype, shape, spec.name), raw[size:]

    def _wanted(self, message: Beside) -> Wanted:
        name = message.id or ""
        if not message.outputs and not message.parameters and self._in_json:
            return Wanted(name, self._all) if name else self._plain
        binary, wait_s = request_parameters(message.parameters) if message.parameters else (False, _FOREVER)
        outputs, classes = self._all_binary if binary else self._all, _NO_CLASSES
        if message.outputs:
            outputs, classes = self._asked(message.outputs, binary=binary)
        if not self._in_json:
            self._refuse_halves(outputs, dict(classes))
        return Wanted(name, outputs, classes, wait_s)

    def _asked(self, asked: list[Output], *, binary: bool) -> tuple[Outputs, Classes]:
        """The outputs that are asked for, in that order, and those of which classes are wanted."""
        outputs, classes = {}, {}
        for item in asked:
            at = self._signature.output_index(item.name)
            if at in outputs:
                raise InvalidRequest(what=f"output {item.name[:80]!r} is asked for twice")
            outputs[at] = binary
            if item.parameters:
                outputs[at], count = output_parameters(item.name, item.parameters, binary=binary)
                if count:
                    refuse_unscored(self._signature.outputs[at])
                    classes[at] = count
        return tuple(outputs.items()), tuple(classes.items())

    def _refuse_halves(self, outputs: Outputs, classes: Mapping[int, int]) -> None:
        """What JSON may not carry is refused before the model is asked."""
        for at, binary in outputs:
            spec = self._signature.outputs[at]
            if not binary and not spec.datatype.in_json and at not in classes:
                raise InvalidRequest(
                    what=f"output {spec.name!r} is {spec.datatype}, which JSON does not carry",
                    cause="use the binary data format: its parameter binary_data, or the request's binary_data_output",
                )

    def _classified(
        self, outputs: Sequence[Array], wanted: Wanted
    ) -> tuple[list[Array], list[bytes], list[TensorSpec]]:
        """Outputs, heads and specs with texts in place of the scores that were asked for as classes."""
        outputs, heads, specs = list(outputs), list(self._heads), list(self._signature.outputs)
        for at, count in wanted.classes:
            outputs[at] = classified(specs[at], outputs[at], count)
            specs[at] = TensorSpec(name=specs[at].name, datatype=Datatype.BYTES, shape=(ANY, ANY))
            heads[at] = b'{"name":%s,"datatype":"BYTES","shape":[' % orjson.dumps(specs[at].name)
        return outputs, heads, specs


def _parsed(text: bytes | bytearray | memoryview) -> _Body:
    try:
        return _BODY.decode(text)
    except RecursionError as exc:
        raise InvalidRequest(what="the JSON is nested too deeply") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InvalidRequest(what="the body is not a v2 inference request", cause=str(exc)[:200]) from exc


def _split(body: bytes | bytearray, header_length: bytes) -> tuple[memoryview, memoryview]:
    view = memoryview(body)
    length = int(header_length) if header_length.isdigit() and len(header_length) < _DIGITS else -1
    if not 0 <= length <= len(body):
        raise InvalidRequest(what="Inference-Header-Content-Length is not the length of a JSON header in this body")
    return view[:length], view[length:]

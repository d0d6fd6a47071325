"""Open Inference Protocol v2 over gRPC: messages to questions and answers to messages, as strict as over REST.

Sources: the protocol's gRPC specification and its extensions; where they are silent, Triton.
"""

from __future__ import annotations

from math import prod
from time import perf_counter
from typing import Any

import msgspec
import numpy as np

from modelyard.core.errors import InvalidRequest, WrongShape, WrongType
from modelyard.core.identity import Permission, Verb
from modelyard.core.inference import Call, InferRequest, InferResponse
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import Array, Datatype, checked_shape, decode_raw, element_count, encode_raw
from modelyard.serve.classification import classified, refuse_unscored
from modelyard.serve.grpc.messages import message
from modelyard.serve.grpc.schema import tag, varint
from modelyard.serve.parameters import is_base64, output_parameters, refuse_shared_memory, request_parameters
from modelyard.serve.replica import Replica

_Response = message("ModelInferResponse")

_FOREVER = float("inf")
_RAW = "grpc.raw"  # the outputs of all rows, among a call's notes
_RAW_OUTPUT = tag(_Response, "raw_output_contents")
_REMEMBERED = 256  # descriptions of outputs

#: Which field of `InferTensorContents` holds elements of a type; halves of a float have none.
FIELDS: dict[Datatype, str] = {
    Datatype.BOOL: "bool_contents",
    Datatype.INT8: "int_contents",
    Datatype.INT16: "int_contents",
    Datatype.INT32: "int_contents",
    Datatype.INT64: "int64_contents",
    Datatype.UINT8: "uint_contents",
    Datatype.UINT16: "uint_contents",
    Datatype.UINT32: "uint_contents",
    Datatype.UINT64: "uint64_contents",
    Datatype.FP32: "fp32_contents",
    Datatype.FP64: "fp64_contents",
    Datatype.BYTES: "bytes_contents",
}


class Wanted(msgspec.Struct, frozen=True):
    """What one request asks to be answered.

    Parameters
    ----------
    outputs : tuple of (int, int)
        Which outputs, by their place in the signature, and how many best classes of each; 0 for its scores.
    raw : bool
        Whether as raw bytes.
    """

    outputs: tuple[tuple[int, int], ...]
    raw: bool


class Codec:
    """The protocol's messages for one version; made once, when it is first asked."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.needs = Permission(Verb.PREDICT, replica.name)
        self.signature = replica.signature
        self._name = replica.name
        self._version = str(replica.version)
        self._all = tuple((at, 0) for at in range(len(self.signature.outputs)))
        self._named = _Response(model_name=self._name, model_version=self._version).SerializeToString()
        self._outputs: dict[tuple[Any, ...], bytes] = {}

    def decode(self, request: Any, left_s: float = _FOREVER) -> InferRequest:
        """The question in this `ModelInferRequest`; a `ModelyardError` says what does not fit.

        Parameters
        ----------
        request : message
            As it arrived.
        left_s : float
            How long the caller waits from now on, in seconds.
        """
        raw = request.raw_input_contents
        if raw and len(raw) != len(request.inputs):
            raise InvalidRequest(what=f"{len(request.inputs)} inputs, but {len(raw)} raw_input_contents")
        arrays: dict[str, Array] = {}
        for at, item in enumerate(request.inputs):
            if item.name in arrays:
                raise InvalidRequest(what=f"input {item.name[:80]!r} is sent twice")
            arrays[item.name] = self._input(item, raw[at] if raw else None)
        arranged = self.signature.arrange(arrays)
        wait_s = request_parameters(plain(request.parameters))[1] if request.parameters else _FOREVER
        wait_s = min(wait_s, left_s)
        deadline = perf_counter() + wait_s if wait_s < _FOREVER else _FOREVER
        return InferRequest(arranged, request.id, self._wanted(request, raw=bool(raw)), deadline)

    def encode(self, asked: InferRequest, given: InferResponse) -> Any:
        """The `ModelInferResponse` with the outputs that were asked for; raw when the request was raw."""
        answer = _Response(model_name=self._name, model_version=self._version, id=asked.id)
        for at, classes in asked.form.outputs:
            spec, array = self.signature.outputs[at], given.outputs[at]
            datatype = spec.datatype
            if classes:
                array, datatype = classified(spec, array, classes), Datatype.BYTES
            output = answer.outputs.add(name=spec.name, datatype=datatype.value, shape=array.shape)
            if asked.form.raw:
                answer.raw_output_contents.append(encode_raw(array, datatype))
            else:
                getattr(output.contents, FIELDS[datatype]).extend(_elements(array, datatype))
        return answer

    def answer(self, asked: InferRequest, given: InferResponse) -> bytes:
        """The same, as bytes; numbers of all questions of a call are written at once."""
        form, call = asked.form, given.call
        tensors = call.notes.get(_RAW)
        if tensors is None:
            tensors = call.notes[_RAW] = self._raw(call)
        if not form.raw or any(classes or tensors[at] is None for at, classes in form.outputs):
            whole: bytes = self.encode(asked, given).SerializeToString()
            return whole
        parts = [self._named]
        if asked.id:
            parts.append(_Response(id=asked.id).SerializeToString())
        chosen = [tensors[at] for at, _ in form.outputs]
        parts.append(self._described(form.outputs, given.rows, tuple([tail for _, _, tail in chosen])))
        for raw, row_bytes, _ in chosen:
            first = given.first * row_bytes
            size = given.rows * row_bytes
            parts += (_RAW_OUTPUT, varint(size), raw[first : first + size])
        return b"".join(parts)

    def _raw(self, call: Call) -> list[tuple[bytes, int, tuple[int, ...]] | None]:
        """Every output of a call: its bytes, how many a row has, and a row's shape; None for texts."""
        return [
            (encode_raw(array, spec.datatype), spec.datatype.size_bytes * prod(array.shape[1:]), array.shape[1:])
            if spec.datatype.size_bytes
            else None
            for spec, array in zip(self.signature.outputs, call.outputs, strict=True)
        ]

    def _described(self, outputs: tuple[tuple[int, int], ...], rows: int, tails: tuple[tuple[int, ...], ...]) -> bytes:
        """The part of an answer that says which outputs there are, and their shapes."""
        key = (outputs, rows, tails)
        told = self._outputs.get(key)
        if told is None:
            answer = _Response()
            for (at, _), tail in zip(outputs, tails, strict=True):
                spec = self.signature.outputs[at]
                answer.outputs.add(name=spec.name, datatype=spec.datatype.value, shape=(rows, *tail))
            if len(self._outputs) >= _REMEMBERED:
                self._outputs.clear()
            told = self._outputs[key] = answer.SerializeToString()
        return told

    def _input(self, item: Any, raw: bytes | None) -> Array:
        spec = self.signature.input(item.name)
        if item.datatype != spec.datatype:
            raise WrongType(field=spec.name, expected=f"datatype {spec.datatype}", got=item.datatype[:16], where="")
        shape = checked_shape(item.shape, spec.name)
        if item.parameters:
            parameters = plain(item.parameters)
            refuse_shared_memory(f"input {spec.name!r}", parameters)
            is_base64(spec.name, parameters, text=False)  # bytes are sent as bytes here
        if raw is None:
            return _typed(item.contents, spec, shape)
        if item.HasField("contents"):
            raise InvalidRequest(what=f"input {spec.name!r} has both contents and raw_input_contents")
        return decode_raw(raw, spec.datatype, shape, spec.name)

    def _wanted(self, request: Any, *, raw: bool) -> Wanted:
        outputs = self._asked(request.outputs) if request.outputs else self._all
        # An answer is raw as a whole, and halves of a float have no other form.
        halves = (not classes and self.signature.outputs[at].datatype not in FIELDS for at, classes in outputs)
        return Wanted(outputs, raw or any(halves))

    def _asked(self, asked: Any) -> tuple[tuple[int, int], ...]:
        """The outputs that are asked for, in that order."""
        outputs: dict[int, int] = {}
        for item in asked:
            at = self.signature.output_index(item.name)
            if at in outputs:
                raise InvalidRequest(what=f"output {item.name[:80]!r} is asked for twice")
            outputs[at] = output_parameters(item.name, plain(item.parameters), binary=True)[1] if item.parameters else 0
            if outputs[at]:
                refuse_unscored(self.signature.outputs[at])
        return tuple(outputs.items())


def plain(parameters: Any) -> dict[str, Any]:
    """A map of `InferParameter` or `ModelRepositoryParameter` as what they hold; None for one that holds nothing."""
    choices = {name: value.WhichOneof("parameter_choice") for name, value in parameters.items()}
    return {name: getattr(parameters[name], choice) if choice else None for name, choice in choices.items()}


def _typed(contents: Any, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """The elements in the one field of `InferTensorContents` that is this type's."""
    field = FIELDS.get(spec.datatype)
    if field is None:
        raise WrongType(field=spec.name, expected="raw_input_contents", got=f"{spec.datatype} in contents", where="")
    others = [found.name for found, _ in contents.ListFields() if found.name != field]
    if others:
        raise WrongType(field=spec.name, expected=f"{field} for {spec.datatype}", got=others[0], where="")
    values = list(getattr(contents, field))
    if len(values) != element_count(shape):
        raise WrongShape(
            field=spec.name,
            problem=f"shape {list(shape)} needs {element_count(shape)} elements, its data holds {len(values)}",
        )
    if spec.datatype is Datatype.BYTES:
        return _texts(values, spec).reshape(shape)
    try:
        return np.array(values, dtype=spec.datatype.dtype).reshape(shape)
    except OverflowError as exc:  # the field has more bits than the type
        raise WrongType(
            field=spec.name, expected=f"in the range of {spec.datatype}", got="a larger number", where=""
        ) from exc


def _texts(values: list[bytes], spec: TensorSpec) -> Array:
    array = np.empty(len(values), dtype=object)
    for at, value in enumerate(values):
        try:
            array[at] = value.decode()
        except UnicodeDecodeError as exc:
            raise InvalidRequest(what=f"input {spec.name!r}: element {at} is not UTF-8 text") from exc
    return array


def _elements(array: Array, datatype: Datatype) -> list[Any]:
    values: list[Any] = array.ravel().tolist()
    if datatype is Datatype.BYTES:
        return [value if isinstance(value, bytes) else str(value).encode() for value in values]
    return values

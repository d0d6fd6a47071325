"""Open Inference Protocol v2 over gRPC: messages to questions and answers to messages, as strict as over REST.

Sources: the protocol's gRPC specification and its extensions; where they are silent, Triton.
"""

from __future__ import annotations

from math import prod
from time import perf_counter
from typing import Any

import msgspec
import numpy as np

from modelyard.core.errors import InvalidRequest, Unsupported, WrongShape, WrongType
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import Array, Datatype, decode_raw, element_count, encode_raw
from modelyard.serve.grpc.messages import message
from modelyard.serve.replica import Replica

_Response = message("ModelInferResponse")

_MAX_ELEMENTS = 1 << 31
_MAX_RANK = 16
_US_PER_S = 1_000_000
_SHARED = "shared_memory_region"
_REFUSED = frozenset({"classification", _SHARED})  # output parameters that change the answer

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
    """What one request asks to be answered: which outputs (by position), and whether as raw bytes."""

    outputs: tuple[int, ...]
    raw: bool


class Codec:
    """The protocol's messages for one version; made once, when it is first asked."""

    def __init__(self, replica: Replica) -> None:
        self._signature = replica.signature
        self._name = replica.name
        self._version = str(replica.version)
        self._all = tuple(range(len(self._signature.outputs)))

    def decode(self, request: Any, left_s: float | None = None) -> InferRequest:
        """The question in this `ModelInferRequest`; a `ModelyardError` says what does not fit.

        Parameters
        ----------
        request : message
            As it arrived.
        left_s : float, optional
            How long the caller waits from now on, in seconds.
        """
        raw = request.raw_input_contents
        for item in request.inputs:
            if _SHARED in item.parameters:
                raise Unsupported(what=f"input {item.name[:80]!r}: shared memory")
        if raw and len(raw) != len(request.inputs):
            raise InvalidRequest(what=f"{len(request.inputs)} inputs, but {len(raw)} raw_input_contents")
        arrays: dict[str, Array] = {}
        for at, item in enumerate(request.inputs):
            if item.name in arrays:
                raise InvalidRequest(what=f"input {item.name[:80]!r} is sent twice")
            arrays[item.name] = self._input(item, raw[at] if raw else None)
        wanted = self._wanted(request, raw=bool(raw))
        return InferRequest(self._signature.arrange(arrays), request.id, wanted, _deadline(request, left_s))

    def encode(self, asked: InferRequest, given: InferResponse) -> Any:
        """The `ModelInferResponse` with the outputs that were asked for; raw when the request was raw."""
        answer = _Response(model_name=self._name, model_version=self._version, id=asked.id)
        for at in asked.form.outputs:
            spec, array = self._signature.outputs[at], given.outputs[at]
            output = answer.outputs.add(name=spec.name, datatype=spec.datatype.value, shape=array.shape)
            if asked.form.raw:
                answer.raw_output_contents.append(encode_raw(array, spec.datatype))
            else:
                getattr(output.contents, FIELDS[spec.datatype]).extend(_elements(array, spec.datatype))
        return answer

    def _input(self, item: Any, raw: bytes | None) -> Array:
        spec = self._signature.input(item.name)
        if item.datatype != spec.datatype:
            raise WrongType(field=spec.name, expected=f"datatype {spec.datatype}", got=item.datatype[:16], where="")
        shape = _shape(item, spec)
        if raw is None:
            return _typed(item.contents, spec, shape)
        if item.HasField("contents"):
            raise InvalidRequest(what=f"input {spec.name!r} has both contents and raw_input_contents")
        return decode_raw(raw, spec.datatype, shape, spec.name)

    def _wanted(self, request: Any, *, raw: bool) -> Wanted:
        outputs = tuple(self._asked(output) for output in request.outputs) if request.outputs else self._all
        # an answer is raw as a whole, and halves of a float have no other form
        raw = raw or any(self._signature.outputs[at].datatype not in FIELDS for at in outputs)
        return Wanted(outputs, raw)

    def _asked(self, output: Any) -> int:
        refused = _REFUSED & set(output.parameters)
        if refused:
            raise Unsupported(what=f"output {output.name[:80]!r}: parameter {min(refused)!r}")
        return self._signature.output_index(output.name)


def parameter(value: Any) -> Any:
    """What an `InferParameter` or `ModelRepositoryParameter` holds; None when it holds nothing."""
    choice = value.WhichOneof("parameter_choice")
    return getattr(value, choice) if choice else None


def _deadline(request: Any, left_s: float | None) -> float:
    """When the caller stops waiting: the call's own deadline, or the parameter ``timeout`` in microseconds."""
    seconds = [] if left_s is None else [left_s]
    if "timeout" in request.parameters:
        told = parameter(request.parameters["timeout"])
        if isinstance(told, bool) or not isinstance(told, int) or told < 0:
            raise InvalidRequest(what="parameter 'timeout' must be a number of microseconds")
        if told:  # 0 is the default: none
            seconds.append(told / _US_PER_S)
    return perf_counter() + min(seconds) if seconds else float("inf")


def _shape(item: Any, spec: TensorSpec) -> tuple[int, ...]:
    shape = tuple(item.shape)
    if not 0 < len(shape) <= _MAX_RANK or min(shape) < 0 or max(shape) > _MAX_ELEMENTS:
        raise WrongShape(field=spec.name, problem=f"shape {str(list(shape))[:80]} is not a tensor's shape")
    if prod(axis or 1 for axis in shape) > _MAX_ELEMENTS:
        raise WrongShape(field=spec.name, problem=f"shape {list(shape)} has more than {_MAX_ELEMENTS} elements")
    return shape


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

"""A raw binary request of protocol v2: a body that is one tensor; its shape follows from its length."""

from __future__ import annotations

from modelyard.core.errors import InvalidRequest, WrongShape
from modelyard.core.signature import ANY, Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype, decode_raw, element_count

_LENGTH_BYTES = 4


def whole(body: memoryview, signature: Signature) -> tuple[Array, ...]:
    """The arranged array of a body.

    Parameters
    ----------
    body : bytes
        A tensor's elements, in binary; of a text, without its length.
    signature : Signature
        With one input. Where only its rows vary, the body is as many rows as it has bytes for; where one more axis
        varies, it is one row.

    Raises
    ------
    InvalidRequest
        The model has several inputs, or one whose shape cannot follow from a length.
    WrongShape
        The body is no whole number of rows.
    """
    if len(signature.inputs) != 1:
        names = ", ".join(spec.name for spec in signature.inputs[:8])
        raise InvalidRequest(what="a raw binary request is for models with one input", cause=f"this one takes {names}")
    spec = signature.inputs[0]
    if spec.datatype is Datatype.BYTES:
        array = _text(body, spec)
    else:
        array = decode_raw(body, spec.datatype, _shape(spec, len(body)), spec.name)
    return signature.arrange({spec.name: array})


def _text(body: memoryview, spec: TensorSpec) -> Array:
    if spec.width != 1:
        raise InvalidRequest(
            what=f"a raw binary request is one text, and input {spec.name!r} has the shape {list(spec.shape)}"
        )
    return decode_raw(len(body).to_bytes(_LENGTH_BYTES, "little") + body, spec.datatype, (1,), spec.name)


def _shape(spec: TensorSpec, size: int) -> tuple[int, ...]:
    free = [at for at, axis in enumerate(spec.shape) if axis == ANY]
    if len(free) > 2:
        raise InvalidRequest(
            what=f"a raw binary request does not tell which shape of {list(spec.shape)} input {spec.name!r} has"
        )
    shape = [1 if axis == ANY else axis for axis in spec.shape]
    unit = element_count(tuple(shape)) * spec.datatype.size_bytes
    if not unit or size % unit:
        raise WrongShape(field=spec.name, problem=f"its raw binary data is a multiple of {unit} bytes, got {size}")
    shape[free[-1]] = size // unit
    return tuple(shape)

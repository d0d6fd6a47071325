"""Parameters of v2 requests over HTTP and gRPC alike: which are obeyed, which are checked and left, which are refused.

As Triton does: reserved ones have a type each, others may be any number, text or truth value and change nothing, since
no model here takes any. Names that begin with ``triton_`` are nobody's to use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from modelyard.core.errors import InvalidRequest, Unsupported

Parameters = Mapping[str, Any]

_FOREVER = float("inf")
_MICROSECONDS = 1e6
_SHARED_MEMORY = "shared_memory_region"
_USUAL = {"binary_data_output": True}  # what NVIDIA's clients send when they ask for no output by name
#: Content types of MLServer that say what a tensor's data is anyway.
_PLAIN = ("np", "pd", "str")
BASE64 = "base64"


def request_parameters(parameters: Parameters) -> tuple[bool, float]:
    """What a request's own parameters ask for.

    Returns
    -------
    (bool, float)
        Whether outputs are wanted in binary (``binary_data_output``), and how long the caller waits (``timeout``), in
        seconds.

    Raises
    ------
    InvalidRequest
        A parameter of a type that it cannot have, or a name that is Triton's own.
    """
    if parameters == _USUAL and parameters["binary_data_output"] is True:
        return True, _FOREVER
    for name, value in parameters.items():
        check, kind = _RESERVED.get(name, _CUSTOM)
        if not check(value):
            raise InvalidRequest(what=f"parameter {name[:80]!r} must be {kind}")
        if name.startswith("triton_"):
            raise InvalidRequest(what=f"parameter {name[:80]!r}: names that begin with 'triton_' are reserved")
    waits_us = parameters.get("timeout", 0)
    return parameters.get("binary_data_output", False), waits_us / _MICROSECONDS if waits_us else _FOREVER


def binary_size(name: str, parameters: Parameters, left: int) -> int | None:
    """Bytes of an input's binary data (``binary_data_size``); None when its data is JSON.

    Parameters
    ----------
    name : str
        Of the input.
    parameters : mapping
        Its parameters.
    left : int
        Bytes of the body that no input has taken yet.
    """
    if _SHARED_MEMORY in parameters:
        refuse_shared_memory(f"input {name!r}", parameters)
    size = parameters.get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or not 0 <= size <= left:
        raise InvalidRequest(
            what=f"input {name!r}: binary_data_size is {str(size)[:20]}, the body has {left} bytes left"
        )
    return size


def is_base64(name: str, parameters: Parameters, *, text: bool) -> bool:
    """Whether an input's texts are written in base64 (``content_type``, as MLServer's clients say it).

    Raises
    ------
    Unsupported
        Another content type than base64 of texts, and than those that say what the data is anyway.
    """
    kind = parameters.get("content_type")
    if kind is None or kind in _PLAIN:
        return False
    if kind == BASE64 and text:
        return True
    raise Unsupported(what=f"input {name!r}: content_type {str(kind)[:40]!r} of its data")


def output_parameters(name: str, parameters: Parameters, *, binary: bool) -> tuple[bool, int]:
    """How one output is wanted.

    Parameters
    ----------
    name : str
        Of the output.
    parameters : mapping
        Its parameters.
    binary : bool
        What is done when it does not say.

    Returns
    -------
    (bool, int)
        Whether in binary (``binary_data``), and how many best classes instead of the scores (``classification``); 0
        for the scores.
    """
    if _SHARED_MEMORY in parameters:
        refuse_shared_memory(f"output {name[:80]!r}", parameters)
    binary = parameters.get("binary_data", binary)
    if type(binary) is not bool:
        raise InvalidRequest(what=f"output {name[:80]!r}: parameter 'binary_data' must be true or false")
    classes = parameters.get("classification", 0)
    if not _is_count(classes):
        raise InvalidRequest(what=f"output {name[:80]!r}: parameter 'classification' must be {_COUNT}")
    return binary, classes


def refuse_shared_memory(whose: str, parameters: Parameters) -> None:
    """`Unsupported` when a tensor's data lies, or should lie, in memory that the caller shares."""
    if _SHARED_MEMORY in parameters:
        raise Unsupported(what=f"{whose}: shared memory between processes is not supported", cause="send its data")


def _is_bool(value: Any) -> bool:
    return type(value) is bool


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 64


def _is_sequence(value: Any) -> bool:
    return isinstance(value, str) or _is_count(value)


def _is_plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str))


def _is_anything(value: Any) -> bool:
    del value
    return True


_COUNT = "a whole number, 0 or more"
_TRUTH = "true or false"
_CUSTOM: tuple[Callable[[Any], bool], str] = (_is_plain, "a number, text, true or false")
#: Models here keep nothing between requests and have one queue: a sequence's requests and a priority change nothing.
_RESERVED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "binary_data_output": (_is_bool, _TRUTH),
    "timeout": (_is_count, _COUNT),
    "priority": (_is_count, _COUNT),
    "sequence_id": (_is_sequence, "a whole number or text"),
    "sequence_start": (_is_bool, _TRUTH),
    "sequence_end": (_is_bool, _TRUTH),
    "headers": (_is_anything, "anything"),
}

"""What an ONNX file is made of, read from its bytes: a serving process has no `onnx` library, and needs little."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from modelyard.core.errors import InvalidModel

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH, _MODEL_FUNCTION = 7, 25
_GRAPH_NODE, _GRAPH_INPUT, _INPUT_NAME = 1, 11, 1
_FUNCTION_NODE = 7
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE = 1, 2, 4, 5
_NODE_NAMES = frozenset({_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR})
_ATTRIBUTE_GRAPHS = (6, 11)  # one, and a list of them
_NESTING = frozenset({"If", "Loop", "Scan", "SequenceMap"})  # all operators whose attributes hold graphs
_MAX_DEPTH = 16
_LONGEST_VARINT = 10


def operators(raw: bytes | memoryview) -> frozenset[str]:
    """Names of all operators that the model in these bytes uses, those in subgraphs and local functions too.

    Parameters
    ----------
    raw : bytes
        An ONNX file that was verified or checked; tensors in it are stepped over, not read.

    Raises
    ------
    InvalidModel
        The bytes are not protobuf.
    """
    view = memoryview(raw)
    found: set[str] = set()
    for field, part in _parts(view):
        if field == _MODEL_GRAPH:
            _collect(part, _GRAPH_NODE, found, 0)
        elif field == _MODEL_FUNCTION:
            _collect(part, _FUNCTION_NODE, found, 0)
    return frozenset(found)


def readers(raw: bytes | memoryview, through: AbstractSet[str]) -> frozenset[str]:
    """Names of the operators that read the model's inputs where they lie in memory.

    Parameters
    ----------
    raw : bytes
        As for `operators`.
    through : set of str
        Operators whose outputs may be their inputs, seen in another way; who reads those counts too.

    Returns
    -------
    frozenset of str
        With every operator that holds a graph, because what is inside may read whatever is outside.

    Raises
    ------
    InvalidModel
        The bytes are not protobuf.
    """
    parts = [part for field, graph in _parts(memoryview(raw)) if field == _MODEL_GRAPH for part in _parts(graph)]
    inputs = [dict(_parts(part)).get(_INPUT_NAME, b"") for field, part in parts if field == _GRAPH_INPUT]
    seen, found = {bytes(name) for name in inputs}, set()
    for node in (part for field, part in parts if field == _GRAPH_NODE):  # in the order in which they run
        inner = [(field, part) for field, part in _parts(node) if field in _NODE_NAMES]
        (name,) = [str(part, "utf-8", "replace") for field, part in inner if field == _NODE_OPERATOR]
        reads = not seen.isdisjoint(bytes(part) for field, part in inner if field == _NODE_INPUT)
        if reads or name in _NESTING:
            found.add(name)
        if reads and name in through:
            seen |= {bytes(part) for field, part in inner if field == _NODE_OUTPUT}
    return frozenset(found)


def _collect(graph: memoryview, nodes: int, found: set[str], depth: int) -> None:
    """Operators of a graph or function whose nodes are in the field `nodes`."""
    if depth > _MAX_DEPTH:
        raise InvalidModel(what="its subgraphs are nested too deeply")
    for field, node in _parts(graph):
        if field != nodes:
            continue
        parts = list(_parts(node))
        names = {str(part, "utf-8", "replace") for inner, part in parts if inner == _NODE_OPERATOR}
        found |= names
        if names & _NESTING:  # attributes of others, such as a forest's, hold a field for each of very many numbers
            for inner, attribute in parts:
                if inner == _NODE_ATTRIBUTE:
                    _collect_inside(attribute, found, depth)


def _collect_inside(attribute: memoryview, found: set[str], depth: int) -> None:
    for field, graph in _parts(attribute):
        if field in _ATTRIBUTE_GRAPHS:
            _collect(graph, _GRAPH_NODE, found, depth + 1)


def _parts(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Fields of a protobuf message that have a length, with their bytes; numbers are stepped over."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _LENGTH:
            size, at = _varint(message, at)
            if at + size > end:
                raise InvalidModel(what="it is not a whole ONNX file")
            yield tag >> 3, message[at : at + size]
            at += size
        elif kind == _VARINT:
            _, at = _varint(message, at)
        elif kind in {_FIXED64, _FIXED32}:
            at += 8 if kind == _FIXED64 else 4
        else:
            raise InvalidModel(what="it is not an ONNX file")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends."""
    value = 0
    for shift, byte in enumerate(message[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, at + shift + 1
    raise InvalidModel(what="it is not a whole ONNX file")

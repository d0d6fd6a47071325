"""The ONNX graph under construction: nodes, constants, and blocks of columns in float64 or text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from modelyard.core.errors import NotConvertible

OPSET = 21
ML_OPSET = 5  # TreeEnsemble in float64: bit for bit what scikit-learn's trees answer
IR_VERSION = 10
ML = "ai.onnx.ml"

DOUBLE = TensorProto.DOUBLE
FLOAT = TensorProto.FLOAT
INT64 = TensorProto.INT64
BOOL = TensorProto.BOOL
STRING = TensorProto.STRING


@dataclass(frozen=True)
class Block:
    """Some columns side by side: a value of shape [-1, width], float64 or, when `text`, strings."""

    value: str
    width: int
    text: bool = False


Columns = tuple[Block, ...]  # the columns an estimator sees, in its order; blocks of one kind each


@dataclass(frozen=True)
class Answer:
    """What an estimator says, as values of the graph; only the fields that it has.

    Parameters
    ----------
    index : str
        Class number, int64 [-1].
    label : str
        Class label, int64 or string [-1], where the number is not known.
    probabilities, scores : str
        float64 [-1, k].
    values : Block or None
        float64 [-1, m]: a regression, or the columns of a transformer.
    """

    index: str = ""
    label: str = ""
    probabilities: str = ""
    scores: str = ""
    values: Block | None = None


@dataclass
class Graph:
    """Nodes and constants so far. Methods add a node and give the name of its value."""

    nodes: list[NodeProto] = field(default_factory=list)
    initializers: list[TensorProto] = field(default_factory=list)
    inputs: list[ValueInfoProto] = field(default_factory=list)
    _constants: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)
    _picks: dict[tuple[Any, ...], Block] = field(default_factory=dict)
    _count: int = 0

    def name(self, stem: str) -> str:
        """A name that is not taken."""
        taken = {value.name for value in self.inputs}
        while True:
            self._count += 1
            name = f"{stem.lower()}:{self._count}"
            if name not in taken:
                return name

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """One node with one output."""
        output = self.name(kind)
        self.nodes.append(helper.make_node(kind, list(inputs), [output], domain=domain, **attributes))
        return output

    def constant(self, array: Any) -> str:
        """A constant: float64, int64, bool or strings."""
        array = np.asarray(array)
        if array.dtype.kind in "OU":
            key = (str(array.dtype.kind), array.shape, "\0".join(array.ravel().tolist()).encode())
        else:
            key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self._constants[key] = self.name("const")
            self.initializers.append(_tensor(name, array))
        return self._constants[key]

    def numbers(self, array: Any) -> str:
        """A float64 constant."""
        return self.constant(np.asarray(array, dtype=np.float64))

    def whole(self, array: Any) -> str:
        """An int64 constant."""
        return self.constant(np.asarray(array, dtype=np.int64))

    def cast(self, value: str, to: int) -> str:
        """The value in another element type."""
        return self.op("Cast", value, to=to)

    def concat(self, values: Sequence[str], axis: int = 1) -> str:
        """Values side by side."""
        return values[0] if len(values) == 1 else self.op("Concat", *values, axis=axis)

    def merge(self, x: Columns) -> Block:
        """The columns as one block; `NotConvertible` when they mix numbers with text."""
        if len({block.text for block in x}) > 1:
            raise NotConvertible(model="the model", what="one of its steps takes numbers and text in one matrix")
        if len(x) == 1:
            return x[0]
        key = ("merge", x)
        if key not in self._picks:
            value = self.concat([block.value for block in x])
            self._picks[key] = Block(value, sum(block.width for block in x), x[0].text)
        return self._picks[key]

    def numeric(self, x: Columns) -> Block:
        """The columns as one block of numbers."""
        block = self.merge(x)
        if block.text:
            raise NotConvertible(model="the model", what="one of its steps takes text where numbers are needed")
        return block

    def pick(self, x: Columns, wanted: Sequence[int]) -> Columns:
        """The wanted columns, in this order."""
        where = [(block, at) for block in x for at in range(block.width)]
        runs: list[tuple[Block, list[int]]] = []
        for column in wanted:
            block, at = where[column]
            if runs and runs[-1][0] is block:
                runs[-1][1].append(at)
            else:
                runs.append((block, [at]))
        return tuple(self._slice(block, at) for block, at in runs)

    def _slice(self, block: Block, columns: list[int]) -> Block:
        if columns == list(range(block.width)):
            return block
        key = ("pick", block, tuple(columns))
        if key not in self._picks:
            value = self.op("Gather", block.value, self.whole(columns), axis=1)
            self._picks[key] = Block(value, len(columns), block.text)
        return self._picks[key]

    def inline(self, graph: GraphProto, feeds: Mapping[str, str]) -> list[str]:
        """Another graph's nodes, its inputs fed from our values; gives the values of its outputs."""
        prefix = self.name("part")
        names = {**feeds, "": ""}

        def rename(name: str) -> str:
            return names.setdefault(name, f"{prefix}_{name}")

        for tensor in graph.initializer:
            copied = TensorProto()
            copied.CopyFrom(tensor)
            copied.name = rename(tensor.name)
            self.initializers.append(copied)
        self.nodes.extend(_renamed(node, rename) for node in graph.node)
        return [rename(output.name) for output in graph.output]

    def finish(self, outputs: Sequence[ValueInfoProto]) -> ModelProto:
        """The graph as a model, without the nodes and constants that no output needs."""
        needed = {output.name for output in outputs}
        nodes = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                nodes.append(node)
                needed.update(_reads(node))
        constants = [tensor for tensor in self.initializers if tensor.name in needed]
        graph = helper.make_graph(nodes[::-1], "model", self.inputs, list(outputs), constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(ML, ML_OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="modelyard")


@dataclass(frozen=True)
class Translator:
    """The graph and who adds what to it: one emitter a class, and a way out for the rest.

    Parameters
    ----------
    graph : Graph
        Under construction.
    transforms : Mapping of type to emitter
        Steps that turn columns into columns.
    answers : Mapping of type to emitter
        Estimators that predict.
    otherwise : emitter
        For every class that is in neither.
    """

    graph: Graph
    transforms: Mapping[type, Callable[[Translator, Any, Columns], Columns]]
    answers: Mapping[type, Callable[[Translator, Any, Columns], Answer]]
    otherwise: Callable[[Translator, Any, Columns], Answer]

    def transform(self, step: Any, x: Columns) -> Columns:
        """Add a transformer's nodes."""
        if step is None or (isinstance(step, str) and step == "passthrough"):
            return x
        emit = self.transforms.get(type(step))
        if emit is not None:
            return emit(self, step, x)
        values = self.otherwise(self, step, x).values
        if values is None:
            raise NotConvertible(model=type(step).__name__, what="it is used as a transformer and is not one")
        return (values,)

    def answer(self, estimator: Any, x: Columns) -> Answer:
        """Add a predictor's nodes."""
        emit = self.answers.get(type(estimator))
        if emit is not None:
            return emit(self, estimator, x)
        if type(estimator) in self.transforms:
            return Answer(values=self.graph.numeric(self.transform(estimator, x)))
        return self.otherwise(self, estimator, x)


def _reads(node: NodeProto) -> set[str]:
    """Values that a node needs, those of its subgraphs included."""
    names = set(node.input)
    for attribute in node.attribute:
        for inner in attribute.g.node:
            names |= _reads(inner)
    return names


def _tensor(name: str, array: NDArray[Any]) -> TensorProto:
    if array.dtype.kind in "OU":
        items = [str(item).encode() for item in array.ravel().tolist()]
        return helper.make_tensor(name, STRING, array.shape, items)
    return numpy_helper.from_array(array, name)


def _renamed(node: NodeProto, rename: Callable[[str], str]) -> NodeProto:
    copied = NodeProto()
    copied.CopyFrom(node)
    copied.name = ""
    for names in (copied.input, copied.output):
        names[:] = [rename(name) for name in names]
    for attribute in copied.attribute:
        if attribute.type == AttributeProto.GRAPH:
            _rename_inside(attribute.g, rename)
    return copied


def _rename_inside(graph: GraphProto, rename: Callable[[str], str]) -> None:
    """Names inside a subgraph; it sees the names of the graph around it, so one table serves both."""
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = rename(value.name)
    nodes = [_renamed(node, rename) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)

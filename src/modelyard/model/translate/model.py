"""A whole estimator to an ONNX model: inputs and outputs named by one rule, answers in the signature's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ValueInfoProto, helper
from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor

from modelyard.core.errors import NotConvertible
from modelyard.core.manifest import Task
from modelyard.core.signature import ANY, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.model.translate import boosting, categories, compose, ensembles, linear, numbers, trees
from modelyard.model.translate.fallback import Fallback
from modelyard.model.translate.graph import BOOL, DOUBLE, INT64, STRING, Answer, Block, Columns, Graph, Translator

PACKED = "input"
_OUTPUTS = frozenset({"label", "probabilities", "scores", "prediction", "output"})
_TYPES = {Datatype.FP64: DOUBLE, Datatype.INT64: INT64, Datatype.BYTES: STRING, Datatype.BOOL: BOOL}


@dataclass(frozen=True)
class Field:
    """One column of the estimator's input."""

    name: str
    text: bool = False


@dataclass(frozen=True)
class Translated:
    """The ONNX model of an estimator.

    Parameters
    ----------
    onnx : bytes
        The model.
    inputs : tuple of str
        Names of the graph's inputs.
    outputs : tuple of TensorSpec
        In the order of the graph.
    prediction, probabilities : str
        As in `Signature`.
    task : Task
        What the model does.
    through : tuple of str
        Classes that skl2onnx converted.
    """

    onnx: bytes
    inputs: tuple[str, ...]
    outputs: tuple[TensorSpec, ...]
    prediction: str
    probabilities: str
    task: Task
    through: tuple[str, ...]


def translate(estimator: Any, fields: Sequence[Field], *, double: bool = True) -> Translated:
    """The estimator as ONNX, or `NotConvertible`.

    Parameters
    ----------
    estimator : fitted scikit-learn estimator
        A predictor or a transformer.
    fields : sequence of Field
        Its columns in its order. All numbers: one packed input. Any text: one input a column.
    double : bool
        Whether parts that go through skl2onnx compute in float64.
    """
    graph = Graph()
    way_out = Fallback(double=double)
    transforms = {**numbers.TRANSFORMS, **categories.TRANSFORMS, **compose.TRANSFORMS}
    answers = {**linear.ANSWERS, **trees.ANSWERS, **boosting.ANSWERS, **ensembles.ANSWERS, **compose.ANSWERS}
    translator = Translator(graph, transforms, answers, way_out)
    answer = translator.answer(estimator, _inputs(graph, fields))
    outputs, prediction, probabilities, task = _outputs(graph, estimator, answer)
    infos = [_info(spec) for spec in outputs]
    model = graph.finish(infos)
    return Translated(
        onnx=model.SerializeToString(deterministic=True),
        inputs=tuple(value.name for value in graph.inputs),
        outputs=tuple(outputs),
        prediction=prediction,
        probabilities=probabilities,
        task=task,
        through=tuple(way_out.used),
    )


def _inputs(graph: Graph, fields: Sequence[Field]) -> Columns:
    if not any(field.text for field in fields):
        graph.inputs.append(helper.make_tensor_value_info(PACKED, DOUBLE, [None, len(fields)]))
        return (Block(PACKED, len(fields)),)
    names = [f"in:{field.name}" if field.name in _OUTPUTS else field.name for field in fields]
    for field, name in zip(fields, names, strict=True):
        graph.inputs.append(helper.make_tensor_value_info(name, STRING if field.text else DOUBLE, [None, 1]))
    return tuple(Block(name, 1, field.text) for field, name in zip(fields, names, strict=True))


def _info(spec: TensorSpec) -> ValueInfoProto:
    return helper.make_tensor_value_info(
        spec.name, _TYPES[spec.datatype], [None if axis == ANY else axis for axis in spec.shape]
    )


def _outputs(graph: Graph, estimator: Any, answer: Answer) -> tuple[list[TensorSpec], str, str, Task]:
    if answer.values is not None:
        task = Task.REGRESSION if is_regressor(estimator) else Task.TRANSFORM
        name = "prediction" if task is Task.REGRESSION else "output"
        _call(graph, answer.values.value, name)
        return [TensorSpec(name=name, datatype=Datatype.FP64, shape=(ANY, answer.values.width))], name, "", task
    if is_outlier_detector(estimator):
        _call(graph, answer.label, "label")
        _call(graph, answer.scores, "scores")
        specs = [
            TensorSpec(name="label", datatype=Datatype.INT64, shape=(ANY,)),
            TensorSpec(name="scores", datatype=Datatype.FP64, shape=(ANY, 1)),
        ]
        return specs, "label", "", Task.ANOMALY
    return _classes(graph, estimator, answer)


def _classes(graph: Graph, estimator: Any, answer: Answer) -> tuple[list[TensorSpec], str, str, Task]:
    classes = class_labels(estimator)
    shown = answer.probabilities or answer.scores
    if classes is None:
        task, count = Task.CLUSTERING, _clusters(estimator)
        classes = np.arange(count)
    else:
        task, count = Task.CLASSIFICATION, len(classes)
    datatype = {"i": Datatype.INT64, "b": Datatype.BOOL}.get(classes.dtype.kind, Datatype.BYTES)
    label = answer.label or graph.op("Gather", graph.constant(classes), answer.index, axis=0)
    if answer.label and datatype is Datatype.BOOL:  # skl2onnx gives 0 and 1
        label = graph.cast(label, BOOL)
    _call(graph, label, "label")
    specs = [TensorSpec(name="label", datatype=datatype, shape=(ANY,))]
    if not shown or (task is Task.CLUSTERING and not answer.probabilities):
        return specs, "label", "", task
    name = "probabilities" if answer.probabilities else "scores"
    _call(graph, shown, name)
    labels = tuple(str(item) if datatype is Datatype.BOOL else item for item in classes.tolist())
    specs.append(TensorSpec(name=name, datatype=Datatype.FP64, shape=(ANY, count), labels=labels))
    return specs, "label", name, task


def _call(graph: Graph, value: str, name: str) -> None:
    graph.nodes.append(helper.make_node("Identity", [value], [name]))


def _clusters(estimator: Any) -> int:
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    for attribute in ("cluster_centers_", "weights_"):
        if hasattr(last, attribute):
            return len(getattr(last, attribute))
    raise NotConvertible(model=type(last).__name__, what="it names no classes and no clusters")


def class_labels(estimator: Any) -> NDArray[Any] | None:
    """The classes as int64, bool or text; None for an estimator without classes."""
    if is_clusterer(estimator) or not is_classifier(estimator):
        return None
    classes = estimator.classes_
    if isinstance(classes, list) or np.ndim(classes) != 1:
        raise NotConvertible(model=type(estimator).__name__, what="it answers several labels a row")
    classes = np.asarray(classes)
    if classes.dtype.kind in "iub":
        return classes if classes.dtype.kind == "b" else classes.astype(np.int64)
    if classes.dtype.kind == "f":
        if not (classes == np.floor(classes)).all():
            raise NotConvertible(model=type(estimator).__name__, what="its class labels are fractions")
        return classes.astype(np.int64)
    if not all(isinstance(item, str) for item in classes.tolist()):
        raise NotConvertible(model=type(estimator).__name__, what="its class labels mix text with something else")
    return classes.astype(object)

"""ONNX files: checked as hostile, made to take any number of rows, and given a signature from what the graph says."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import pandas as pd
from onnx import GraphProto, ModelProto, NodeProto

from modelyard.core.errors import CorruptBundle, InvalidInput, InvalidModel, NotConvertible
from modelyard.core.manifest import MODEL, Manifest, Source, Task
from modelyard.core.rows import to_objects
from modelyard.core.signature import ANY, Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype
from modelyard.model import edges, hostile, runtime
from modelyard.model.bundle import seal
from modelyard.model.formats import Converted, Request

_MAX_FEATURES = 1024
_ROWS = 5
_SEED = 20_240_607
_TOLERANCE = 1e-4
_SAME_VALUES = frozenset({"Identity", "Gather", "Reshape", "Squeeze", "Unsqueeze"})


def convert(request: Request) -> Converted:
    """The graph with its signature; runs in the sandboxed child."""
    raw, frame = request.raw, request.frame
    model = hostile.read(raw)
    gathered = edges.gather(model, request.beside)
    hostile.check(model)
    classes = edges.strip_zipmaps(model.graph)
    freed = edges.free_rows(model)
    signature, task = _signature(model, classes, frame)
    widened = edges.widen(model)
    if widened:
        signature = _renamed(signature, widened)
    raw = model.SerializeToString(deterministic=True) if gathered or classes or freed or widened else raw
    runner = _runner(raw, signature, task)
    missing = _handles_missing(model.graph)
    signature, rows = _tried(runner, signature, frame, freed=freed, handles_missing=missing)
    libraries = {"onnx": onnx.__version__, "onnxruntime": ort.__version__}
    if model.producer_name:
        libraries[model.producer_name[:40]] = model.producer_version[:40]
    return Converted(
        onnx=raw,
        signature=signature,
        task=task,
        estimator=f"ONNX graph of {len(model.graph.node)} nodes",
        libraries=libraries,
        parity=None,
        rows=rows,
        notes=_notes(classes, freed=freed, widened=bool(widened)),
    )


def _signature(model: ModelProto, classes: dict[str, list[Any]], frame: pd.DataFrame | None) -> tuple[Signature, Task]:
    ins, outs = hostile.ports(model)
    single = len(ins) == 1
    inputs = tuple(_input(model, item, frame, single=single) for item in ins)
    labels = _class_labels(model.graph.node, classes)
    outputs = tuple(_output(item, labels) for item in outs)
    prediction, probabilities, task = _roles(outputs)
    names = [feature.name for spec in inputs for feature in spec.features] or [spec.name for spec in inputs]
    if len(set(names)) < len(names):
        inputs = tuple(_opaque(spec) for spec in inputs)
    return Signature(inputs=inputs, outputs=outputs, prediction=prediction, probabilities=probabilities), task


def _renamed(signature: Signature, names: dict[str, str]) -> Signature:
    """The same signature over a graph whose tensors have these other names."""

    def named(spec: TensorSpec) -> TensorSpec:
        return msgspec.structs.replace(spec, graph_name=names[spec.name]) if spec.name in names else spec

    inputs, outputs = map(named, signature.inputs), map(named, signature.outputs)
    return msgspec.structs.replace(signature, inputs=tuple(inputs), outputs=tuple(outputs))


def _opaque(spec: TensorSpec) -> TensorSpec:
    return msgspec.structs.replace(spec, features=())


def _input(model: ModelProto, item: dict[str, Any], frame: pd.DataFrame | None, *, single: bool) -> TensorSpec:
    name, datatype = item["name"], Datatype(item["datatype"])
    shape = (ANY, *item["shape"][1:])
    width = 1 if shape[1:] in {(), (1,)} else shape[1] if len(shape) == 2 else 0
    features: tuple[Feature, ...] = ()
    if width == 1:
        features = (_feature(model.graph, name, name if not single else _names(model, frame, 1, name)[0], datatype),)
    elif 1 < width <= _MAX_FEATURES and datatype is not Datatype.BYTES and single:
        features = tuple(_feature(model.graph, "", each, datatype) for each in _names(model, frame, width, "f"))
    return TensorSpec(name=name, datatype=datatype, shape=shape, features=_with_ranges(features, frame))


def _names(model: ModelProto, frame: pd.DataFrame | None, width: int, stem: str) -> list[str]:
    """Names of packed columns: the sample's, else the file's own note, else f0, f1, ..."""
    if frame is not None and frame.shape[1] == width:
        return [str(name) for name in frame.columns]
    for prop in model.metadata_props:
        if prop.key == "feature_names":
            try:
                names = json.loads(prop.value)
            except ValueError:
                continue
            if isinstance(names, list) and len(names) == width and all(isinstance(item, str) for item in names):
                return list(names)
    return [stem] if width == 1 else [f"{stem}{at}" for at in range(width)]


def _feature(graph: GraphProto, value: str, name: str, datatype: Datatype) -> Feature:
    if datatype is Datatype.BYTES:
        categories = _categories(graph, value)
        kind = FeatureKind.CATEGORY if categories else FeatureKind.TEXT
        return Feature(name=name, kind=kind, categories=categories, accepts_unknown=True)
    if datatype is Datatype.BOOL:
        return Feature(name=name, kind=FeatureKind.BOOLEAN)
    return Feature(name=name, kind=FeatureKind.INTEGER if datatype.is_integer else FeatureKind.NUMBER)


def _categories(graph: GraphProto, value: str) -> tuple[str, ...]:
    """Categories that the first encoder of a one-column text input lists."""
    names = {value}
    for node in graph.node:  # sorted: a value is made before it is read
        if not names.intersection(node.input):
            continue
        for attribute in node.attribute:
            if attribute.name in {"cats_strings", "keys_strings"}:
                return tuple(item.decode() for item in attribute.strings if item)
            if attribute.name == "keys_tensor" and attribute.t.data_type == onnx.TensorProto.STRING:
                return tuple(item.decode() for item in attribute.t.string_data if item)
        if node.op_type in _SAME_VALUES:
            names.update(node.output)
    return ()


def _with_ranges(features: tuple[Feature, ...], frame: pd.DataFrame | None) -> tuple[Feature, ...]:
    if frame is None:
        return features
    ranged = []
    for feature in features:
        column = frame[feature.name] if feature.name in frame.columns else None
        if column is None or column.dtype.kind not in "iuf" or feature.kind not in {"number", "integer"}:
            ranged.append(feature)
            continue
        values = column.dropna()
        bounds = (float(values.min()), float(values.max())) if len(values) else (None, None)
        ranged.append(msgspec.structs.replace(feature, minimum=bounds[0], maximum=bounds[1]))
    return tuple(ranged)


def _class_labels(nodes: Iterable[NodeProto], classes: dict[str, list[Any]]) -> list[Any]:
    if classes:
        return next(iter(classes.values()))
    for node in nodes:
        if node.op_type.endswith("Classifier") and (labels := edges.labels(node)):
            return labels
    return []


def _output(item: dict[str, Any], labels: list[Any]) -> TensorSpec:
    shape = (ANY, *item["shape"][1:])
    datatype = Datatype(item["datatype"])
    named = datatype.is_float and len(shape) == 2 and shape[1] == len(labels)
    return TensorSpec(name=item["name"], datatype=datatype, shape=shape, labels=tuple(labels) if named else ())


def _roles(outputs: tuple[TensorSpec, ...]) -> tuple[str, str, Task]:
    """Which output is the answer: a column of labels beside a table of scores, or a single number."""
    label = next((spec for spec in outputs if not spec.datatype.is_float and spec.width == 1), None)
    table = next((spec for spec in outputs if spec.datatype.is_float and len(spec.shape) == 2), None)
    if label is not None and table is not None:
        return label.name, table.name if table.labels else "", Task.CLASSIFICATION
    if len(outputs) == 1:
        number = outputs[0].datatype.is_float and outputs[0].width == 1
        return outputs[0].name, "", Task.REGRESSION if number else Task.GENERIC
    return (label.name, "", Task.GENERIC) if label is not None else ("", "", Task.GENERIC)


def _runner(raw: bytes, signature: Signature, task: Task) -> runtime.Runner:
    manifest = Manifest(name="candidate", task=task, signature=signature, files={}, source=Source(format="onnx"))
    try:
        return runtime.load(seal(manifest, {MODEL: raw}))
    except CorruptBundle as exc:
        raise InvalidModel(what=exc.facts["what"]) from exc


def _tried(
    runner: runtime.Runner, signature: Signature, frame: pd.DataFrame | None, *, freed: bool, handles_missing: bool
) -> tuple[Signature, list[dict[str, Any]]]:
    """Ask several rows together and alone: a server batches, so a row's answer may not depend on its neighbours."""
    arrays = _some_rows(signature, frame)
    try:
        together = runner.run(arrays)
    except InvalidInput as exc:
        arrays = [np.zeros_like(array) if array.dtype.kind != "O" else array for array in arrays]
        try:
            together = runner.run(arrays)
        except InvalidInput:
            what = "it cannot answer several rows at a time" if freed else "it refuses every row it was tried with"
            raise NotConvertible(
                model="the graph",
                what=f"{what} ({exc.cause})",
                hint="export it with a variable first axis, or give rows it accepts: --sample rows.csv",
            ) from exc
    for row in range(len(arrays[0])):
        for spec, whole, alone in zip(
            signature.outputs, together, runner.run([array[row : row + 1] for array in arrays]), strict=True
        ):
            tolerance = max(_TOLERANCE, spec.datatype.step)
            if len(whole) != len(arrays[0]) or not _close(whole[row : row + 1], alone, tolerance):
                raise NotConvertible(
                    model="the graph",
                    what=f"a row's answer in {spec.name!r} depends on the rows beside it",
                    hint="export it with a variable first axis and without operations across rows",
                )
    if handles_missing:
        signature = _nullable(runner, signature, arrays)
    return signature, to_objects(signature, arrays)


def _close(first: Array, second: Array, tolerance: float) -> bool:
    if first.shape != second.shape:
        return False
    if first.dtype.kind != "f":
        return bool((first == second).all())
    return bool(np.allclose(first, second, rtol=tolerance, atol=tolerance, equal_nan=True))


def _some_rows(signature: Signature, frame: pd.DataFrame | None) -> list[Array]:
    rng = np.random.default_rng(_SEED)
    arrays = []
    for spec in signature.inputs:
        shape = (_ROWS, *(4 if axis == ANY else axis for axis in spec.shape[1:]))
        array = _random(spec, shape, rng)
        names = [feature.name for feature in spec.features]
        if frame is not None and names and set(names) <= {str(name) for name in frame.columns}:
            known = frame[names].dropna()
            if len(known):
                rows = known.iloc[np.linspace(0, len(known) - 1, _ROWS).astype(int)]
                array = rows.to_numpy(dtype=array.dtype).reshape(shape)
        arrays.append(array)
    return arrays


def _random(spec: TensorSpec, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    if spec.datatype is Datatype.BYTES:
        words = (spec.features[0].categories if spec.features else ()) or ("a", "b")
        array = np.empty(shape, dtype=object)
        array[...] = rng.choice(np.array(words, dtype=object), size=shape)
        return array
    if spec.datatype.is_float:
        return rng.normal(size=shape).astype(spec.datatype.dtype)
    return rng.integers(0, 2, size=shape).astype(spec.datatype.dtype)


def _nullable(runner: runtime.Runner, signature: Signature, arrays: list[Array]) -> Signature:
    """A number may be missing where the graph answers a NaN with something finite."""
    inputs = []
    for at, spec in enumerate(signature.inputs):
        if not spec.features or not spec.datatype.is_float:
            inputs.append(spec)
            continue
        features = []
        for column, feature in enumerate(spec.features):
            table = arrays[at].reshape(len(arrays[at]), -1).copy()
            table[:, column] = np.nan
            asked = [*arrays[:at], table.reshape(arrays[at].shape), *arrays[at + 1 :]]
            features.append(_with_null(feature, runner, asked))
        inputs.append(msgspec.structs.replace(spec, features=tuple(features)))
    return msgspec.structs.replace(signature, inputs=tuple(inputs))


def _handles_missing(graph: GraphProto) -> bool:
    """Whether the graph does something on purpose with a NaN; without that, an answer to one means nothing."""
    for node in graph.node:
        if node.op_type in {"IsNaN", "Imputer"}:
            return True
        for attribute in node.attribute:
            if attribute.name == "nodes_missing_value_tracks_true" and any(attribute.ints):
                return True
    return False


def _with_null(feature: Feature, runner: runtime.Runner, arrays: list[Array]) -> Feature:
    outputs = runner.run(arrays)
    floats = [array for array in outputs if array.dtype.kind == "f"]
    finite = bool(floats) and all(bool(np.isfinite(array).all()) for array in floats)
    return msgspec.structs.replace(feature, nullable=finite)


def _notes(classes: dict[str, list[Any]], *, freed: bool, widened: bool) -> tuple[str, ...]:
    notes = []
    if classes:
        notes.append("its ZipMap output was replaced by a table of scores")
    if freed:
        notes.append("its first axis was fixed to one row and was made variable")
    if widened:
        notes.append(
            "float32 carries its bfloat16 inputs and outputs, which a Cast at the graph's edge narrows and widens"
        )
    return tuple(notes)

"""Encoders of categories: each column becomes a lookup whose entries are asked from the fitted encoder itself."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from modelyard.core.errors import NotConvertible
from modelyard.model.translate.graph import DOUBLE, INT64, ML, Block, Columns, Graph, Translator

STRANGER = "\u2603 modelyard: a category nobody has"  # asked for, to learn what the encoder does with unknown ones
_STRANGE_NUMBER = -987_654_321.5


def is_missing(category: Any) -> bool:
    """Whether a category stands for a missing value: None or NaN."""
    return category is None or (isinstance(category, (float, np.floating)) and bool(np.isnan(category)))


def _encoder(t: Translator, step: Any, columns: Columns) -> Columns:
    graph = t.graph
    widths = _widths(step)
    parts: list[Block] = []
    for at, width in enumerate(widths):
        if width == 0:
            continue
        column = graph.merge(graph.pick(columns, [at]))
        start = sum(widths[:at])
        entries, stranger = _ask(step, at, slice(start, start + width), text=column.text)
        parts.append(_lookup(graph, column, _keys(step, at, column), entries, stranger))
    return _joined(graph, parts)


def _widths(step: Any) -> list[int]:
    if isinstance(step, OneHotEncoder):
        return [int(width) for width in step._n_features_outs]
    count = len(step.categories_)
    total = len(step.encodings_) if isinstance(step, TargetEncoder) else count
    return [total // count] * count


def _keys(step: Any, at: int, column: Block) -> NDArray[Any]:
    categories = list(step.categories_[at])
    kinds = {isinstance(item, str) for item in categories if not is_missing(item)}
    if len(kinds) > 1 or (kinds and kinds != {column.text}):
        what = "a column holds text where the data has numbers, or the reverse"
        raise NotConvertible(model=type(step).__name__, what=what, hint="give the data's own types: --sample rows.csv")
    keys = (
        ["" if is_missing(item) else item for item in categories]
        if column.text
        else [float("nan") if is_missing(item) else float(item) for item in categories]
    )
    if len(set(map(str, keys))) < len(keys):
        raise NotConvertible(model=type(step).__name__, what="it treats None, NaN and '' as different categories")
    return np.array(keys, dtype=object if column.text else np.float64)


def _ask(step: Any, at: int, outputs: slice, *, text: bool) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """What the encoder gives for every category of column `at`, and for a category it has never seen."""
    known = _transform(step, at, list(step.categories_[at]))
    assert known is not None
    try:
        strange = _transform(step, at, [STRANGER if text else _STRANGE_NUMBER])
    except ValueError:  # handle_unknown="error"; the signature refuses it before the model sees it
        strange = None
    return known[:, outputs], None if strange is None else strange[0, outputs]


def _transform(step: Any, at: int, items: list[Any]) -> NDArray[np.float64]:
    table = {}
    for number, categories in enumerate(step.categories_):
        values = items if number == at else [categories[0]] * len(items)
        dtype = object if any(isinstance(item, str) or item is None for item in values) else np.float64
        table[number] = pd.Series(values, dtype=dtype)
    frame = pd.DataFrame(table)
    frame.columns = getattr(step, "feature_names_in_", range(frame.shape[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "found unknown categories": that is what was asked
        raw = step.transform(frame if hasattr(step, "feature_names_in_") else frame.to_numpy())
    raw = raw.toarray() if hasattr(raw, "toarray") else raw
    return np.asarray(raw, dtype=np.float64)


def _lookup(
    graph: Graph, column: Block, keys: NDArray[Any], entries: NDArray[np.float64], stranger: NDArray[np.float64] | None
) -> Block:
    if stranger is None and not column.text:
        return _closed(graph, column, keys, entries)
    width = entries.shape[1]
    rest = np.zeros(width) if stranger is None else stranger
    rows = np.vstack([entries, rest[None]])
    hot = ((rows == 0) | (rows == 1)).all() and (rows.sum(axis=1) <= 1).all()
    if width == 1 and not hot:
        return Block(label_encoder(graph, column.value, keys, entries[:, 0], rest[0]), 1)
    if not hot:
        row = label_encoder(graph, column.value, keys, np.arange(len(keys), dtype=np.float64), float(len(keys)))
        index = graph.op("Squeeze", graph.cast(row, INT64), graph.whole([1]))
        return Block(graph.op("Gather", graph.numbers(rows), index, axis=0), width)
    place = np.where(rows.any(axis=1), rows.argmax(axis=1), -1).astype(np.float64)
    where = label_encoder(graph, column.value, keys, place[:-1], place[-1])
    return Block(graph.op("Equal", where, graph.numbers(np.arange(width)[None])), width, text=False)


def _closed(graph: Graph, column: Block, keys: NDArray[Any], entries: NDArray[np.float64]) -> Block:
    """A lookup that makes the runtime refuse a number it does not know, as the encoder does (handle_unknown="error").

    Unknown texts are refused by the signature; it has no list of numbers, so here the row number falls off the table.
    """
    row = label_encoder(graph, column.value, keys, np.arange(len(keys), dtype=np.float64), float(len(keys)))
    index = graph.op("Squeeze", graph.cast(row, INT64), graph.whole([1]))
    return Block(graph.op("Gather", graph.numbers(entries), index, axis=0), entries.shape[1])


def label_encoder(graph: Graph, value: str, keys: NDArray[Any], values: NDArray[np.float64], default: float) -> str:
    """A dictionary node: text or numbers to float64."""
    import onnx  # noqa: PLC0415 - only for its tensors

    keys_tensor = (
        onnx.helper.make_tensor("keys", onnx.TensorProto.STRING, [len(keys)], [str(key).encode() for key in keys])
        if keys.dtype == object
        else onnx.numpy_helper.from_array(keys, "keys")
    )
    return graph.op(
        "LabelEncoder",
        value,
        domain=ML,
        keys_tensor=keys_tensor,
        values_tensor=onnx.numpy_helper.from_array(np.asarray(values, dtype=np.float64), "values"),
        default_tensor=onnx.numpy_helper.from_array(np.array([default], dtype=np.float64), "default"),
    )


def _joined(graph: Graph, parts: list[Block]) -> Columns:
    """Columns side by side; the yes/no ones are turned into numbers once a run."""
    flags = {node.output[0] for node in graph.nodes if node.op_type == "Equal"}
    blocks: list[Block] = []
    run: list[Block] = []
    for part in [*parts, None]:
        if part is not None and part.value in flags:
            run.append(part)
            continue
        if run:
            value = graph.cast(graph.concat([item.value for item in run]), DOUBLE)
            blocks.append(Block(value, sum(item.width for item in run)))
            run = []
        if part is not None:
            blocks.append(part)
    return (graph.merge(tuple(blocks)),) if blocks else ()


TRANSFORMS: dict[type, Any] = {OneHotEncoder: _encoder, OrdinalEncoder: _encoder, TargetEncoder: _encoder}

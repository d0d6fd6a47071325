"""Translate, then ask the original and the translation the same rows; the signature says only what both agreed on."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pandas as pd
import skl2onnx
import sklearn

from modelyard.core.errors import CorruptBundle, InvalidModel, NotConvertible, ParityFailed
from modelyard.core.manifest import MODEL, Manifest, Parity, Source
from modelyard.core.rows import from_columns
from modelyard.core.signature import ANY, Feature, FeatureKind, Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype
from modelyard.model import parity, runtime
from modelyard.model.bundle import seal
from modelyard.model.converted import Converted
from modelyard.model.translate.categories import is_missing
from modelyard.model.translate.model import PACKED, Translated, translate
from modelyard.model.translate.original import Original
from modelyard.model.translate.probes import Variation, beside_few, generated, some, variations

_GOLDEN = 5


def verified(estimator: Any, frame: pd.DataFrame | None, *, origin: str) -> Converted:
    """The estimator as ONNX with its signature, once it has answered like the original; else a refusal.

    Parameters
    ----------
    estimator : fitted scikit-learn estimator
        The original, which is asked too.
    frame : DataFrame or None
        Rows as it takes them; without them, rows are made from what the model knows.
    origin : str
        What the rows are: `training`, `sample` or `generated`.

    Raises
    ------
    NotConvertible, ParityFailed, InvalidData
        There is no translation, it answers differently, or the original refuses the rows.
    """
    original = Original(estimator, frame)
    base = generated(original) if original.frame is None else some(original.frame)
    refusals: list[InvalidModel] = []
    for double in (True, False):  # parts that go through skl2onnx: float64 where it has that, else float32
        try:
            translated = translate(estimator, original.fields, double=double)
            return _verified(original, translated, base, origin)
        except (NotConvertible, ParityFailed, CorruptBundle) as exc:  # the last: ONNX Runtime has no such kernel
            refusals.append(exc)
    raise next((item for item in refusals if isinstance(item, ParityFailed)), _told(refusals))


def _told(refusals: list[InvalidModel]) -> InvalidModel:
    last = refusals[-1]
    if isinstance(last, CorruptBundle):
        return NotConvertible(
            model="the model", what=f"ONNX Runtime does not run its translation ({last.facts['what']})"
        )
    return last


def _verified(original: Original, translated: Translated, base: pd.DataFrame, origin: str) -> Converted:
    expected = original.ask(base, translated)
    made = beside_few(original, base) if origin == "sample" else []
    odd = _accepted(original, translated, [*variations(original, base), *made])
    accepts = {(item.column, item.kind) for item in odd}
    signature = _signature(original, translated, accepts)
    runner = _runner(translated, signature)
    report = parity.compare(expected, _answers(runner, original, base), origin=origin)
    odd, signature = _agreed(original, translated, odd, signature)
    runner = _runner(translated, signature)
    if odd:
        rows = _frame(original, odd)
        notes = [item.note for item in odd]
        more = parity.compare(
            original.ask(rows, translated), _answers(runner, original, rows), origin=origin, describe=notes
        )
        report = _both(report, more)
    return Converted(
        onnx=translated.onnx,
        signature=signature,
        task=translated.task,
        estimator=describe(original.estimator),
        libraries=_libraries(),
        parity=report,
        rows=_golden(original, signature, base, odd),
        notes=_notes(translated),
    )


def _both(first: Parity, second: Parity) -> Parity:
    return Parity(
        rows=first.rows + second.rows,
        origin=first.origin,
        max_abs=max(first.max_abs, second.max_abs),
        max_rel=max(first.max_rel, second.max_rel),
        tolerance=first.tolerance,
    )


def _frame(original: Original, items: Sequence[Variation]) -> pd.DataFrame:
    rows = pd.DataFrame([item.row for item in items], columns=original.names)
    for field in original.fields:
        rows[field.name] = rows[field.name].astype(object if field.text else np.float64)
    return rows


def _accepted(original: Original, translated: Translated, items: list[Variation]) -> list[Variation]:
    """The variations that the original answers; asked together where it can be, one by one where it refuses."""
    kept: list[Variation] = []
    for together in (
        [item for item in items if item.kind == "value"],
        [item for item in items if item.kind != "value"],
    ):
        if together and original.accepts(_frame(original, together), translated):
            kept += together
        else:
            kept += [item for item in together if original.accepts(_frame(original, [item]), translated)]
    return kept


def _agreed(
    original: Original, translated: Translated, items: list[Variation], signature: Signature
) -> tuple[list[Variation], Signature]:
    """Take back what the translation answers differently: such a null or category is refused, not answered wrongly."""
    runner = _runner(translated, signature)
    wrong: set[tuple[str, str]] = set()
    for item in items:
        if item.kind == "value":
            continue
        rows = _frame(original, [item])
        try:
            parity.compare(original.ask(rows, translated), _answers(runner, original, rows), origin="")
        except ParityFailed:
            wrong.add((item.column, item.kind))
    if not wrong:
        return items, signature
    kept = [item for item in items if (item.column, item.kind) not in wrong]
    return kept, _signature(original, translated, {(item.column, item.kind) for item in kept})


def _runner(translated: Translated, signature: Signature) -> runtime.Runner:
    manifest = Manifest(
        name="candidate", task=translated.task, signature=signature, files={}, source=Source(format="sklearn")
    )
    return runtime.load(seal(manifest, {MODEL: translated.onnx}))


def _answers(runner: runtime.Runner, original: Original, rows: pd.DataFrame) -> dict[str, Array]:
    """The translation's answers, asked the way a client asks: through the signature."""
    features = {feature.name: feature for feature in runner.signature.features}
    columns = {name: [_plain(features[name], item) for item in rows[name].astype(object)] for name in original.names}
    outputs = runner.run(from_columns(runner.signature, columns))
    return {spec.name: array for spec, array in zip(runner.signature.outputs, outputs, strict=True)}


def _plain(feature: Feature, item: Any) -> Any:
    """A value as a client would send it: None for a missing one, Python's own types."""
    if item is pd.NA or is_missing(item):
        return None
    if feature.kind is FeatureKind.BOOLEAN:
        return bool(item)
    if feature.kind in {FeatureKind.CATEGORY, FeatureKind.TEXT}:
        return item
    return item.item() if isinstance(item, np.generic) else item


def _signature(original: Original, translated: Translated, accepts: set[tuple[str, str]]) -> Signature:
    features = [_feature(original, at, accepts) for at in range(len(original.names))]
    if any(field.text for field in original.fields):
        inputs = tuple(
            TensorSpec(
                name=field.name,
                datatype=Datatype.BYTES if field.text else Datatype.FP64,
                shape=(ANY, 1),
                features=(feature,),
                graph_name="" if graph == field.name else graph,
            )
            for field, feature, graph in zip(original.fields, features, translated.inputs, strict=True)
        )
    else:
        inputs = (
            TensorSpec(name=PACKED, datatype=Datatype.FP64, shape=(ANY, len(features)), features=tuple(features)),
        )
    return Signature(
        inputs=inputs,
        outputs=translated.outputs,
        prediction=translated.prediction,
        probabilities=translated.probabilities,
    )


def _feature(original: Original, at: int, accepts: set[tuple[str, str]]) -> Feature:
    field, known = original.fields[at], original.known[at]
    nullable = (field.name, "missing") in accepts
    if field.text:
        categories = tuple(str(item) for item in known.categories if not is_missing(item))
        return Feature(
            name=field.name,
            kind=FeatureKind.TEXT if known.vectorised else FeatureKind.CATEGORY,
            nullable=nullable,
            categories=categories if known.encoded else (),
            accepts_unknown=(field.name, "unknown") in accepts,
        )
    if original.boolean[at]:
        return Feature(name=field.name, kind=FeatureKind.BOOLEAN, nullable=nullable)
    low, high = _range(original, at)
    return Feature(name=field.name, nullable=nullable, minimum=low, maximum=high)


def _range(original: Original, at: int) -> tuple[float | None, float | None]:
    if original.frame is None:
        return None, None
    values = original.frame.iloc[:, at].astype(np.float64)
    finite = values[np.isfinite(values)]
    return (None, None) if finite.empty else (float(finite.min()), float(finite.max()))


def _golden(
    original: Original, signature: Signature, base: pd.DataFrame, odd: Sequence[Variation]
) -> list[dict[str, Any]]:
    """A few rows for the bundle's samples: ordinary ones, and one with a value missing where that is allowed."""
    features = {feature.name: feature for feature in signature.features}
    rows = base.iloc[np.linspace(0, len(base) - 1, min(_GOLDEN, len(base))).astype(int)].to_dict("records")
    rows += [item.row for item in odd if item.kind == "missing"][:1]
    return [{str(name): _plain(features[str(name)], item) for name, item in row.items()} for row in rows]


def describe(estimator: Any) -> str:
    """The estimator's class and, for a pipeline, its steps': ``Pipeline(StandardScaler, Ridge)``."""
    steps = getattr(estimator, "steps", None)
    name = type(estimator).__name__
    return f"{name}({', '.join(type(step).__name__ for _, step in steps)})" if steps else name


def _libraries() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "onnx": onnx.__version__,
        "skl2onnx": skl2onnx.__version__,
    }


def _notes(translated: Translated) -> tuple[str, ...]:
    return (f"converted by skl2onnx: {', '.join(translated.through)}",) if translated.through else ()

"""The model card: what the manifest says, as a page for people."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.core.manifest import Manifest
from modelyard.core.signature import Feature, FeatureKind

_SHOWN = 8
METRIC_NAMES = {
    "r2": "R²",
    "rmse": "RMSE",
    "mae": "MAE",
    "accuracy": "Accuracy",
    "f1_macro": "Macro F1",
    "log_loss": "Log loss",
    "roc_auc": "ROC AUC",
}


def card(manifest: Manifest) -> str:
    """A short model card in Markdown; says only what the manifest says."""
    return "\n".join(line for part in _PARTS for line in part(manifest)).rstrip() + "\n"


def _title(manifest: Manifest) -> Iterator[str]:
    lineage = manifest.lineage
    goal = f"{manifest.task} of `{lineage.target}`" if lineage.target else str(manifest.task)
    yield from (
        f"# {manifest.name}",
        "",
        f"A model for {goal}: {manifest.source.estimator or manifest.source.format}.",
        "",
    )


def _inputs(manifest: Manifest) -> Iterator[str]:
    if not manifest.signature.features:
        return
    yield from ("## Inputs", "", "| name | kind | may be missing | values seen |", "|---|---|---|---|")
    for feature in manifest.signature.features:
        missing = "yes" if feature.nullable else "no"
        yield f"| {_cell(feature.name)} | {feature.kind} | {missing} | {_cell(_range(feature))} |"
    yield ""


def _quality(manifest: Manifest) -> Iterator[str]:
    yield from ("## Quality", "")
    if not manifest.metrics:
        yield from ("Not measured.", "")
        return
    yield from (f"| | test rows | {manifest.lineage.baseline or 'baseline'} |", "|---|---|---|")
    for metric in manifest.metrics:
        baseline = "" if metric.baseline is None else f"{metric.baseline:.4g}"
        yield f"| {METRIC_NAMES.get(metric.name, metric.name)} | {metric.value:.4g} | {baseline} |"
    yield ""


def _origin(manifest: Manifest) -> Iterator[str]:
    lineage, source = manifest.lineage, manifest.source
    yield from ("## Origin", "")
    if source.file:
        yield f"- From `{source.file}`, sha256 `{source.sha256}`"
    if lineage.data_rows:
        yield f"- Learnt from {lineage.data_rows:,} rows"
    if lineage.created_at:
        yield f"- Made {lineage.created_at} by Modelyard {lineage.modelyard}".rstrip()
    if lineage.seed is not None:
        yield f"- Seed {lineage.seed}"
    if manifest.parity is not None:
        yield f"- As ONNX it answers like the original on {manifest.parity.rows:,} rows (largest relative difference "
        yield f"  {manifest.parity.max_rel:.1e})"
    yield ""


def _notes(manifest: Manifest) -> Iterator[str]:
    if manifest.lineage.notes:
        yield from ("## Notes", "", *(f"- {note}" for note in manifest.lineage.notes), "")


_PARTS = (_title, _inputs, _quality, _origin, _notes)


def _range(feature: Feature) -> str:
    if feature.kind is FeatureKind.CATEGORY:
        more = ", …" if len(feature.categories) > _SHOWN else ""
        return ", ".join(feature.categories[:_SHOWN]) + more
    if feature.minimum is None or feature.maximum is None:
        return ""
    return f"{feature.minimum:g} to {feature.maximum:g}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

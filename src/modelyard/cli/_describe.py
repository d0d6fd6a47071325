"""Models, versions, signatures and comparisons as JSON documents and as text; no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.cli.screen import Screen

if TYPE_CHECKING:
    from modelyard.control.actions.compare import Comparison
    from modelyard.control.actions.show import Shown
    from modelyard.core.metric import Metric
    from modelyard.core.signature import Feature, Signature, TensorSpec
    from modelyard.registry.versions import Model, Version

_KIB = 1024


def size(count: int) -> str:
    """``345 B``, ``1.2 KiB``, ``3.4 MiB``."""
    value, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < _KIB or unit == "GiB":
            break
        value /= _KIB
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def models_text(screen: Screen, models: Sequence[Model]) -> str:
    """The table of ``model list``."""
    rows = [
        (
            model.name,
            model.latest.task,
            str(model.latest.version),
            str(model.default.version),
            ", ".join(f"{alias}→{number}" for alias, number in sorted(model.aliases.items())),
            _when(model.latest),
        )
        for model in models
    ]
    return screen.table(("MODEL", "TASK", "LATEST", "DEFAULT", "ALIASES", "UPDATED (UTC)"), rows, right=(2, 3))


def versions_text(screen: Screen, model: Model) -> str:
    """The table of ``model versions``, newest first."""
    rows = [
        (
            str(version.version),
            _when(version),
            size(version.size_bytes),
            version.source_format,
            _metrics(version.metrics),
            ", ".join(model.aliases_of(version)),
        )
        for version in reversed(model.versions)
    ]
    return screen.table(("VERSION", "CREATED (UTC)", "SIZE", "SOURCE", "METRICS", "ALIASES"), rows, right=(0, 2))


def shown_text(screen: Screen, shown: Shown) -> str:
    """What ``model show`` prints for people."""
    version, manifest = shown.version, shown.bundle.manifest
    source = manifest.source
    made = " ".join(filter(None, (source.format, source.estimator, source.file and f"({source.file})")))
    facts = [
        ("Task", version.task),
        ("Aliases", ", ".join(shown.aliases) or "none"),
        ("Created", f"{_when(version)} UTC"),
        ("Source", made),
        ("Size", size(version.size_bytes)),
        ("Digest", f"sha256:{version.digest}"),
    ]
    if manifest.parity:
        parity = manifest.parity
        facts.append(("Parity", f"{parity.rows} {parity.origin} rows agree, largest difference {parity.max_abs:.2g}"))
    parts = [str(version) + "".join(f"\n  {label:<9}{text}" for label, text in facts)]
    parts.append("Inputs\n" + _indent(_inputs(screen, manifest.signature)))
    parts.append("Outputs\n" + _indent(_outputs(screen, manifest.signature)))
    if version.metrics:
        parts.append("Metrics\n" + _indent(metrics_text(screen, version.metrics)))
    return "\n\n".join(parts)


def metrics_text(screen: Screen, metrics: Iterable[Metric]) -> str:
    """Metrics beside what the naive baseline reaches."""
    rows = [(metric.name, f"{metric.value:.4g}", _number(metric.baseline), _wish(metric)) for metric in metrics]
    return screen.table(("METRIC", "VALUE", "BASELINE", ""), rows, right=(1, 2))


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """The document of ``model diff``."""
    return {
        "before": str(comparison.before),
        "after": str(comparison.after),
        "breaks": comparison.breaks,
        **{
            key: msgspec.to_builtins(getattr(comparison, key))
            for key in ("signature", "metrics", "parameters", "facts")
        },
    }


def comparison_text(screen: Screen, comparison: Comparison) -> str:
    """What ``model diff`` prints for people."""
    parts = [f"{comparison.before} → {comparison.after}"]
    changes = [(change.what, _whom(change.breaks)) for change in comparison.signature]
    if changes:
        parts.append("Signature\n" + _indent(screen.table(("CHANGE", "CALLERS"), changes)))
    else:
        parts.append("Signature\n  unchanged: callers need not change")
    if comparison.metrics:
        rows = [(one.name, _number(one.before), _number(one.after), _better(one.better)) for one in comparison.metrics]
        parts.append("Metrics\n" + _indent(screen.table(("METRIC", "BEFORE", "AFTER", ""), rows, right=(1, 2))))
    for title, values in (("Parameters", comparison.parameters), ("Facts", comparison.facts)):
        if values:
            cells = [(one.name, _value(one.before), _value(one.after)) for one in values]
            parts.append(f"{title}\n" + _indent(screen.table(("NAME", "BEFORE", "AFTER"), cells)))
    return "\n\n".join(parts)


def _inputs(screen: Screen, signature: Signature) -> str:
    rows = [
        (feature.name, str(feature.kind), "yes" if feature.nullable else "no", _values(feature))
        for feature in signature.features
    ]
    rows += [(spec.name, _form(spec), "no", "") for spec in signature.inputs if not spec.features]
    return screen.table(("NAME", "TYPE", "MAY BE MISSING", "SEEN IN TRAINING"), rows)


def _outputs(screen: Screen, signature: Signature) -> str:
    roles = {signature.prediction: "the prediction", signature.probabilities: "the probabilities"}
    rows = [
        (spec.name, _form(spec), roles.get(spec.name, ""), ", ".join(str(label) for label in spec.labels))
        for spec in signature.outputs
    ]
    return screen.table(("NAME", "TYPE", "ROLE", "LABELS"), rows)


def _form(spec: TensorSpec) -> str:
    return f"{spec.datatype} [{', '.join('n' if axis < 0 else str(axis) for axis in spec.shape)}]"


def _values(feature: Feature) -> str:
    if feature.categories:
        shown = ", ".join(feature.categories[:6]) + (", …" if len(feature.categories) > 6 else "")
        return shown + (" (others accepted)" if feature.accepts_unknown else "")
    low, high = _number(feature.minimum), _number(feature.maximum)
    if feature.minimum is None:
        return "" if feature.maximum is None else f"up to {high}"
    return f"from {low}" if feature.maximum is None else f"{low} to {high}"


def _metrics(metrics: Iterable[Metric]) -> str:
    return ", ".join(f"{metric.name} {metric.value:.4g}" for metric in list(metrics)[:3])


def _when(version: Version) -> str:
    return f"{version.created_at:%Y-%m-%d %H:%M}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _wish(metric: Metric) -> str:
    return "higher is better" if metric.higher_is_better else "lower is better"


def _better(better: bool | None) -> str:  # noqa: FBT001 - three states of one fact, not a switch
    return {True: "better", False: "worse", None: ""}[better]


def _whom(breaks: str) -> str:
    return {"nobody": "unaffected", "tensors": "break if they send tensors", "everyone": "break"}[breaks]


def _value(value: Any) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:23]}…"


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())

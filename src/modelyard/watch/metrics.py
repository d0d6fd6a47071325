"""Counters as Prometheus reads them (text exposition format 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from modelyard.watch.counters import BUCKETS_S, UNROUTED, Totals

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(totals: Mapping[str, Totals], gauges: Mapping[str, tuple[str, float]]) -> str:
    """The text for ``/metrics``.

    Parameters
    ----------
    totals : mapping of str to Totals
        By label ``name@version``, or `UNROUTED` for requests that reached no model.
    gauges : mapping of str to (help, value)
        Further single numbers by metric name.

    Returns
    -------
    str
        Metric families in a fixed order, each with its help and type.

    References
    ----------
    .. [1] Prometheus, *Exposition formats*.
    """
    models = {label: total for label, total in sorted(totals.items()) if label != UNROUTED}
    lines = [*_requests(models), *_limited(models), *_rows(models), *_looks(models), *_latency(models)]
    refused = totals.get(UNROUTED)
    lines += _family("modelyard_unrouted_requests_total", "counter", "Requests that reached no model, by outcome.")
    for outcome, value in _outcomes(refused) if refused else ():
        lines.append(f'modelyard_unrouted_requests_total{{outcome="{outcome}"}} {value}')
    for name, (text, number) in gauges.items():
        lines += [*_family(name, "gauge", text), f"{name} {number!r}"]
    return "\n".join(lines) + "\n"


def _requests(models: Mapping[str, Totals]) -> Iterable[str]:
    yield from _family("modelyard_requests_total", "counter", "Prediction requests by model, version and outcome.")
    for label, total in models.items():
        for outcome, value in _outcomes(total):
            yield f'modelyard_requests_total{{{_pair(label)},outcome="{outcome}"}} {value}'


def _limited(models: Mapping[str, Totals]) -> Iterable[str]:
    name = "modelyard_limited_total"
    yield from _family(name, "counter", "Prediction requests refused because their callers had asked too much.")
    for label, total in models.items():
        yield f"{name}{{{_pair(label)}}} {total.limited}"


def _rows(models: Mapping[str, Totals]) -> Iterable[str]:
    yield from _family("modelyard_rows_total", "counter", "Rows predicted by model and version.")
    for label, total in models.items():
        yield f"modelyard_rows_total{{{_pair(label)}}} {total.rows}"


def _looks(models: Mapping[str, Totals]) -> Iterable[str]:
    for name, what, text in (
        ("modelyard_journal_dropped_total", "unkept", "Lines and captures that could not be written down."),
        ("modelyard_cache_hits_total", "hits", "Prediction requests answered from the cache."),
        ("modelyard_cache_misses_total", "misses", "Prediction requests that the cache had no answer to."),
    ):
        yield from _family(name, "counter", text)
        for label, total in models.items():
            yield f"{name}{{{_pair(label)}}} {getattr(total, what)}"


def _latency(models: Mapping[str, Totals]) -> Iterable[str]:
    name = "modelyard_request_seconds"
    yield from _family(name, "histogram", "Time from a request's last byte to its answer.")
    for label, total in models.items():
        below = 0
        for bound, count in zip((*BUCKETS_S, None), total.buckets, strict=True):
            below += count
            edge = "+Inf" if bound is None else f"{bound:g}"
            yield f'{name}_bucket{{{_pair(label)},le="{edge}"}} {below}'
        yield f"{name}_sum{{{_pair(label)}}} {total.seconds!r}"
        yield f"{name}_count{{{_pair(label)}}} {below}"


def _family(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _outcomes(total: Totals) -> tuple[tuple[str, int], ...]:
    return (("ok", total.ok), ("invalid", total.invalid), ("failed", total.failed))


def _pair(label: str) -> str:
    """Model names are DNS labels and versions numbers, so nothing needs escaping."""
    name, _, version = label.partition("@")
    return f'model="{name}",version="{version}"'

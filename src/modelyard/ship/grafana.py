"""What Grafana is told: a dashboard of Modelyard's metrics, and the files that put it there. Targets use it.

Every expression speaks of metrics that docs/http.md lists.
"""

from __future__ import annotations

import json
from typing import Any

from modelyard.ship.prometheus import JOB

#: How panels find Prometheus: the one that `datasources` names, or the one that whoever imports it picks.
_SOURCE = {"type": "prometheus", "uid": "${source}"}
_SCHEMA = 39  # of a dashboard, as Grafana 10.4 and later write it
_WIDTH = 24
_PICKED = f'job="{JOB}",instance=~"$deployment",model=~"$model",version=~"$version"'
_ALL = f'job="{JOB}",instance=~"$deployment"'
_BY = "{{model}}@{{version}}"


def dashboard() -> str:
    """The dashboard as JSON, for provisioning or for Grafana's own import."""
    told = {
        "uid": "modelyard",
        "title": "Modelyard",
        "description": "What deployments answer: how much, how fast, and what goes wrong.",
        "tags": ["modelyard"],
        "editable": True,
        "graphTooltip": 1,
        "schemaVersion": _SCHEMA,
        "refresh": "15s",
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_source(), *_variables()]},
        "annotations": {"list": []},
        "panels": _panels(),
    }
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def datasources(url: str) -> dict[str, Any]:
    """Provisioning: the Prometheus that the dashboard asks."""
    source = {"name": "Prometheus", "uid": "prometheus", "type": "prometheus", "access": "proxy", "url": url}
    return {"apiVersion": 1, "datasources": [{**source, "isDefault": True, "editable": False}]}


def providers(folder: str) -> dict[str, Any]:
    """Provisioning: dashboards are read from the files of this folder."""
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": "modelyard",
                "type": "file",
                "disableDeletion": True,
                "allowUiUpdates": False,
                "options": {"path": folder},
            }
        ],
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}


def _variables() -> list[dict[str, Any]]:
    """What is looked at; everything at first."""
    picked = f'job="{JOB}",instance=~"$deployment"'
    return [
        _variable("deployment", f'label_values(modelyard_models{{job="{JOB}"}}, instance)'),
        _variable("model", f"label_values(modelyard_requests_total{{{picked}}}, model)"),
        _variable("version", f'label_values(modelyard_requests_total{{{picked},model=~"$model"}}, version)'),
    ]


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panels() -> list[dict[str, Any]]:
    """Numbers of this moment in the first row, then curves, two beside each other."""
    requests = f"rate(modelyard_requests_total{{{_PICKED}}}[$__rate_interval])"
    failed = f'rate(modelyard_requests_total{{{_PICKED},outcome="failed"}}[$__rate_interval])'
    hits = f"sum(rate(modelyard_cache_hits_total{{{_PICKED}}}[$__rate_interval]))"
    misses = f"sum(rate(modelyard_cache_misses_total{{{_PICKED}}}[$__rate_interval]))"
    panels = [
        _stat("Requests", f"sum({requests})", "reqps"),
        _stat("Failed", f"sum({failed}) / sum({requests})", "percentunit"),
        _stat("p99", _quantile(0.99, "le"), "s"),
        _stat("Waiting", f"sum(modelyard_waiting{{{_ALL}}})", "short"),
        _stat("Versions loaded", f"max(modelyard_versions{{{_ALL}}})", "short"),
        _stat("Deployments that answer", f'sum(up{{job="{JOB}",instance=~"$deployment"}})', "short"),
        _curves("Requests by version", [(f"sum by (model, version) ({requests})", _BY)], "reqps"),
        _curves("Time to answer", _latencies(), "s"),
        _curves("Requests by outcome", [(f"sum by (outcome) ({requests})", "{{outcome}}")], "reqps"),
        _curves("p95 by version", [(_quantile(0.95, "model, version, le"), _BY)], "s"),
        _curves("Rows by version", [(_rate_by_version("modelyard_rows_total"), _BY)], "short"),
        _curves(
            "Waiting and connections",
            [
                (f"sum by (instance) (modelyard_waiting{{{_ALL}}})", "waiting {{instance}}"),
                (f"sum by (instance) (modelyard_connections{{{_ALL}}})", "connections {{instance}}"),
            ],
            "short",
        ),
        _curves(
            "Turned away",
            [
                (_rate_by_version("modelyard_limited_total"), f"limited {_BY}"),
                (
                    f"sum by (outcome) (rate(modelyard_unrouted_requests_total{{{_ALL}}}[$__rate_interval]))",
                    "no model: {{outcome}}",
                ),
            ],
            "reqps",
        ),
        _curves(
            "Cache",
            [(f"{hits} / ({hits} + {misses})", "answered from the cache")],
            "percentunit",
        ),
    ]
    return _placed(panels)


def _rate_by_version(metric: str) -> str:
    return f"sum by (model, version) (rate({metric}{{{_PICKED}}}[$__rate_interval]))"


def _quantile(which: float, by: str) -> str:
    buckets = f"rate(modelyard_request_seconds_bucket{{{_PICKED}}}[$__rate_interval])"
    return f"histogram_quantile({which}, sum by ({by}) ({buckets}))"


def _latencies() -> list[tuple[str, str]]:
    mean = (
        f"sum(rate(modelyard_request_seconds_sum{{{_PICKED}}}[$__rate_interval]))"
        f" / sum(rate(modelyard_request_seconds_count{{{_PICKED}}}[$__rate_interval]))"
    )
    return [*((_quantile(each, "le"), f"p{each * 100:g}") for each in (0.5, 0.95, 0.99)), (mean, "mean")]


def _stat(title: str, expression: str, unit: str) -> dict[str, Any]:
    calculated = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    return {**_panel("stat", title, [(expression, "")], unit), "options": {"reduceOptions": calculated}}


def _curves(title: str, queries: list[tuple[str, str]], unit: str) -> dict[str, Any]:
    shown = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    return {**_panel("timeseries", title, queries, unit), "options": shown}


def _panel(kind: str, title: str, queries: list[tuple[str, str]], unit: str) -> dict[str, Any]:
    asked = [
        {"refId": chr(ord("A") + at), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
        for at, (expression, legend) in enumerate(queries)
    ]
    fields = {"defaults": {"unit": unit, "min": 0}, "overrides": []}
    return {"type": kind, "title": title, "datasource": _SOURCE, "targets": asked, "fieldConfig": fields}


def _placed(panels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """From left to right, then down."""
    x = y = tall = 0
    found = []
    for number, panel in enumerate(panels, 1):
        wide, high = (4, 4) if panel["type"] == "stat" else (12, 8)
        if x + wide > _WIDTH:
            x, y = 0, y + tall
        found.append({"id": number, **panel, "gridPos": {"x": x, "y": y, "w": wide, "h": high}})
        x, tall = x + wide, high
    return found

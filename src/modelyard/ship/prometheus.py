"""What Prometheus is told: where the metrics of a deployment are, and when to call somebody. Targets put it there.

Every expression speaks of metrics that docs/http.md lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.ship import layout

#: The job that scrapes deployments; rules and dashboards select by it.
JOB = "modelyard"
#: Seconds between two looks.
INTERVAL_S = 15
#: Where `config` expects the rules, beside itself.
RULES_FILE = "rules.yml"

_FAILED = f'sum by (model, version) (rate(modelyard_requests_total{{job="{JOB}",outcome="failed"}}[5m]))'
_INVALID = f'sum by (model, version) (rate(modelyard_requests_total{{job="{JOB}",outcome="invalid"}}[15m]))'
_BUCKETS = f'sum by (model, version, le) (rate(modelyard_request_seconds_bucket{{job="{JOB}"}}[5m]))'
_LIMITED = f'sum by (model) (rate(modelyard_limited_total{{job="{JOB}"}}[15m]))'


@dataclass(frozen=True, kw_only=True)
class Scraped:
    """Where one deployment answers Prometheus.

    Parameters
    ----------
    deployment : str
        Its name; the label ``instance``.
    host : str
        Name that leads to it. It is asked by the address behind that name, by which every server may be called.
    key_file : str
        File with a key that may read metrics, which is read at every look; empty where none is needed.
    ca_file : str
        Certificates that are believed; empty for no TLS.
    server_name : str
        The name in the server's certificate.
    """

    deployment: str
    host: str
    key_file: str = ""
    ca_file: str = ""
    server_name: str = ""


def config(scraped: Scraped) -> dict[str, Any]:
    """``prometheus.yml`` for one deployment."""
    job: dict[str, Any] = {"job_name": JOB, "metrics_path": "/metrics"}
    if scraped.key_file:
        job["authorization"] = {"type": "Bearer", "credentials_file": scraped.key_file}
    if scraped.ca_file:
        job |= {"scheme": "https", "tls_config": {"ca_file": scraped.ca_file, "server_name": scraped.server_name}}
    place = {"names": [scraped.host], "type": "A", "port": layout.HTTP_PORT, "refresh_interval": "5s"}
    job["dns_sd_configs"] = [place]
    job["relabel_configs"] = [{"target_label": "instance", "replacement": scraped.deployment}]
    return {
        "global": {"scrape_interval": f"{INTERVAL_S}s", "evaluation_interval": f"{INTERVAL_S}s"},
        "rule_files": [RULES_FILE],
        "scrape_configs": [job],
    }


def rules() -> dict[str, Any]:
    """The alerts: a rule file of Prometheus, and the ``spec`` of a PrometheusRule of its operator."""
    return {"groups": [{"name": "modelyard", "rules": list(_ALERTS)}]}


def _alert(name: str, expression: str, lasting: str, severity: str, said: Mapping[str, str]) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expression,
        "for": lasting,
        "labels": {"severity": severity},
        "annotations": dict(said),
    }


def _said(summary: str, description: str) -> dict[str, str]:
    return {"summary": summary, "description": description}


_WHICH = "{{ $labels.model }}@{{ $labels.version }}"
_ALERTS = (
    _alert(
        "ModelyardDown",
        f'up{{job="{JOB}"}} == 0',
        "1m",
        "critical",
        _said("{{ $labels.instance }} does not answer", "Its metrics could not be read for a minute: modelyard status"),
    ),
    _alert(
        "ModelyardServesNothing",
        f'modelyard_models{{job="{JOB}"}} == 0',
        "1m",
        "critical",
        _said("{{ $labels.instance }} serves no model", "It runs, and every model was refused: modelyard status"),
    ),
    _alert(
        "ModelyardFailing",
        f'{_FAILED} / sum by (model, version) (rate(modelyard_requests_total{{job="{JOB}"}}[5m])) > 0.01',
        "5m",
        "critical",
        _said(f"{_WHICH} fails", "{{ $value | humanizePercentage }} of its requests failed on our side."),
    ),
    _alert(
        "ModelyardSlow",
        f"histogram_quantile(0.99, {_BUCKETS}) > 1",
        "10m",
        "warning",
        _said(f"{_WHICH} is slow", "One request in a hundred takes longer than {{ $value | humanizeDuration }}."),
    ),
    _alert(
        "ModelyardWaiting",
        f'modelyard_waiting{{job="{JOB}"}} > 100',
        "5m",
        "warning",
        _said("Requests queue up in {{ $labels.instance }}", "{{ $value }} of them wait: it needs more workers."),
    ),
    _alert(
        "ModelyardRefusing",
        f'{_INVALID} / sum by (model, version) (rate(modelyard_requests_total{{job="{JOB}"}}[15m])) > 0.2',
        "15m",
        "warning",
        _said(
            f"Callers of {_WHICH} send what does not fit",
            "{{ $value | humanizePercentage }} of its requests did not fit its signature: did a caller change?",
        ),
    ),
    _alert(
        "ModelyardLimiting",
        f"{_LIMITED} > 1",
        "15m",
        "warning",
        _said(
            "Callers of {{ $labels.model }} ask more than they may",
            "{{ $value | humanize }} requests a second are turned away by their rate class.",
        ),
    ),
)

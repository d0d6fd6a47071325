"""What Prometheus is told, as its own promtool reads it; and alerts that come when they should."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from modelyard.ship import prometheus, yaml
from modelyard.ship.prometheus import Scraped
from tests.containers import program

METRICS = Path("docs/http.md").read_text()
#: Words of metrics in an expression; parts of histograms are listed by the histogram's name.
NAMES = re.compile(r"modelyard_[a-z_]+")
PARTS = re.compile(r"_(bucket|sum|count)$")


def listed(expression: str) -> set[str]:
    """Metrics of this expression that docs/http.md does not list."""
    names = {PARTS.sub("", name) for name in NAMES.findall(expression)}
    return {name for name in names if f"`{name}`" not in METRICS}


def promtool(*words: str | Path) -> str:
    done = subprocess.run([program("promtool"), *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "scraped",
    [
        Scraped(deployment="shop", host="server"),
        Scraped(deployment="shop", host="server", key_file="/run/secrets/metrics.key"),
        Scraped(deployment="shop", host="server", key_file="/k", ca_file="/ca.pem", server_name="api.example.com"),
    ],
)
def test_the_configuration_is_one(scraped: Scraped, tmp_path: Path) -> None:
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.dump(prometheus.config(scraped)))
    (tmp_path / prometheus.RULES_FILE).write_text(yaml.dump(prometheus.rules()))
    said = promtool("check", "config", "--syntax-only", path)
    assert "is valid prometheus config" in said


def test_the_rules_are_rules(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(yaml.dump(prometheus.rules()))
    assert f"{len(prometheus.rules()['groups'][0]['rules'])} rules found" in promtool("check", "rules", path)


def test_every_metric_of_a_rule_is_listed() -> None:
    for rule in prometheus.rules()["groups"][0]["rules"]:
        assert not listed(rule["expr"]), rule


_WHO = 'model="churn",version="7",instance="shop",job="modelyard"'
#: Series that are told apart from the well-behaved ones, when to look, and what is then on.
STORIES = {
    "ModelyardDown": ('up{instance="shop",job="modelyard"}', "0x60", "2m"),
    "ModelyardServesNothing": ('modelyard_models{instance="shop",job="modelyard"}', "0x60", "2m"),
    "ModelyardFailing": (f'modelyard_requests_total{{{_WHO},outcome="failed"}}', "0+10x60", "12m"),
    "ModelyardRefusing": (f'modelyard_requests_total{{{_WHO},outcome="invalid"}}', "0+500x60", "40m"),
    "ModelyardSlow": (f'modelyard_request_seconds_bucket{{{_WHO},le="2.5"}}', "0+900x60", "20m"),
    "ModelyardWaiting": ('modelyard_waiting{instance="shop",job="modelyard"}', "150x60", "8m"),
    "ModelyardLimiting": (f"modelyard_limited_total{{{_WHO}}}", "0+600x60", "40m"),
}
_WELL = {
    'up{instance="shop",job="modelyard"}': "1x60",
    'modelyard_models{instance="shop",job="modelyard"}': "1x60",
    'modelyard_waiting{instance="shop",job="modelyard"}': "3x60",
    f'modelyard_requests_total{{{_WHO},outcome="ok"}}': "0+600x60",
    f'modelyard_requests_total{{{_WHO},outcome="failed"}}': "0x60",
    f'modelyard_requests_total{{{_WHO},outcome="invalid"}}': "0+6x60",
    f"modelyard_limited_total{{{_WHO}}}": "0x60",
    f'modelyard_request_seconds_bucket{{{_WHO},le="0.1"}}': "0+600x60",
    f'modelyard_request_seconds_bucket{{{_WHO},le="2.5"}}': "0+600x60",
    f'modelyard_request_seconds_bucket{{{_WHO},le="+Inf"}}': "0+900x60",
}


def _told(name: str, at: str, series: dict[str, str], on: bool) -> dict[str, object]:
    rule = next(rule for rule in prometheus.rules()["groups"][0]["rules"] if rule["alert"] == name)
    query = f'count(ALERTS{{alertname="{name}",alertstate="firing"}})'
    expected = [{"labels": "{}", "value": 1}] if on else []
    return {
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "promql_expr_test": [{"expr": query, "eval_time": at, "exp_samples": expected}],
        "name": f"{name} after {at}, for {rule['for']}",
    }


def test_each_alert_comes_when_it_should_and_not_otherwise(tmp_path: Path) -> None:
    well = _WELL | {f'modelyard_request_seconds_bucket{{{_WHO},le="+Inf"}}': "0+600x60"}
    tests = []
    for name, (series, values, at) in STORIES.items():
        ill = (_WELL if name == "ModelyardSlow" else well) | {series: values}
        tests += [_told(name, at, ill, on=True), _told(name, at, well, on=False)]
    assert set(STORIES) == {rule["alert"] for rule in prometheus.rules()["groups"][0]["rules"]}
    (tmp_path / "rules.yml").write_text(yaml.dump(prometheus.rules()))
    path = tmp_path / "tests.yml"
    path.write_text(yaml.dump({"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests}))
    assert "SUCCESS" in promtool("test", "rules", path)

"""What Grafana is told. There is no Grafana here: its files are held against what it documents of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from modelyard.ship import grafana, prometheus, yaml
from tests.containers import program
from tests.unit.ship.test_prometheus import listed


def read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(grafana.dashboard())
    return found


def expressions() -> list[str]:
    return [target["expr"] for panel in read()["panels"] for target in panel["targets"]]


def test_every_metric_of_a_panel_is_listed() -> None:
    assert len(expressions()) > 15
    for expression in expressions():
        assert not listed(expression), expression


def test_every_expression_is_one(tmp_path: Path) -> None:
    """Grafana's own variables are put in; promtool reads the rest, as rules."""
    rules = [
        {"record": f"panel:expression:{at}", "expr": each.replace("$__rate_interval", "5m")}
        for at, each in enumerate(expressions())
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run([program("promtool"), "check", "rules", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_shows_what_is_promised() -> None:
    whole = " ".join(expressions())
    for each in ("0.5,", "0.95,", "0.99,", "modelyard_rows_total", 'outcome="failed"', "modelyard_waiting"):
        assert each in whole
    assert {"deployment", "model", "version"} <= {each["name"] for each in read()["templating"]["list"]}


def test_panels_lie_beside_each_other_and_not_upon() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in read()["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    ids = [panel["id"] for panel in read()["panels"]]
    assert len(set(ids)) == len(ids)


def test_each_panel_is_whole() -> None:
    for panel in read()["panels"]:
        assert panel["type"] in {"stat", "timeseries"}
        assert panel["datasource"] == {"type": "prometheus", "uid": "${source}"}
        assert panel["fieldConfig"]["defaults"]["unit"] in {"reqps", "percentunit", "s", "short"}
        assert [target["refId"] for target in panel["targets"]] == ["A", "B", "C", "D"][: len(panel["targets"])]


def test_provisioning_leads_to_the_dashboard_and_its_prometheus() -> None:
    source = grafana.datasources("http://prometheus:9090")
    assert source["apiVersion"] == 1
    assert (source["datasources"][0]["type"], source["datasources"][0]["isDefault"]) == ("prometheus", True)
    provider = grafana.providers("/etc/modelyard/dashboards")["providers"][0]
    assert (provider["type"], provider["options"]["path"]) == ("file", "/etc/modelyard/dashboards")


def test_rules_and_dashboard_speak_of_the_same_job() -> None:
    assert all(f'job="{prometheus.JOB}"' in each for each in expressions())
    with pytest.raises(AssertionError):
        assert not listed("rate(modelyard_no_such_metric_total[5m])")

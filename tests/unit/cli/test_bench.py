from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from modelyard.cli.bench import command
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from tests.models import linear_bundle
from tests.unit.client.load.stand import Stand, http


@pytest.fixture
def shop(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("MODELYARD_HOME", str(home.settings.home))
    return home


def _bench(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_a_model(shop: Home) -> None:
    publish(shop, linear_bundle())
    done = _bench("linear", "--connections", "1,2", "--duration", "300ms")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].startswith("Serving     linear@1 for this test only")
    assert "5 (golden rows), every answer is checked" in done.output
    (header,) = [line for line in lines if line.startswith("connections")]
    assert header.split() == ["connections", "requests/s", "p50", "p90", "p99", "p99.9", "max", "failed"]
    assert all(len(line) <= 80 for line in lines)
    assert "Now / then" not in done.output
    again = _bench("linear", "--connections", "1,2", "--duration", "300ms")
    assert "Now / then (linear@1, 20" in again.output
    assert again.output.count("×") == 8


def test_quiet_is_the_result_alone(shop: Home) -> None:
    publish(shop, linear_bundle())
    done = _bench("linear", "--rate", "50,100", "--duration", "0.3s", "--arrivals", "constant", "-q")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[0].split()[0] == "offered/s"
    assert all(len(line) <= 80 for line in done.output.splitlines())


def test_as_json(shop: Home) -> None:
    publish(shop, linear_bundle())
    done = _bench("linear", "--connections", "2", "--requests", "50", "--json", "--save", "fine")
    document = json.loads(done.stdout)
    assert done.exit_code == 0
    assert (document["ok"], document["model"], document["steps"][0]["answered"]) == (True, "linear@1", 50)
    assert "at most, all steps together" in done.stderr
    again = json.loads(_bench("linear", "--connections", "2", "--requests", "60", "--json", "--against", "fine").stdout)
    assert again["before"]["steps"][0]["connections"] == 2


def test_wrong_answers_are_shown_and_fail(shop: Home, tmp_path: Path) -> None:
    (tmp_path / "body.json").write_text("{}")
    plan = {7: [http(b'{"prediction":[7.0]}')], 8: [http(b"busy", "503 Busy")], 9: [None]}
    with Stand(lambda number: plan.get(number, [http()])) as stand:
        url = f"http://{stand.place.netloc}/predict"
        done = _bench(url, "--body", tmp_path / "body.json", "--connections", "1", "--requests", "30")
    assert done.exit_code == 1
    assert "Failed      1 wrong, 1 status 503, 1 closed" in done.output
    assert '  answered  200 {"prediction":[7.0]}\n  expected  {"prediction":[6.0]}' in done.output


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["nobody"], 3, "no model 'nobody'"),
        (["http://192.0.2.1/predict"], 4, "--remote --requests 10000"),
        (["http://192.0.2.1/predict", "--remote"], 4, "how many requests"),
        (["http://192.0.2.1/predict", "--requests", "5"], 4, "not this machine"),
        (["http://127.0.0.1:1/predict"], 1, "cannot be asked"),
        (["ftp://127.0.0.1"], 1, "not an address"),
        (["linear", "--duration", "2h"], 2, "3600 s at most"),
        (["linear", "--duration", "5x"], 2, "500ms, 5s or 2m"),
        (["linear", "--duration", "0"], 2, "500ms, 5s or 2m"),
        (["linear", "--connections", "1,x"], 2, "1,16,64"),
        (["linear", "--connections", "0"], 2, "between 1 and"),
        (["linear", "--rate", "0"], 2, "above 0"),
        (["linear", "--find", "--rate", "5"], 2, "--find chooses"),
        (["linear", "--find", "--requests", "5"], 2, "--find chooses"),
        (["linear", "--against", "nobody"], 3, "no saved report 'nobody'"),
        (["linear", "--save", "A B"], 2, "a-b"),
        (["linear", "-H", "x"], 1, "not a header"),
        (["linear", "--data", "a.csv", "--body", "b"], 1, "not both"),
        (["linear", "--data", "nowhere.csv"], 3, "nowhere.csv"),
    ],
)
def test_mistakes_are_named(shop: Home, arguments: list[str], code: int, text: str) -> None:
    if arguments[0] == "linear":
        publish(shop, linear_bundle())
    done = _bench(*arguments)
    assert done.exit_code == code, done.output
    assert text in done.output

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelyard.client.load.target import is_address, reach
from modelyard.client.load.wanted import Ask
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.core.errors import InvalidRequest, ModelyardError, NotFound
from tests.models import linear_bundle, mixed_bundle
from tests.unit.client.load.stand import Stand, http


def _bodies(home: Home, text: str, **asked: object) -> tuple[list[object], list[object], str]:
    with reach(home.settings, text, Ask(**asked), 5.0) as target:  # type: ignore[arg-type]
        sent = [json.loads(one.request.partition(b"\r\n\r\n")[2]) for one in target.questions]
        return sent, [json.loads(one.answer) for one in target.questions], target.origin


def test_a_model_is_asked_its_golden_rows(home: Home) -> None:
    publish(home, linear_bundle())
    sent, answers, origin = _bodies(home, "linear")
    assert sent == [{"feature": float(at)} for at in range(1, 6)]
    assert answers == [{"prediction": [2.0 * at]} for at in range(1, 6)]
    assert origin == "golden rows"
    sent, answers, _ = _bodies(home, "linear@1", rows=2)
    assert sent[4] == [{"feature": 5.0}, {"feature": 1.0}]
    assert answers[4] == {"prediction": [10.0, 2.0]}


def test_a_model_is_asked_a_csv_as_its_signature_reads_it(home: Home, tmp_path: Path) -> None:
    publish(home, mixed_bundle())
    (tmp_path / "rows.csv").write_text("species,length,mass,label\nadelie,1.5,,big\ngentoo,2,3,small\n")
    sent, answers, origin = _bodies(home, "mixed", data=tmp_path / "rows.csv")
    assert sent == [
        {"species": "adelie", "length": 1.5, "mass": None},
        {"species": "gentoo", "length": 2, "mass": 3},
    ]
    assert answers == [{"prediction": ["small"]}, {"prediction": ["big"]}]
    assert origin == "rows.csv"


def test_what_a_comparison_goes_by(home: Home, tmp_path: Path) -> None:
    """Golden rows of another version are still golden rows; another file is another question."""
    publish(home, linear_bundle())
    with reach(home.settings, "linear", Ask(), 5.0) as target:
        assert (target.subject, target.mark, target.model) == ("linear", "golden rows", "linear@1")
        assert target.lent is not None
    marks = set()
    with Stand(lambda _: [http()]) as stand:
        url = f"http://{stand.place.netloc}/predict"
        for row in ("[1]", "[2]"):
            (tmp_path / "a.json").write_text(row)
            with reach(home.settings, url, Ask(bodies=(tmp_path / "a.json",)), 5.0) as target:
                assert (target.subject, target.model, target.lent) == (url, None, None)
                marks.add(target.mark)
    assert len(marks) == 2


def test_a_running_server_is_asked_its_own_example(home: Home) -> None:
    paths = {"/predict": {"post": {"requestBody": {"content": {"application/json": {"example": {"a": 1}}}}}}}
    document = json.dumps({"paths": paths}).encode()
    with Stand(lambda number: [http(document) if number == 0 else http()]) as stand:
        sent, answers, origin = _bodies(home, f"http://{stand.place.netloc}")
        assert (sent, answers, origin) == ([{"a": 1}], [{"prediction": [6.0]}], "the server's example")


@pytest.mark.parametrize(
    ("text", "asked", "error"),
    [
        ("nobody", {}, NotFound),
        ("linear", {"data": Path("nowhere.csv")}, NotFound),
        ("linear", {"data": Path("a.csv"), "bodies": (Path("b"),)}, InvalidRequest),
        ("linear", {"headers": ("x",)}, InvalidRequest),
        ("http://127.0.0.1:1/predict", {"bodies": (Path("nowhere"),)}, NotFound),
    ],
)
def test_what_cannot_be_asked(home: Home, text: str, asked: dict[str, object], error: type[ModelyardError]) -> None:
    publish(home, linear_bundle())
    with pytest.raises(error):
        _bodies(home, text, **asked)


def test_addresses_and_names() -> None:
    assert is_address("http://127.0.0.1")
    assert is_address("ftp://x")
    assert not is_address("churn@2")

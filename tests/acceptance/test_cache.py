"""The cache of a real server: one question by every way, a new version, a model that throws dice, and what is told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as triton

from modelyard.client.local import load
from modelyard.control.actions.publish import publish
from tests.acceptance.load import wait_until
from tests.acceptance.serving import Served, home_with
from tests.acceptance.ways import GOOD, Asker, bits, echo_bundle
from tests.models import linear_bundle, random_bundle


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("home")
    home_with(path, echo_bundle(), linear_bundle(), random_bundle())
    return path


@pytest.fixture(scope="module")
def served(home: Path) -> Iterator[Served]:
    with Served(home, "--tune", "cache_bytes=1MiB", "--tune", "linear:queue=9") as served:
        yield served
    assert "Traceback" not in served.stderr, served.stderr


def statistics(served: Served, model: str, version: int = 1) -> dict[str, Any]:
    _, _, body = served.ask("GET", f"/v2/models/{model}/versions/{version}/stats")
    found: dict[str, Any] = json.loads(body)["model_stats"][0]
    return found


def looks(served: Served, model: str, version: int = 1) -> tuple[int, int]:
    """Hits and misses so far."""
    spent = statistics(served, model, version)["inference_stats"]
    return spent["cache_hit"]["count"], spent["cache_miss"]["count"]


def test_a_question_is_the_same_by_every_way(served: Served, home: Path) -> None:
    """What was asked in JSON is answered to Arrow, to v2's tensors and to gRPC, with the same bits."""
    bundle = echo_bundle()
    asker = Asker(served, home, load("echo", home=home), bundle.manifest.signature)
    elsewhere = ("in process", "command line", "MLflow")  # another process, or an address for a sole model
    ways = {name: ask for name, ask in asker.ways.items() if not name.startswith(elsewhere)}
    rows = [GOOD, {**GOOD, "number": -0.0, "mass": 2.5, "note": "ü"}]
    try:
        expected = bits(asker.expected(rows))
        before = looks(served, "echo")
        for ask in (*ways.values(), *ways.values()):
            assert bits(ask(rows)) == expected
        hits, misses = looks(served, "echo")
        assert (hits - before[0], misses - before[1]) == (2 * len(ways) - 1, 1)
        asker.ways["rows"]([{**GOOD, "number": 0.0}, rows[1]])
        asker.ways["rows"](rows[::-1])
        assert looks(served, "echo")[1] == misses + 2
    finally:
        asker.close()


def test_statistics_and_metrics_tell_of_it(served: Served) -> None:
    for _ in range(3):
        assert served.post("/models/linear/predict", {"feature": 3.25}) == (200, {"prediction": [6.5]})
    assert served.post("/models/linear/predict", {"feature": "x"})[0] == 400
    entry = statistics(served, "linear")
    assert (entry["inference_count"], entry["execution_count"]) == (3, 1)
    assert entry["inference_stats"]["success"]["count"] == 3
    assert looks(served, "linear") == (2, 1)
    assert (entry["load"]["cache_bytes"], entry["load"]["queue"]) == (1 << 20, 9)
    with triton.InferenceServerClient(f"127.0.0.1:{served.grpc_port}") as client:
        (told,) = client.get_inference_statistics("linear", "1").model_stats
    assert (told.inference_stats.cache_hit.count, told.inference_stats.cache_miss.count) == (2, 1)
    text = served.ask("GET", "/metrics")[2].decode()
    assert 'modelyard_cache_hits_total{model="linear",version="1"} 2' in text
    assert 'modelyard_cache_misses_total{model="linear",version="1"} 1' in text
    gauge = re.search(r"^modelyard_cache_bytes (\d+)$", text, re.MULTILINE)
    assert gauge is not None
    assert 0 < int(gauge[1]) < 3 << 20


def test_dice_are_thrown_every_time(served: Served) -> None:
    loaded = next(event for event in served.events if event.get("loaded") == "random@1")
    assert loaded["cache_bytes"] == 0
    assert loaded["unheeded"] == ["cache_bytes is not heeded: its answers are random (RandomNormalLike)"]
    answers = [served.post("/models/random/predict", {"feature": 1.0})[1]["prediction"] for _ in range(3)]
    assert len({str(answer) for answer in answers}) == 3
    assert looks(served, "random") == (0, 0)


def test_a_new_version_never_answers_from_the_old_ones_memory(served: Served, home: Path) -> None:
    """Last of this file: it changes what the bare name means. The tuning is the new version's too."""
    ask = {"feature": 5.0}
    for _ in range(2):
        assert served.post("/models/linear/predict", ask)[1] == {"prediction": [10.0]}
    publish(home_with(home), linear_bundle(slope=7.0))
    wait_until(lambda: served.post("/models/linear/predict", ask)[1] == {"prediction": [35.0]})
    assert statistics(served, "linear", 2)["load"]["cache_bytes"] == 1 << 20
    assert served.post("/models/linear/predict", ask)[1] == {"prediction": [35.0]}
    assert looks(served, "linear", 2)[0] >= 1


def test_tuning_a_stranger_is_refused(home: Path) -> None:
    served = Served(home, "--tune", "lineal:cache_bytes=1MiB")
    assert served.process.wait(30) == 3
    served.stop()
    assert "no served model to be tuned 'lineal'" in served.output
    assert "did you mean 'linear'?" in served.output

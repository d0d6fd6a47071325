"""Models loaded and unloaded while the server runs: in all workers before the answer, through one plan."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from modelyard.control.actions import aliases
from modelyard.control.actions.publish import publish
from modelyard.core.reference import parse_reference
from tests.acceptance.serving import Served, home_with, plan_of
from tests.models import linear_bundle

INDEX = "/v2/repository/index"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    home_with(tmp_path, linear_bundle("price"), linear_bundle("price", slope=3.0), linear_bundle("other"))
    with Served(tmp_path, "--workers", "2", "--repository", "explicit") as server:
        server.wait_for("ready")  # the second worker
        yield server


def _load(served: Served, name: str, action: str = "load") -> tuple[int, bytes]:
    status, _, body = served.ask("POST", f"/v2/repository/models/{name}/{action}")
    return status, body


def _index(served: Served, body: str = "") -> list[tuple[str, str, str, str]]:
    status, _, raw = served.ask("POST", INDEX, body)
    assert status == 200
    return [(item["name"], item["version"], item["state"], item["reason"]) for item in json.loads(raw)]


def _statuses(served: Served, path: str, count: int = 24) -> set[int]:
    """What many new connections are answered, which the kernel deals out to both workers."""
    return {served.ask("GET", path)[0] for _ in range(count)}


def test_nothing_is_loaded_until_asked_for_and_then_by_every_worker(served: Served) -> None:
    assert _statuses(served, "/readyz") == {200}
    assert _index(served) == [
        ("other", "1", "UNAVAILABLE", "unloaded"),
        ("price", "1", "UNAVAILABLE", "unloaded"),
        ("price", "2", "UNAVAILABLE", "unloaded"),
    ]
    assert _load(served, "price") == (200, b"")
    assert _statuses(served, "/v2/models/price/ready") == {200}
    assert served.post("/models/price/predict", {"feature": 3}) == (200, {"prediction": [9.0]})
    assert _index(served, '{"ready": true}') == [("price", "2", "READY", "")]
    assert _load(served, "price") == (200, b"")  # once more changes nothing
    assert _load(served, "price", "unload") == (200, b"")
    assert _statuses(served, "/v2/models/price/ready") == {404}
    assert _statuses(served, "/readyz") == {200}
    assert _index(served, '{"ready": true}') == []


def test_a_model_that_is_not_there_is_refused_in_tritons_words(served: Served) -> None:
    status, body = _load(served, "prize")
    assert status == 404
    assert json.loads(body) == {
        "error": "failed to load 'prize', failed to poll from model repository (did you mean 'price'?)"
    }
    assert _load(served, "Not-a-Name")[0] == 404
    assert _load(served, "x" * 5000)[0] == 404
    assert _load(served, "prize", "unload") == (200, b"")  # nothing happens, as there


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v2/repository/models/price/load", '{"parameters": {"config": "{}"}}', 501, "config"),
        ("/v2/repository/models/price/load", '{"parameters": {"file:1/model.onnx": "AAAA"}}', 501, "registry"),
        ("/v2/repository/models/price/load", '{"parameters": {"other": 1}}', 400, "other"),
        ("/v2/repository/models/price/unload", '{"parameters": {"unload_dependents": "x"}}', 400, "unload_dependents"),
        ("/v2/repository/models/price/load", "nonsense", 400, "repository request"),
        (INDEX, '{"ready": 1}', 400, "repository request"),
        (INDEX, "[" * 100_000, 400, "repository request"),
    ],
)
def test_what_cannot_be_asked_is_said(served: Served, path: str, body: str, status: int, words: str) -> None:
    got, _, raw = served.ask("POST", path, body)
    assert got == status
    assert words in json.loads(raw)["error"]
    assert _index(served, '{"ready": true}') == []


def test_nvidias_client_controls_models(served: Served) -> None:
    client = triton.InferenceServerClient(f"127.0.0.1:{served.port}")
    assert {item["name"] for item in client.get_model_repository_index()} == {"price", "other"}
    client.load_model("other")
    assert client.is_model_ready("other")
    assert not client.is_model_ready("price")
    with pytest.raises(InferenceServerException, match="failed to poll from model repository"):
        client.load_model("unknown")
    with pytest.raises(InferenceServerException, match="config"):
        client.load_model("price", config="{}")
    client.unload_model("other", unload_dependents=True)
    assert not client.is_model_ready("other")


def test_loads_at_once_all_come_true(served: Served) -> None:
    answers: list[tuple[int, bytes]] = []
    names = ["price", "other"] * 4
    threads = [threading.Thread(target=lambda name=name: answers.append(_load(served, name))) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [(200, b"")] * len(names)
    assert {name for name, *_ in _index(served, '{"ready": true}')} == {"price", "other"}


def test_a_dead_worker_does_not_hold_up_the_others_and_learns_what_it_missed(served: Served) -> None:
    for worker in served.workers():
        os.kill(worker.pid, signal.SIGSTOP)
    stopped, running = served.workers()
    os.kill(running.pid, signal.SIGCONT)
    answers: list[tuple[int, bytes]] = []
    thread = threading.Thread(target=lambda: answers.append(_load(served, "price")))
    thread.start()
    time.sleep(0.6)
    assert answers == []  # one worker has not obeyed
    psutil.Process(stopped.pid).kill()
    thread.join(20)
    assert answers == [(200, b"")]
    served.wait_for("ready")
    assert _statuses(served, "/v2/models/price/ready") == {200}


def test_a_damaged_bundle_is_not_loaded(tmp_path: Path) -> None:
    home = home_with(tmp_path, linear_bundle("price"), linear_bundle("other"))
    digest = home.catalogue.resolve(parse_reference("price")).digest
    with Served(tmp_path, "other", "--repository", "explicit") as served:
        for path in (tmp_path / "blobs").rglob("*"):
            if path.is_file() and digest in path.name:
                path.chmod(0o600)
                path.write_bytes(b"{}")
        status, body = _load(served, "price")
        assert status == 400
        assert "bundle" in json.loads(body)["error"]
        assert [name for name, *_ in _index(served, '{"ready": true}')] == ["other"]


def test_what_is_published_is_listed_and_what_is_loaded_follows_its_aliases(tmp_path: Path) -> None:
    home = home_with(tmp_path, linear_bundle("price"))
    with Served(tmp_path, "--repository", "explicit") as served:
        assert _load(served, "price") == (200, b"")
        publish(home, linear_bundle("fresh"))
        publish(home, linear_bundle("price", slope=5.0))
        assert _load(served, "price") == (200, b"")  # every plan before it is obeyed too
        assert _index(served) == [
            ("fresh", "1", "UNAVAILABLE", "unloaded"),
            ("price", "1", "UNAVAILABLE", "unloaded"),
            ("price", "2", "READY", ""),
        ]
        aliases.set_alias(home, parse_reference("price@1"), "production")
        assert _load(served, "price") == (200, b"")
        assert served.post("/models/price/predict", {"feature": 3}) == (200, {"prediction": [6.0]})


def test_a_pinned_version_comes_back_pinned(tmp_path: Path) -> None:
    home_with(tmp_path, linear_bundle("price"), linear_bundle("price", slope=3.0))
    with Served(tmp_path, "price@1", "--repository", "explicit") as served:
        for action in ("unload", "load"):
            assert _load(served, "price", action) == (200, b"")
        assert _index(served, '{"ready": true}') == [("price", "1", "READY", "")]


@pytest.mark.parametrize("action", ["load", "unload"])
def test_a_server_that_was_not_told_to_refuses(tmp_path: Path, action: str) -> None:
    with Served(tmp_path, "--plan", str(plan_of(tmp_path, [linear_bundle("price")]))) as served:
        status, body = _load(served, "price", action)
        assert status == 503
        assert json.loads(body)["error"].startswith("explicit model load / unload is not allowed")
        assert _index(served) == [("price", "1", "READY", "")]
        status, _, raw = served.ask("POST", "/v2/repository/main/index")
        assert (status, len(json.loads(raw))) == (200, 1)


def test_a_plan_has_no_registry_to_load_from(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [linear_bundle("price")])
    served = Served(tmp_path, "--plan", str(plan), "--repository", "explicit")
    assert served.process.wait(20) == 2
    served.stop()
    assert "there is no registry to load from" in served.stderr

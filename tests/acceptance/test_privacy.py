"""Real servers keep nothing of what they are asked, unless told to; what they keep then is encrypted, and goes in time.

Canaries are planted wherever a caller can put something, and everything that the server wrote is searched for them.
"""

from __future__ import annotations

import json
import signal
import struct
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import grpc
import pytest

from modelyard.control.actions import audit, journals, keys, predictions, privacy
from modelyard.control.actions.home import Home, open_home
from modelyard.core.identity import Role, scopes
from modelyard.core.privacy import Auditing
from modelyard.core.settings import Settings
from modelyard.guard.grant import Grant
from modelyard.guard.segments import CAPTURES, SEALED
from tests.acceptance.calls import dial, question, raw_call
from tests.acceptance.serving import Served, home_with
from tests.models import linear_bundle, mixed_bundle

# Each can be found as text, as a double, or as the decimals that JSON writes.
VALUE = 8137264.503125
TEXT = "canary-9f31c0de-text"
NAMES = ["authorization", "cookie", "x-api-key", "x-secret", "user-agent", "referer", "x-forwarded-for", "traceparent"]
HEADER = "canary-5be2a7-header"
WORDS = [TEXT, HEADER, "8137264.50", "8137264,50", "16274529.0"]


def needles(*secrets: str) -> list[bytes]:
    """What may stand nowhere: the texts, and the numbers as they are, doubled by the model, in binary."""
    numbers = [struct.pack(f"{order}{kind}", value) for value in (VALUE, 2 * VALUE) for order in "<>" for kind in "df"]
    return [*(word.encode() for word in WORDS), *numbers, *(secret.encode() for secret in secrets)]


def found_in(needle: list[bytes], texts: dict[str, bytes]) -> list[tuple[str, bytes]]:
    return [(name, each) for name, raw in texts.items() for each in needle if each in raw]


def files_of(*folders: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


def run_folder(server: Served) -> Path:
    """Where the workers' counters are, as their orders said: the only folder of that shape this server has open."""
    worker = server.workers()[0]
    return Path(worker.cwd()).parent


def wait_until(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def canaries(server: Served, key: str) -> Iterator[tuple[int, bytes]]:
    """Requests that carry a canary in every place that a caller has."""
    extra = {name: f"{HEADER}-{name}" for name in NAMES if name not in {"authorization", "x-api-key"}}
    known = {"x-api-key": key, "content-type": "application/json", **extra}
    for body in (
        json.dumps({"feature": VALUE}),
        json.dumps({"feature": TEXT}),
        json.dumps({TEXT: VALUE}),
        json.dumps({"feature": [VALUE, TEXT]}),
        "{" + TEXT,
    ):
        status, _, answer = server.ask("POST", "/models/linear/predict", body, known)
        yield status, answer if status >= 500 else b""
    for headers in ({**known, "x-api-key": f"my_live_{HEADER}"}, {**extra, "authorization": f"Bearer {HEADER}"}):
        status, _, answer = server.ask("POST", "/models/linear/predict", json.dumps({"feature": VALUE}), headers)
        yield status, answer
    for path in (f"/models/{TEXT}/predict", f"/{TEXT}?{TEXT}={HEADER}", f"/v2/models/linear/versions/{TEXT}/infer"):
        yield server.ask("POST", path, json.dumps({"feature": VALUE}), known)[0], b""
    lines = b"".join(b'{"feature": %r}\n' % VALUE for _ in range(20)) + TEXT.encode() + b"\n"
    stream = {**known, "content-type": "application/x-ndjson"}
    status, _, _ = server.ask("POST", "/models/linear/predict", lines, stream)
    yield status, b""
    yield 400 if b"HTTP/1.1 4" in server.raw(f"GET /\x00{TEXT}\r\nX-A: {HEADER}\r\n\r\n".encode()) else 0, b""


def ask_grpc(server: Served, key: str) -> None:
    with dial(server) as channel:
        metadata = (("x-api-key", key), ("x-secret", HEADER))
        raw_call(channel)(question(rows=3), metadata=metadata)
        broken = question(rows=1)
        broken.inputs[0].name = TEXT
        with pytest.raises(grpc.RpcError):
            raw_call(channel)(broken, metadata=metadata)
        with pytest.raises(grpc.RpcError):
            raw_call(channel)(question(rows=1), metadata=(("authorization", f"Bearer {HEADER}"),))


@pytest.mark.parametrize("captured", [False, True], ids=["nothing is kept", "captured and audited"])
def test_nothing_that_callers_sent_is_written_anywhere(
    tmp_path: Path, record_property: Callable[[str, object], None], *, captured: bool
) -> None:
    path = tmp_path / "home"
    home = home_with(path, linear_bundle())
    key = keys.create(home, Grant(name="shop", scopes=scopes(Role.PREDICTOR))).text
    secret = key.split("_")[3]
    if captured:
        privacy.capture(home, "linear", sample=1.0, columns=("feature", "prediction"), days=7, subject="feature")
        privacy.audit(home, "linear", Auditing())
    with Served(path, "--auth", "keys", "--workers", "2", "--grpc-port", "0", "--drain-delay", "0") as server:
        run = run_folder(server)
        answers = list(canaries(server, key))
        ask_grpc(server, key)
        assert {status for status, _ in answers} >= {200, 400, 401, 404}
        assert not [status for status, _ in answers if status >= 500]
        _, _, metrics = server.ask("GET", "/metrics", headers={"x-api-key": key})
        wait_until(lambda: not captured or bool(list(path.glob("journal/captures/linear/*"))))
        time.sleep(0.6)
        texts = files_of(path, run) | {"metrics": metrics, "answers": b"".join(body for _, body in answers)}
    texts |= {f"after {name}": raw for name, raw in files_of(path).items()}
    texts |= {"stderr": server.stderr.encode(), "stdout": server.output.encode()}
    assert found_in(needles(secret), texts) == []
    assert found_in(needles(secret), {"a log that says too much": f"refused {HEADER}".encode()}), "the search can find"
    if captured:
        kept = list(privacy.export(home, "linear"))
        assert VALUE in [value for one in kept for value in one["inputs"]["feature"]], "the canary was captured"
        lines = predictions.find(home)
        assert len(lines) >= 8
        assert 3 in [one["rows"] for one in lines], "what was asked over gRPC is there"
    size = sum(map(len, texts.values()))
    record_property("number", f"0 hits of {len(needles(secret))} canaries in {len(texts)} files, {size:,} bytes")


def test_predictions_are_audited_and_verified(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    path = tmp_path / "home"
    home = home_with(path, linear_bundle())
    made = keys.create(home, Grant(name="shop", scopes=scopes(Role.PREDICTOR)))
    privacy.audit(home, "linear", Auditing())
    headers = {"x-api-key": made.text, "content-type": "application/json"}
    with Served(path, "--auth", "keys", "--workers", "2", "--drain-delay", "0") as server:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
        for number in range(400):
            named = headers | {"x-request-id": f"r{number}"}
            connection.request("POST", "/models/linear/predict", b'{"feature": 3}', named)
            connection.getresponse().read()
        connection.close()
        assert server.ask("POST", "/models/linear/predict", b'{"feature": "x"}', headers)[0] == 400
    found = predictions.find(home)
    assert len(found) == 401
    assert {one["id"] for one in found} >= {f"r{number}" for number in range(400)}
    assert {one["caller"] for one in found} == {f"key:{made.key.id}"}
    assert [one["outcome"] for one in found].count("OK") == 400
    assert found[-1]["outcome"] == "INPUT-WRONG-TYPE"
    sound = predictions.verify(home)
    assert (sound.lines, sound.open) == (401, 0)
    record_property("number", f"{sound.lines} of 401 predictions in {sound.segments} segments, all verified")


def test_a_killed_worker_loses_half_a_second_at_most(tmp_path: Path) -> None:
    path = tmp_path / "home"
    home = home_with(path, linear_bundle())
    privacy.audit(home, "linear", Auditing())
    privacy.capture(home, "linear", sample=1.0, columns=("feature",), days=1)
    with Served(path, "--drain-delay", "0") as server:
        for number in range(5):
            assert server.post("/predict", {"feature": number})[0] == 200
        time.sleep(0.9)  # half a second until it is written, and time to write it
        server.workers()[0].send_signal(signal.SIGKILL)
        server.wait_for("died")
        wait_until(lambda: server.ask("GET", "/readyz")[0] == 200)
        assert server.post("/predict", {"feature": 99})[0] == 200
    assert len(predictions.find(home)) == 6
    assert predictions.verify(home).lines == 6
    assert [one["inputs"]["feature"] for one in privacy.export(home, "linear")] == [[float(n)] for n in (*range(5), 99)]


@pytest.mark.row("PRI-02")
def test_a_person_is_erased_while_the_server_runs(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    path = tmp_path / "home"
    home = home_with(path, linear_bundle())
    privacy.capture(home, "linear", sample=1.0, columns=("feature", "prediction"), days=30, subject="feature")
    with Served(path, "--workers", "2", "--drain-delay", "0") as server:
        for number in range(60):
            assert server.post("/predict", {"feature": 4711 if number % 3 == 0 else number})[0] == 200
        before = {path.name: path.read_bytes() for path in every_capture(path) if path.stat().st_size}
        erased = privacy.erase(home, "4711")
        assert erased.rows == 20
        left = list(privacy.export(home, "linear"))
        assert server.post("/predict", {"feature": 1})[0] == 200
    assert len(left) == 40
    assert 4711.0 not in [value for one in left for value in one["inputs"]["feature"]]
    bodies = [raw.partition(b"\n")[2][16:48] for raw in before.values() if len(raw) > 400]
    held = b"".join(files_of(path).values())
    assert [body for body in bodies if body and body in held] == [], "what stood on the disk before is there no more"
    assert b"4711" not in log_of(home), "the log knows a pseudonym"
    assert erased.pseudonym.encode() in log_of(home)
    record_property("number", f"0 of {erased.rows} rows remain")


@pytest.mark.row("PRI-02")
def test_what_was_kept_long_enough_goes_in_one_sweep(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    path = tmp_path / "home"
    home = home_with(path, linear_bundle(), mixed_bundle())
    privacy.capture(home, "linear", sample=1.0, columns=("feature",), days=7)
    privacy.audit(home, "linear", Auditing(days=30))
    with Served(path, "linear", "--drain-delay", "0") as server:
        for number in range(10):
            assert server.post("/predict", {"feature": number})[0] == 200
    now = datetime.now(UTC)
    assert journals.sweep(home, now + timedelta(days=6.9)) == {}
    assert journals.sweep(home, now + timedelta(days=7.1)) == {"captures/linear": 1}
    assert every_capture(path) == []
    assert len(predictions.find(home)) == 10
    assert journals.sweep(home, now + timedelta(days=30.1)) == {"predictions/linear": 1}
    assert predictions.find(home) == []
    predictions.verify(home)  # what was swept is not missed
    assert [path for path in (path / "journal").rglob("*") if path.is_file()] == []
    record_property("number", "0 of 20 entries remain after one sweep")


def every_capture(path: Path) -> list[Path]:
    return [each for each in (path / "journal" / CAPTURES).rglob("*") if each.is_file()]


def log_of(home: Home) -> bytes:
    return "\n".join(audit.export(home)).encode()


def test_only_the_home_s_secrets_open_what_was_captured(tmp_path: Path) -> None:
    path = tmp_path / "home"
    home = home_with(path, linear_bundle())
    privacy.capture(home, "linear", sample=1.0, columns=("feature",), days=7)
    with Served(path, "--drain-delay", "0") as server:
        assert server.post("/predict", {"feature": 5})[0] == 200
        told: list[Any] = [worker.environ() for worker in server.workers()]
        plan = next((path / "plans").glob("*.json")).read_text()
    private = (path / "secrets" / "capture.key").read_text().strip()
    assert private not in plan + json.dumps(told)
    assert list(path.glob(f"journal/{CAPTURES}/linear/*{SEALED}"))
    (path / "secrets" / "capture.key").unlink()
    with pytest.raises(Exception, match="no key for captures"):
        list(privacy.export(open_home(Settings(home=path)), "linear"))

"""Witnesses: what stands in a line, what is captured, whom the journal holds up; and streams that follow the plan."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.core.errors import Busy, Timeout
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.plan import Tuning
from modelyard.core.privacy import Auditing, Capture, Journaling, Privacy
from modelyard.guard import payloads, privacy
from modelyard.guard.privacy import Pseudonyms
from modelyard.guard.segments import CAPTURES, CLOSED, PREDICTIONS, SEALED, lines
from modelyard.serve import journal
from modelyard.serve.replica import Replica
from modelyard.serve.witness import Asked, Kept, places, subject_text
from modelyard.serve.witnesses import Witnesses
from modelyard.watch.counters import Page, read_totals
from tests.models import echo_bundle, linear_bundle, mixed_bundle

PRIVATE = payloads.new_private()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "FLUSH_S", 0.01)


@pytest.fixture
def loaded(tmp_path: Path) -> Replica:
    return Replica(linear_bundle(), "linear", 3, Page(tmp_path, 0).counter("linear@3"))


@pytest.fixture
def witnesses() -> Iterator[Witnesses]:
    made = Witnesses(2)
    yield made
    made.journal.close()


def wanted(tmp_path: Path, turn: int = 0, **kept: Any) -> Journaling:
    secret = str(privacy.secret(tmp_path / "secrets"))
    models = {"linear": Privacy(**kept)}
    public = payloads.public_of(PRIVATE)
    return Journaling(folder=str(tmp_path / "journal"), secret=secret, public=public, turn=turn, models=models)


def question(*values: float) -> InferRequest:
    return InferRequest((np.array([[value] for value in values]),))


def answer(*values: float) -> InferResponse:
    return InferResponse.whole([np.array([[2 * value] for value in values])])


ASKED = Asked("req-1", "key:ab12cd34ef", 0.0, 17)
CAPTURE = Capture(sample=1.0, columns=("feature", "prediction"), days=1, subject="feature")


def files(tmp_path: Path, kind: str, suffix: str) -> list[Path]:
    return sorted((tmp_path / "journal" / kind / "linear").glob(f"*{suffix}"))


def test_a_line_says_everything_but_values(tmp_path: Path, loaded: Replica, witnesses: Witnesses) -> None:
    witnesses.follow([loaded], wanted(tmp_path, audit=Auditing()))
    assert loaded.witness is not None
    loaded.witness.answered(ASKED, question(41.5, 7.25), answer(41.5, 7.25), 99)
    loaded.witness.failed(ASKED, Timeout(what="waiting", limit_s=1))
    witnesses.journal.close()
    (path,) = files(tmp_path, PREDICTIONS, CLOSED)
    one, other = lines(path)
    assert {name: value for name, value in one.items() if name not in {"at", "seconds", "hash"}} == {
        "id": "req-1", "caller": "key:ab12cd34ef", "model": "linear", "version": 3, "digest": loaded.bundle.digest,
        "rows": 2, "bytes_in": 17, "bytes_out": 99, "outcome": "OK",
    }  # fmt: skip
    assert other["outcome"] == Timeout.code
    assert b"41.5" not in path.read_bytes()


def test_callers_stand_under_pseudonyms_where_that_is_wanted(
    tmp_path: Path, loaded: Replica, witnesses: Witnesses
) -> None:
    told = wanted(tmp_path, audit=Auditing(pseudonyms=True))
    witnesses.follow([loaded], told)
    assert loaded.witness is not None
    loaded.witness.answered(ASKED, question(1), answer(1), 1)
    witnesses.journal.close()
    (path,) = files(tmp_path, PREDICTIONS, CLOSED)
    (line,) = lines(path)
    assert line["caller"] == Pseudonyms.read(Path(told.secret)).of("key:ab12cd34ef")
    assert b"ab12cd34ef" not in path.read_bytes()


def test_the_sample_is_a_matter_of_the_id_alone(loaded: Replica) -> None:
    pseudonyms = Pseudonyms(b"x" * 32)
    one, other = (Kept(loaded, Capture(sample=0.1, columns=("feature",), days=1), pseudonyms) for _ in range(2))
    ids = [f"req-{number}" for number in range(20_000)]
    chosen = [each for each in ids if one.wants(each)]
    assert chosen == [each for each in ids if other.wants(each)]
    assert 1800 < len(chosen) < 2200
    everything = Kept(loaded, Capture(sample=1.0, columns=("feature",), days=1), pseudonyms)
    assert all(everything.wants(each) for each in ids)


def test_only_the_columns_that_were_named_are_kept(tmp_path: Path) -> None:
    bundle = mixed_bundle()
    inputs, outputs = places(bundle.manifest.signature, ["age", "nothing", bundle.manifest.signature.outputs[0].name])
    assert len(inputs) + len(outputs) >= 1
    assert set(inputs) <= {"age"}
    assert set(outputs) == {bundle.manifest.signature.outputs[0].name}
    everything, _ = places(bundle.manifest.signature, bundle.manifest.signature.field_names)
    assert set(everything) == set(bundle.manifest.signature.field_names)
    echo = echo_bundle().manifest.signature
    found, answered = places(echo, [*echo.field_names, *(spec.name for spec in echo.outputs)])
    assert set(found) == set(echo.field_names)
    assert len(answered) == len(echo.outputs)


def test_a_capture_is_what_was_asked_and_answered(tmp_path: Path, loaded: Replica, witnesses: Witnesses) -> None:
    told = wanted(tmp_path, capture=CAPTURE)
    witnesses.follow([loaded], told)
    assert loaded.witness is not None
    loaded.witness.answered(ASKED, question(42, 7.25), answer(42, 7.25), 1)
    loaded.witness.failed(ASKED, Timeout(what="waiting", limit_s=1))
    witnesses.journal.close()
    (path,) = files(tmp_path, CAPTURES, SEALED)
    (one,) = [json.loads(body) for body in payloads.read(path, PRIVATE)]
    assert one["inputs"] == {"feature": [42.0, 7.25]}
    assert one["outputs"] == {"prediction": [84.0, 14.5]}
    pseudonyms = Pseudonyms.read(Path(told.secret))
    assert one["subjects"] == [pseudonyms.of("42"), pseudonyms.of("7.25")]
    assert files(tmp_path, PREDICTIONS, "*") == []


@pytest.mark.parametrize(("value", "text"), [(42.0, "42"), (42, "42"), ("42", "42"), (4.5, "4.5"), (True, "True")])
def test_a_subject_is_written_alike_in_every_type(value: Any, text: str) -> None:
    assert subject_text(value) == text


def test_what_is_captured_is_asked_past_the_cache(tmp_path: Path, witnesses: Witnesses) -> None:
    page = Page(tmp_path, 0)
    kept = Replica(linear_bundle(), "linear", 3, page.counter("linear@3"), Tuning(cache_bytes=1 << 20))
    cached = kept.submit
    assert cached != kept._ask
    witnesses.follow([kept], wanted(tmp_path, audit=Auditing()))
    assert kept.submit == cached
    witnesses.follow([kept], wanted(tmp_path, capture=CAPTURE))
    assert kept.submit == kept._ask
    witnesses.follow([kept], Journaling())
    assert kept.submit == cached
    assert kept.witness is None


def test_a_full_journal_drops_and_counts_or_refuses(
    tmp_path: Path, loaded: Replica, witnesses: Witnesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    witnesses.follow([loaded], wanted(tmp_path, audit=Auditing()))
    monkeypatch.setattr(type(witnesses.journal), "full", property(lambda self: True))
    assert loaded.witness is not None
    for _ in range(7):
        loaded.witness.answered(ASKED, question(1), answer(1), 1)
    assert read_totals(tmp_path)["linear@3"].unkept == 7
    witnesses.follow([loaded], wanted(tmp_path, audit=Auditing(policy="block")))
    with pytest.raises(Busy, match="has to be recorded"):
        loaded.submit(question(1), lambda *_: None)
    loaded.witness.answered(ASKED, question(1), answer(1), 1)  # it was asked before: it is not lost
    assert read_totals(tmp_path)["linear@3"].unkept == 7
    monkeypatch.undo()
    witnesses.journal.close()
    assert sum(len(list(lines(path))) for path in files(tmp_path, PREDICTIONS, CLOSED)) == 1


def test_a_new_turn_begins_new_segments(tmp_path: Path, loaded: Replica, witnesses: Witnesses) -> None:
    for turn in (0, 1, 1):
        witnesses.follow([loaded], wanted(tmp_path, turn=turn, audit=Auditing()))
        assert loaded.witness is not None
        loaded.witness.answered(ASKED, question(1), answer(1), 1)
    witnesses.follow([loaded], Journaling())
    assert loaded.witness is None
    witnesses.journal.close()
    found = [len(list(lines(path))) for path in files(tmp_path, PREDICTIONS, CLOSED)]
    assert sorted(found) == [1, 2]


def test_a_worker_without_captures_loads_no_cryptography() -> None:
    import subprocess

    code = "import sys, modelyard.serve.app; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

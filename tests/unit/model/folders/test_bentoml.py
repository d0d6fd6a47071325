"""BentoML's saved models; a Bento itself is code."""

from __future__ import annotations

from pathlib import Path

from modelyard.model.folders import ONNX, SKLEARN, open_folder
from tests.folders import bentoml, softmax_onnx


def test_a_saved_model(tmp_path: Path) -> None:
    folder = open_folder(bentoml(tmp_path / "x2k7", object))
    (member,) = folder.members
    assert (folder.kind, member.name, member.version, member.formats) == ("bentoml", "iris_clf", "x2k7", SKLEARN)
    assert member.facts["labels"] == {"team": "botany"}
    assert not folder.settings


def test_an_onnx_model(tmp_path: Path) -> None:
    (member,) = open_folder(bentoml(tmp_path / "t", softmax_onnx())).members
    assert (member.path.name, member.formats) == ("saved_model.onnx", ONNX)


def test_the_only_method_says_what_the_answer_is(tmp_path: Path) -> None:
    (member,) = open_folder(bentoml(tmp_path / "t", object, signatures={"predict_proba": {"batchable": False}})).members
    assert member.declared.answer == "probabilities"


def test_the_latest_of_a_name_in_the_store(tmp_path: Path) -> None:
    for tag in ("aaa", "bbb"):
        bentoml(tmp_path / "iris_clf" / tag, object, version=tag, surprise=1)
    (tmp_path / "iris_clf" / "latest").write_text("bbb\n")
    folder = open_folder(tmp_path / "iris_clf")
    assert folder.members[0].version == "bbb"
    assert [setting.where for setting in folder.settings] == ["bbb/model.yaml"]
    assert "latest tag" in folder.notes[0]


def test_latest_cannot_lead_outside(tmp_path: Path) -> None:
    bentoml(tmp_path / "outside", object)
    (tmp_path / "iris_clf").mkdir()
    (tmp_path / "iris_clf" / "latest").write_text("../outside")
    from modelyard.model.folders import View
    from modelyard.model.folders import bentoml as backend

    assert backend.marks(View(tmp_path / "iris_clf"), {}) == []


def test_settings_that_are_not_honoured_are_named(tmp_path: Path) -> None:
    path = bentoml(
        tmp_path / "t",
        object,
        signatures={"predict": {"batchable": True, "batch_dim": [1, 0]}, "score_all": {}},
        options={"providers": ["CUDAExecutionProvider"], "odd": 1},
        surprise=1,
    )
    (path / "custom_objects.pkl").touch()
    named = {setting.name for setting in open_folder(path).settings}
    assert named == {
        *("signatures.predict.batch_dim", "signatures.score_all", "options.providers", "options.odd", "surprise"),
        "custom_objects",
    }


def test_other_modules_and_bentos_are_refused_by_name(tmp_path: Path) -> None:
    (refusal,) = open_folder(bentoml(tmp_path / "t", object, module="bentoml.pytorch")).refusals
    assert "bentoml.pytorch" in refusal.why
    bentoml(tmp_path / "bento" / "models" / "iris_clf" / "x2k7", object)
    (tmp_path / "bento" / "bento.yaml").write_text("service: service:svc\n")
    (refusal,) = open_folder(tmp_path / "bento").refusals
    assert "code" in refusal.why
    assert "modelyard import bento/models/iris_clf/x2k7" in refusal.hint


def test_another_model_yaml_is_not_bentoml_s(tmp_path: Path) -> None:
    from modelyard.model.folders import View
    from modelyard.model.folders import bentoml as backend

    (tmp_path / "model.yaml").write_text("layers: 3\n")
    assert backend.marks(View(tmp_path), {}) == []

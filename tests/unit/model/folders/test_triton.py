"""Triton repositories: what config.pbtxt says is checked, honoured, named, or the model is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.core.signature import ANY
from modelyard.model.folders import open_folder
from tests.folders import LABELS, softmax_onnx, triton


def test_a_repository_of_two_models(tmp_path: Path) -> None:
    triton(tmp_path / "iris")
    triton(tmp_path / "other_iris", versions=(1, 2, 10))
    folder = open_folder(tmp_path)
    assert folder.kind == "triton"
    assert [(m.name, m.version) for m in folder.members] == [("iris", "1"), ("other_iris", "10")]
    first = folder.members[0]
    assert first.path == (tmp_path / "iris/1/model.onnx").resolve()
    (port,) = first.declared.inputs
    assert (port.name, port.datatype, port.shape) == ("x", "FP32", (ANY, 4))
    assert first.declared.outputs[0].labels == LABELS
    assert [s.name for s in folder.settings] == ["max_batch_size", "max_batch_size"]
    assert not folder.refusals


def test_one_model_s_folder(tmp_path: Path) -> None:
    folder = open_folder(triton(tmp_path / "iris"))
    assert [m.name for m in folder.members] == ["iris"]
    assert folder.settings[0].where == "config.pbtxt"


def test_a_configuration_may_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "iris" / "1").mkdir(parents=True)
    (tmp_path / "iris" / "1" / "model.onnx").write_bytes(softmax_onnx())
    for path in (tmp_path, tmp_path / "iris"):
        (member,) = open_folder(path).members
        assert (member.name, member.version) == ("iris", "1")


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", ["3"]),
        ("version_policy: { latest { num_versions: 2 } }", ["2", "3"]),
        ("version_policy { all { } }", ["1", "2", "3"]),
        ("version_policy: { specific: { versions: [1, 3] } }", ["1", "3"]),
    ],
)
def test_the_version_policy_is_honoured(tmp_path: Path, policy: str, served: list[str]) -> None:
    folder = open_folder(triton(tmp_path / "iris", versions=(1, 2, 3), more=policy))
    assert [member.version for member in folder.members] == served
    assert [s.name for s in folder.settings] == ["max_batch_size"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("ensemble_scheduling { step [ { model_name: 'a' model_version: -1 } ] }", "ensemble"),
        ('backend: "python"', "python"),
        ('platform: "tensorrt_plan"', "tensorrt_plan"),
        ("sequence_batching { }", "state"),
        ("model_transaction_policy { decoupled: true }", "several answers"),
        ("version_policy: { specific: { versions: [7] } }", "version 7"),
        ("model_operations { op_library_filename: 'lib.so' }", "custom operators"),
        ('default_model_filename: "../../../secret.onnx"', "out of the folder"),
        ('default_model_filename: "absent.onnx"', "no file"),
        ("oops", "config.pbtxt, line"),
    ],
)
def test_what_cannot_be_imported_is_refused_by_name(tmp_path: Path, more: str, said: str) -> None:
    (tmp_path / "secret.onnx").touch()
    folder = open_folder(triton(tmp_path / "iris", more=more))
    assert not folder.members
    (refusal,) = folder.refusals
    assert refusal.name == "iris"
    assert said in refusal.why


def test_every_setting_that_is_not_honoured_is_named(tmp_path: Path) -> None:
    more = """
        dynamic_batching { preferred_batch_size: [4] }
        instance_group [ { count: 2 kind: KIND_GPU } ]
        optimization { graph { level: 1 } }
        parameters { key: "intra_op_thread_count" value: { string_value: "4" } }
        response_cache { enable: true }
        model_warmup { name: "w" batch_size: 1 }
        brand_new: 3
        input { name: "y" data_type: TYPE_FP32 dims: 1 optional: true }
        """
    folder = open_folder(triton(tmp_path / "iris", more=more))
    named = {setting.name: setting.why for setting in folder.settings}
    assert set(named) == {
        *("max_batch_size", "dynamic_batching", "instance_group", "optimization", "parameters.intra_op_thread_count"),
        *("response_cache", "model_warmup", "brand_new", "input.y.optional"),
    }
    assert "--workers" in named["instance_group"]
    assert "known here" in named["brand_new"]
    assert len(folder.members) == 1


def test_a_reshape_between_a_number_and_a_row_of_one_is_no_matter(tmp_path: Path) -> None:
    flat = "input { name: 'y' data_type: TYPE_FP32 dims: [1] reshape: { shape: [] } }"
    assert [s.name for s in open_folder(triton(tmp_path / "a", more=flat)).settings] == ["max_batch_size"]
    other = "input { name: 'y' data_type: TYPE_FP32 dims: [4] reshape: { shape: [2, 2] } }"
    folder = open_folder(triton(tmp_path / "b", more=other))
    assert "input.y.reshape" in {s.name for s in folder.settings}
    assert folder.members[0].declared.inputs[1].shape == (ANY, 2, 2)


def test_one_bad_model_does_not_hide_the_others(tmp_path: Path) -> None:
    triton(tmp_path / "good")
    triton(tmp_path / "bad", more='backend: "python"')
    folder = open_folder(tmp_path)
    assert [m.name for m in folder.members] == ["good"]
    assert [r.name for r in folder.refusals] == ["bad"]

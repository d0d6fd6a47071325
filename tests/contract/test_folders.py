"""Every backend of `model.folders`: it reads and changes nothing, names what it does not know, is not led outside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from modelyard.core.errors import InvalidModel, ModelyardError
from modelyard.model.folders import FOLDERS, Folder, open_folder
from tests.folders import bentoml, mlserver, triton


class Trap:
    """An object whose pickle says so when it is opened."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('a pickle was opened')",)


def mlflow(folder: Path) -> Path:
    folder.mkdir()
    (folder / "model.pkl").write_bytes(b"cos\nabort\n(tR.")  # a pickle that ends the process
    document = {"flavors": {"sklearn": {"pickled_model": "model.pkl", "sklearn_version": "1.9.1"}}}
    (folder / "MLmodel").write_text(yaml.safe_dump(document))
    return folder


#: Kind -> how to make one, its settings file, and its model file.
MADE: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "mlserver": (lambda folder: mlserver(folder, Trap()), "model-settings.json", "model.joblib"),
    "triton": (triton, "config.pbtxt", "1/model.onnx"),
    "bentoml": (lambda folder: bentoml(folder, Trap()), "model.yaml", "saved_model.pkl"),
    "mlflow": (mlflow, "MLmodel", "model.pkl"),
}


def test_every_kind_is_here() -> None:
    assert set(MADE) == set(FOLDERS)


@pytest.fixture(params=MADE)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, Path, Path]:
    """A folder of each kind: its kind, path, settings file and model file."""
    make, settings, file = MADE[request.param]
    folder = make(tmp_path / "m")
    return request.param, folder, folder / settings, folder / file


def test_it_reads_and_changes_nothing(made: tuple[str, Path, Path, Path]) -> None:
    kind, path, _, file = made
    before = {item: item.read_bytes() for item in path.rglob("*") if item.is_file()}
    folder = open_folder(path)
    assert folder.kind == kind
    assert [member.path for member in folder.members] == [file.resolve()]
    assert open_folder(path) == folder
    assert {item: item.read_bytes() for item in path.rglob("*") if item.is_file()} == before


def test_a_setting_of_tomorrow_is_named(made: tuple[str, Path, Path, Path]) -> None:
    _, path, settings, _ = made
    text = settings.read_text()
    if settings.suffix == ".json":
        settings.write_text(json.dumps({**json.loads(text), "of_tomorrow": 1}))
    else:
        settings.write_text(f"{text}\nof_tomorrow: 1\n")
    found = next(setting for setting in open_folder(path).settings if setting.name == "of_tomorrow")
    assert found.where == settings.name
    assert "known here" in found.why


def test_a_model_file_that_is_a_link_to_elsewhere_is_refused(
    made: tuple[str, Path, Path, Path], tmp_path: Path
) -> None:
    _, path, _, file = made
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    folder = _read(path)
    assert not folder.members
    assert "leads out of the folder" in folder.refusals[0].why


def test_a_missing_model_file_is_named(made: tuple[str, Path, Path, Path]) -> None:
    _, path, _, file = made
    file.unlink()
    folder = _read(path)
    assert not folder.members
    assert file.name in folder.refusals[0].why


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe\x00", b"{{{{", b"- - - :::", b"\x00" * 100])
def test_damaged_settings_are_a_clear_error(made: tuple[str, Path, Path, Path], damage: bytes) -> None:
    kind, path, settings, _ = made
    settings.write_bytes(damage)
    if (kind, damage) == ("triton", b""):
        assert _read(path).members  # Triton completes a configuration that says nothing
        return
    with pytest.raises(ModelyardError) as caught:
        _raise_refusals(_read(path))
    assert len(caught.value.detail) > 15


def _raise_refusals(folder: Folder) -> None:
    assert not folder.members
    raise InvalidModel(what=folder.refusals[0].why)


def _read(path: Path) -> Folder:
    return open_folder(path)

"""``modelyard import`` as a person types it: real files, a real sandbox, a real registry."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import palmerpenguins
import pandas as pd
import pytest
import skops.io
from onnx import TensorProto, helper
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

import modelyard
from modelyard.control.actions.home import open_home
from modelyard.control.actions.import_model import Extras, import_model, look
from modelyard.core.errors import CorruptBundle, InvalidModel, ModelyardError, NotFound, UnknownFormat
from modelyard.core.settings import Settings
from modelyard.model import formats, sandbox
from modelyard.model.formats import Request
from tests.acts import log

pytestmark = pytest.mark.skipif(bool(sandbox.missing()), reason=f"no sandbox here: {sandbox.missing()}")
NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
TEXTS = ["island", "sex"]


@pytest.fixture(scope="module")
def penguins() -> tuple[Pipeline, pd.DataFrame]:
    """The Palmer penguins with their gaps, and a forest that knows what to do with them."""
    frame = palmerpenguins.load_penguins()
    inputs = frame[[*TEXTS, *NUMBERS]]
    assert inputs.isna().any().any()
    prepare = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMBERS),
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")), TEXTS),
    )
    return make_pipeline(prepare, RandomForestClassifier(100, random_state=0)).fit(inputs, frame["species"]), inputs


def command(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modelyard", *words],
        env={"MODELYARD_HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def answers(home: Path, reference: str, inputs: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MODELYARD_HOME", str(home))
    return modelyard.load(reference).predict(inputs)


def test_penguins_from_joblib_to_answers(
    penguins: tuple[Pipeline, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forest, inputs = penguins
    joblib.dump(forest, tmp_path / "palmer_penguins.joblib", compress=3)
    inputs.to_csv(tmp_path / "rows.csv", index=False)
    done = command(
        tmp_path / "home",
        "import",
        str(tmp_path / "palmer_penguins.joblib"),
        "--sample",
        str(tmp_path / "rows.csv"),
        "--json",
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["model"] == "palmer-penguins"
    assert said["source"]["sandbox"] == "landlock+seccomp"
    assert said["source"]["estimator"] == "Pipeline(ColumnTransformer, RandomForestClassifier)"
    assert said["parity"]["flips"] == 0
    assert said["parity"]["origin"] == "sample"
    assert said["parity"]["max_abs"] < 1e-12
    got = answers(tmp_path / "home", "palmer-penguins@1", inputs, monkeypatch)
    assert list(got) == forest.predict(inputs).tolist()
    bundle = open_home(Settings(tmp_path / "home")).artifacts.read(said["digest"])
    assert bundle.profile is not None
    assert bundle.profile.features["sex"].missing == int(inputs["sex"].isna().sum())
    assert len(bundle.samples.rows) >= 5


@pytest.mark.parametrize("kind", ["plain", "skops", "pkl of names"])
def test_other_ways_of_saving(kind: str, penguins: tuple[Pipeline, pd.DataFrame], tmp_path: Path) -> None:
    """Without a sample the rows to compare on come from the model itself."""
    forest, inputs = penguins
    path = tmp_path / "m.bin"
    if kind == "skops":
        skops.io.dump(forest, path)
    elif kind == "plain":
        joblib.dump(forest, path)
    else:
        forest = make_pipeline(StandardScaler(), LogisticRegression()).fit(np.eye(4), [0, 0, 1, 1])
        joblib.dump(forest, path)
    home = open_home(Settings(tmp_path / "home"))
    imported = import_model(home, look(path), Extras(name="m"))
    parity = imported.bundle.manifest.parity
    assert parity is not None
    assert parity.origin == "generated"
    names = [feature.name for feature in imported.bundle.manifest.signature.features]
    assert names == (["f0", "f1", "f2", "f3"] if kind == "pkl of names" else list(inputs))


def test_the_article_s_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model_params.txt").write_text("beta0: 6.0\nbeta1: 2.8284271247461903\n")
    (tmp_path / "data.csv").write_text("feature,target\n1,2\n2,4\n3,6\n4,8\n5,10\n")
    home = tmp_path / "home"
    refused = command(home, "import", str(tmp_path / "model_params.txt"), "--name", "linear-regression")
    assert refused.returncode == 1
    assert "the file has no scaling" in refused.stderr
    assert "--scale-from data.csv:feature" in refused.stderr
    assert "Nothing was imported." in refused.stdout
    assert command(home, "model", "list", "--json").stdout.strip() in {"[]", '{"models": []}', '{\n  "models": []\n}'}
    done = command(
        home,
        "import",
        str(tmp_path / "model_params.txt"),
        "--name",
        "linear-regression",
        "--scale-from",
        f"{tmp_path / 'data.csv'}:feature",
    )
    assert done.returncode == 0, done.stderr
    assert "Saved linear-regression@1" in done.stdout
    got = answers(home, "linear-regression", pd.DataFrame({"feature": [3.0]}), monkeypatch)
    assert list(got) == pytest.approx([6.0], abs=1e-9)


def test_a_name_that_is_no_host_says_how_to_mend_it(tmp_path: Path) -> None:
    (tmp_path / "model_params.txt").write_text("beta0: 1\nbeta1: 2\n")
    done = command(tmp_path / "home", "import", str(tmp_path / "model_params.txt"), "-y", "--name", "linear_regression")
    assert done.returncode == 2
    assert "linear-regression" in done.stderr


class Payload:
    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (self.code,)


def test_a_pickle_that_runs_code_changes_nothing(tmp_path: Path) -> None:
    joblib.dump(Payload(f"open({str(tmp_path / 'owned')!r},'w').write('x')"), tmp_path / "evil.pkl", compress=3)
    done = command(tmp_path / "home", "import", str(tmp_path / "evil.pkl"))
    assert done.returncode == 1
    assert "error[MODEL-INVALID]" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "owned").exists()
    (record,) = log(open_home(Settings(tmp_path / "home")))
    assert (record.action, record.object, record.outcome) == ("model.import", "evil.pkl", "failed")
    assert record.detail["error"] == "MODEL-INVALID"


FILES: dict[str, bytes] = {
    "empty.pkl": b"",
    "random.bin": np.random.default_rng(0).bytes(4096),
    "random.pkl": b"\x80\x04\x95" + np.random.default_rng(1).bytes(4096),
    "random.joblib": b"\x78\x9c" + np.random.default_rng(2).bytes(4096),
    "random.onnx": b"\x08\x0a\x12" + np.random.default_rng(3).bytes(4096),
    "random.skops": b"PK\x03\x04" + np.random.default_rng(4).bytes(4096),
    "bad.txt": b"beta0: one\n",
}


def body(thing: object) -> bytes:
    raw = io.BytesIO()
    joblib.dump(thing, raw)
    return raw.getvalue()


LINE = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
FILES |= {
    "cut.pkl": body(LINE)[:-20],
    "cut.skops": skops.io.dumps(LINE)[:-40],
    "cut.joblib": body(LogisticRegression().fit(np.eye(4), [0, 0, 1, 1]))[:200],
    "dict.pkl": body({"model": LINE, "threshold": 0.5}),
    "array.pkl": body(np.zeros((3, 3))),
    "class.pkl": body(LinearRegression),
    "unfitted.pkl": body(make_pipeline(StandardScaler(), LinearRegression())),
    "function.pkl": body(make_pipeline(FunctionTransformer(np.cbrt), LinearRegression()).fit(np.eye(4), [0, 0, 1, 1])),
}


@pytest.mark.parametrize("name", FILES)
def test_a_broken_file_is_a_clear_error(name: str) -> None:
    """In this process, which is faster; nothing in these files is hostile."""
    with pytest.raises((InvalidModel, UnknownFormat)) as caught:
        formats.backend(kind := formats.detect(FILES[name], name)).convert(Request(raw=FILES[name], kind=kind))
    assert len(caught.value.detail) > 15


@pytest.mark.parametrize("name", ["random.joblib", "cut.pkl", "dict.pkl", "random.onnx"])
def test_nothing_is_half_published(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    home = open_home(Settings(tmp_path / "home"))
    with pytest.raises(InvalidModel):
        import_model(home, look(tmp_path / name), Extras(name="m"))
    assert home.catalogue.models() == []


def test_no_such_file(tmp_path: Path) -> None:
    (tmp_path / "churn.pkl").write_bytes(b"x")
    with pytest.raises(NotFound) as caught:
        look(tmp_path / "churm.pkl")
    assert "churn.pkl" in caught.value.hint


def test_an_exported_bundle_comes_back_verified(tmp_path: Path) -> None:
    joblib.dump(LINE, tmp_path / "line.joblib")
    home = tmp_path / "home"
    assert command(home, "import", str(tmp_path / "line.joblib")).returncode == 0
    for target in ("line", "line.zip"):
        assert command(home, "model", "export", "line@1", str(tmp_path / target)).returncode == 0
        other = open_home(Settings(tmp_path / f"other-{target}"))
        imported = import_model(other, look(tmp_path / target))
        assert imported.version.name == "line"
        assert imported.version.digest == open_home(Settings(home)).catalogue.models()[0].latest.digest
    renamed = import_model(other, look(tmp_path / "line"), Extras(name="renamed"))
    assert renamed.version.name == "renamed"


def test_a_bundle_that_was_changed_is_refused(tmp_path: Path) -> None:
    joblib.dump(LINE, tmp_path / "line.joblib")
    home = open_home(Settings(tmp_path / "home"))
    import_model(home, look(tmp_path / "line.joblib"))
    assert command(tmp_path / "home", "model", "export", "line@1", str(tmp_path / "line")).returncode == 0
    x = helper.make_tensor_value_info("input", TensorProto.DOUBLE, [None, 1])
    y = helper.make_tensor_value_info("prediction", TensorProto.DOUBLE, [None, 1])
    other = helper.make_model(helper.make_graph([helper.make_node("Abs", ["input"], ["prediction"])], "g", [x], [y]))
    (tmp_path / "line" / "model.onnx").write_bytes(other.SerializeToString())
    with pytest.raises(CorruptBundle):
        import_model(home, look(tmp_path / "line"))
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        for path in (tmp_path / "line").iterdir():
            archive.writestr(path.name, path.read_bytes())
    with pytest.raises(CorruptBundle):
        import_model(home, look(tmp_path / "evil.zip"))


def test_a_missing_layer_is_refused_and_trust_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    joblib.dump(LINE, tmp_path / "line.joblib")
    home = open_home(Settings(tmp_path / "home"))
    monkeypatch.setattr("modelyard.model.worker.landlock_abi", lambda: 0)
    with pytest.raises(ModelyardError) as caught:
        import_model(home, look(tmp_path / "line.joblib"))
    assert caught.value.code == "SANDBOX-MISSING"
    assert home.catalogue.models() == []
    imported = import_model(home, look(tmp_path / "line.joblib"), Extras(trust=True))
    assert imported.bundle.manifest.source.sandbox == "trusted"
    found = log(home)
    assert [(one.action, one.object, one.outcome) for one in found] == [
        ("model.import", "line.joblib", "denied"),
        ("file.trust", "line.joblib", "done"),
        ("model.publish", "line@1", "done"),
    ]
    assert found[1].detail == {"sha256": imported.bundle.manifest.source.sha256}

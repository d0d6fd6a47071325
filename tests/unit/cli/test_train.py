"""`modelyard train` as a person types it: narration, tables, JSON, errors with the command that mends them."""

import json
import shlex

import pytest
from click.testing import CliRunner

from modelyard.cli.root import root
from tests.lessons import HOUSES, LINEAR


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))

    def call(*words):
        return CliRunner().invoke(root, [str(word) for word in words])

    return call


def test_the_articles_example(run):
    done = run(
        "train", LINEAR, *shlex.split("--target target --model linear --solver gradient --name linear-regression")
    )
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[:3] == [
        "Read        data.csv: 5 rows, 2 columns",
        "Signature   1 number -> target: number",
        "Split       5 train, none held out: its quality is not measured",
    ]
    assert "Saved linear-regression@1" in done.stdout
    assert "Next: modelyard predict linear-regression -i feature=3   or" in done.stdout
    assert done.stderr == ""
    asked = run("predict", "linear-regression", "-i", "feature=3", "--json")
    assert json.loads(asked.stdout)["prediction"] == pytest.approx([6.0], abs=1e-6)


def test_the_narration_of_a_mixed_table(run):
    done = run("train", HOUSES, "--target", "price", "--model", "linear")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "Read        houses.csv: 240 rows, 8 columns (9 rows without a target left out)"
    assert "Left out    house_id: an id" in lines
    assert "Signature   3 numbers, 2 categories (7 values), 1 boolean -> price: number" in lines
    assert "Split       185 train, 46 test (seed 7)" in lines
    table = [line.split() for line in lines if line.startswith("  ")]
    assert [row[0] for row in table] == ["test", "R²", "RMSE", "MAE"]
    assert float(table[1][1]) > 0.9 > float(table[1][2])
    assert any(line.startswith("Saved houses@1 (") and "its scaler and a profile" in line for line in lines)


def test_auto_tells_the_comparison(run, tmp_path):
    short = tmp_path / "short.csv"
    short.write_text("".join(HOUSES.read_text().splitlines(keepends=True)[:60]))
    done = run("train", short, "--target", "heating")
    assert done.exit_code == 0, done.output
    assert "macro F1" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if " ± " in line]
    assert [row[0] for row in rows] == ["logistic", "svm", "boosting", "forest"]
    assert sum(row[-1] == "chosen" for row in rows) == 1


def test_json_is_one_document(run):
    done = run("train", HOUSES, "--target", "price", "--model", "linear", "--json")
    document = json.loads(done.stdout)
    assert (document["model"], document["version"], document["task"]) == ("houses", 1, "regression")
    assert document["rows"] == {"train": 185, "test": 46, "without_target": 9}
    assert document["metrics"]["r2"]["value"] > document["metrics"]["r2"]["baseline"]
    assert document["left_out"] == {"house_id": "an id"}
    assert "Signature" in done.stderr


def test_quiet_says_nothing_but_trouble(run):
    done = run("train", LINEAR, "--target", "target", "--model", "linear", "-q")
    assert (done.exit_code, done.output) == (0, "")


def test_a_wrong_learning_rate_names_a_command_that_works(run):
    words = ["--target", "price", "--model", "linear", "--solver", "gradient", "--learning-rate", "0.5"]
    done = run("train", HOUSES, *words, "--scale", "none", "--name", "house-price")
    assert done.exit_code == 1
    assert "error[TRAIN-DIVERGED]: the loss grew for 5 epochs in a row" in done.stderr
    assert "learning rate 0.5 is too high for unscaled inputs (largest: area, sd " in done.stderr
    fix = next(line for line in done.stderr.splitlines() if line.startswith("  fix:"))
    command = shlex.split(fix.removeprefix("  fix:"))
    assert command[:3] == ["modelyard", "train", str(HOUSES)]
    assert command[-4:] == ["--learning-rate", "0.01", "--scale", "standard"]
    assert command[command.index("--name") + 1] == "house-price"
    assert run(*command[1:]).exit_code == 0


def test_a_leak_is_a_warning(run, tmp_path):
    path = tmp_path / "leak.csv"
    path.write_text("copy,y\n" + "".join(f"{2 * at},{at}.5\n" for at in range(30)))
    done = run("train", path, "--target", "y", "--model", "linear")
    assert done.exit_code == 0
    assert "warning: column 'copy' alone predicts the target perfectly" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--target", "prize"], 3, "did you mean 'price'?"),
        ([], 2, "--target"),
        (["--target", "price", "--model", "logistic", "--solver", "gradient"], 2, "belongs to the model 'linear'"),
        (["--target", "price", "--learning-rate", "0.1"], 2, "belong to the solver 'gradient'"),
        (["--target", "price", "--name", "house_price"], 2, "use 'house-price'"),
        (["--target", "district", "--model", "linear"], 1, "train with --model logistic"),
        (["--target", "price", "--validate", "1.5"], 2, "[0, 1)"),
    ],
)
def test_what_cannot_be_done(run, words, code, says):
    done = run("train", HOUSES, *words)
    assert done.exit_code == code, done.output
    assert says in done.stderr


def test_no_such_file(run, tmp_path):
    done = run("train", tmp_path / "house.csv", "--target", "price")
    assert done.exit_code == 3
    assert "no file 'house.csv'" in done.stderr

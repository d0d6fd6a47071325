"""Scoring a CSV: every row answered or refused with its reason, in bounded memory, whole or not at all."""

from __future__ import annotations

import csv
import errno
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.control.actions import score
from modelyard.control.actions.predict import OpenModel
from modelyard.control.actions.score import Scored, ScoreFiles, score_csv
from modelyard.core.errors import InvalidData, MissingField, NotFound, StoreFull, Unavailable
from tests.models import linear_bundle, mixed_bundle

LINEAR = OpenModel("linear@1", linear_bundle())
MIXED = OpenModel("mixed@1", mixed_bundle())


class Place:
    """A folder with a CSV to score."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source, self.target, self.rejected = folder / "in.csv", folder / "out.csv", folder / "out.rejected.csv"

    def score(self, model: OpenModel, text: str | bytes, **options: Any) -> Scored:
        self.source.write_bytes(text if isinstance(text, bytes) else text.encode())
        return score_csv(model, ScoreFiles(self.source, self.target, self.rejected), io.StringIO(), **options)

    def rows(self, path: Path | None = None) -> list[list[str]]:
        with (path or self.target).open(newline="", encoding="utf-8") as file:
            return list(csv.reader(file))

    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_every_row_is_answered_or_refused(place: Place) -> None:
    text = (
        "length,id,species,mass\n3,a,adelie,3.5\n5.5,b,gentoo,NA\nx,c,gentoo,1\n1,d,dodo,1\n,e,gentoo,1\n9,f,gentoo,\n"
    )
    done = place.score(MIXED, text)
    assert done == Scored(
        rows=3, refused=3, copied=("id",), first_reason="input 'length' must be a number, got text 'x'"
    )
    header, *rows = place.rows()
    assert header == ["length", "id", "species", "mass", "prediction"]
    assert [(row[1], row[-1]) for row in rows] == [("a", "small"), ("b", "big"), ("f", "big")]
    header, *bad = place.rows(place.rejected)
    assert header[-2:] == ["row", "reason"]
    assert [(row[1], row[-2]) for row in bad] == [("c", "3"), ("d", "4"), ("e", "5")]
    assert "dodo" in bad[1][-1]
    assert place.names() == {"in.csv", "out.csv", "out.rejected.csv"}


def test_probabilities_have_columns(place: Place) -> None:
    place.score(MIXED, "species,length,mass\ngentoo,5.5,\n", probabilities=True)
    assert place.rows()[0][-3:] == ["prediction", "probability_small", "probability_big"]
    assert float(place.rows()[1][-1]) == pytest.approx(0.970688)


@pytest.mark.parametrize(
    "text",
    [
        "\ufefffeature,note\n3,x\n",
        "feature,note\r\n3,x\r\n",
        "feature;note\n3;x\n",
        "feature\tnote\n3\tx\n",
        " feature , note\n3,x\n",
        "\n\nfeature,note\n\n3,x\n\n",
        'feature,note\n"3","x"\n',
        "feature,note\n3,x",
        "feature,note\n 3 ,x\n",
    ],
)
def test_it_is_read_as_training_reads_it(place: Place, text: str) -> None:
    assert place.score(LINEAR, text).rows == 1
    header, row = place.rows()
    assert header == ["feature", "note", "prediction"]
    assert row[1:] == ["x", "6.0"]


def test_cells_are_copied_as_they_are(place: Place) -> None:
    cells = ['a,"b"', "two\nlines", "é😀", " spaces ", "=1+1", ""]
    out = io.StringIO()
    csv.writer(out).writerows([["feature", "note"], *([str(at), cell] for at, cell in enumerate(cells))])
    assert place.score(LINEAR, out.getvalue()).rows == len(cells)
    assert [row[1] for row in place.rows()[1:]] == cells


def test_a_nameless_column_is_copied(place: Place) -> None:
    """As pandas writes the index of a frame."""
    assert place.score(LINEAR, ",feature\n0,1\n1,2\n").copied == ("Unnamed: 0",)
    assert place.rows()[1:] == [["0", "1", "2.0"], ["1", "2", "4.0"]]


def test_an_input_named_prediction_keeps_its_name(place: Place) -> None:
    place.score(LINEAR, "feature,prediction\n1,old\n")
    assert place.rows() == [["feature", "prediction", "prediction_"], ["1", "old", "2.0"]]


def test_ragged_rows_are_refused_one_by_one(place: Place) -> None:
    done = place.score(LINEAR, "feature,note\n1\n2,a,b\n3,c\n")
    assert (done.rows, done.refused) == (1, 2)
    assert [row[-1] for row in place.rows(place.rejected)[1:]] == [
        "the row has 1 cells, the header 2",
        "the row has 3 cells, the header 2",
    ]
    assert {len(row) for row in place.rows(place.rejected)} == {4}


def test_nullable_inputs_may_have_no_column(place: Place) -> None:
    assert place.score(MIXED, "species,length\ngentoo,9\n").rows == 1
    with pytest.raises(MissingField, match="missing input species, length in the header") as caught:
        place.score(MIXED, "mass\n1\n")
    assert "mixed@1" in caught.value.hint


def test_a_header_alone_gives_a_header(place: Place) -> None:
    assert place.score(LINEAR, "feature\n") == Scored(rows=0, refused=0, copied=())
    assert place.rows() == [["feature", "prediction"]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "in.csv is empty"),
        (b"\n\n", "in.csv is empty"),
        (b"\xef\xbb\xbf", "in.csv is empty"),
        (b"feature,feature\n1,2\n", "more than one column 'feature'"),
        (b"feature\n1\n\xff\n", "not UTF-8"),
        ("feature\n1\n".encode("utf-16"), "not UTF-8"),
        (b'feature\n"1\n', "not a CSV"),
        (b'feature\n"1"x\n', "not a CSV"),
        (b"feature\n" + b"1" * 200_000 + b"\n", "not a CSV"),
    ],
)
def test_what_is_no_csv_leaves_nothing(place: Place, text: bytes, says: str) -> None:
    with pytest.raises(InvalidData, match=says):
        place.score(LINEAR, text)
    assert place.names() == {"in.csv"}


def test_files_that_cannot_be_read_or_written(place: Place) -> None:
    with pytest.raises(NotFound, match=r"nowhere\.csv"):
        score_csv(LINEAR, ScoreFiles(place.folder / "nowhere.csv", place.target, place.rejected), io.StringIO())
    with pytest.raises(InvalidData, match="cannot read"):
        score_csv(LINEAR, ScoreFiles(place.folder, place.target, place.rejected), io.StringIO())
    place.source.write_text("feature\n1\n")
    beyond = place.folder / "no" / "where.csv"
    with pytest.raises(Unavailable, match="cannot write"):
        score_csv(LINEAR, ScoreFiles(place.source, beyond, place.rejected), io.StringIO())
    place.target.mkdir()
    with pytest.raises(Unavailable, match="cannot write"):
        score_csv(LINEAR, ScoreFiles(place.source, place.target, place.rejected), io.StringIO())


@pytest.mark.parametrize("after", [0, 1])
def test_a_full_disk_leaves_nothing_and_what_was_there(
    place: Place, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    place.target.write_text("old")

    def full(done: float, total: float) -> None:
        full.calls += 1  # type: ignore[attr-defined]
        if full.calls > after:  # type: ignore[attr-defined]
            raise OSError(errno.ENOSPC, "No space left on device")

    full.calls = 0  # type: ignore[attr-defined]
    with pytest.raises(StoreFull):
        place.score(LINEAR, "feature\n" + "1\n" * 2_500, on_progress=full)
    assert place.target.read_text() == "old"
    assert place.names() == {"in.csv", "out.csv"}


def test_the_same_file_in_and_out(place: Place) -> None:
    place.source.write_text("feature\n1\n2\n")
    score_csv(LINEAR, ScoreFiles(place.source, place.source, place.rejected), io.StringIO())
    assert place.rows(place.source) == [["feature", "prediction"], ["1", "2.0"], ["2", "4.0"]]


def test_a_killed_run_leaves_no_half_file(place: Place) -> None:
    linear_bundle().write(_made(place.folder / "bundle"))
    place.source.write_text("feature\n" + "1\n" * 5_000)
    program = (
        "import io, os, signal, sys\n"
        "from pathlib import Path\n"
        "from modelyard.control.actions.predict import open_model\n"
        "from modelyard.control.actions.score import ScoreFiles, score_csv\n"
        "from modelyard.core.settings import Settings\n"
        "folder = Path(sys.argv[1])\n"
        "model = open_model(Settings(home=folder), str(folder / 'bundle'))\n"
        "files = ScoreFiles(folder / 'in.csv', folder / 'out.csv', folder / 'out.rejected.csv')\n"
        "score_csv(model, files, io.StringIO(), on_progress=lambda done, total: os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    died = subprocess.run([sys.executable, "-c", program, str(place.folder)], check=False)
    assert died.returncode == -9
    assert not place.target.exists()
    assert not place.rejected.exists()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_memory_does_not_grow_with_the_file(place: Place) -> None:
    """What is held is a chunk: 40 times the rows take no more than a little above what one chunk takes."""
    import tracemalloc

    def peak(rows: int) -> int:
        place.source.write_text("feature,note\n" + ("1.5," + "x" * 200 + "\n") * rows)
        tracemalloc.start()
        try:
            score_csv(LINEAR, ScoreFiles(place.source, place.target, place.rejected), io.StringIO())
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = peak(1_000), peak(20_000)
    assert many < 2 * few
    assert len(place.rows()) == 20_001


def test_progress_ends_at_the_end(place: Place) -> None:
    told: list[tuple[float, float]] = []
    place.score(LINEAR, "feature\n" + "1\n" * 3_000, on_progress=lambda done, total: told.append((done, total)))
    size = place.source.stat().st_size
    assert len(told) == 3
    assert told[-1] == (size, size)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_without_a_target_answers_go_to_the_stream(place: Place) -> None:
    place.source.write_text("feature\n1\nx\n")
    stream = io.StringIO()
    done = score_csv(LINEAR, ScoreFiles(place.source, None, place.rejected), stream)
    assert (done.rows, done.refused) == (1, 1)
    assert stream.getvalue() == "feature,prediction\n1,2.0\n"


def test_a_reader_that_leaves_is_no_error_of_ours(place: Place) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    place.source.write_text("feature\n1\n")
    with pytest.raises(BrokenPipeError):
        score_csv(LINEAR, ScoreFiles(place.source, None, place.rejected), Gone())


def test_one_bad_row_costs_its_chunk_only(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "_CHUNK_ROWS", 10)
    asked: list[int] = []
    predict: Callable[..., Any] = LINEAR.predict
    monkeypatch.setattr(LINEAR, "predict", lambda rows: asked.append(len(rows)) or predict(rows))
    done = place.score(LINEAR, "feature\n" + "1\n" * 25 + "x\n")
    assert (done.rows, done.refused) == (25, 1)
    assert asked == [10, 10, *[1] * 5]  # the bad row is found while it is read

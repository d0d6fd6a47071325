"""``modelyard predict MODEL``: one row or a whole CSV, in this process."""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from modelyard.cli.errors import DOES_NOT_FIT
from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.core.settings import Settings

if TYPE_CHECKING:
    from modelyard.control.actions.predict import OpenModel, Prediction


@click.command("predict")
@click.argument("model")
@click.option("-i", "--input", "inputs", multiple=True, metavar="NAME=VALUE", help="One input; repeat for each.")
@click.option("-f", "--file", "source", type=click.Path(path_type=Path), help="A CSV (or JSON) of rows.")
@click.option("-o", "--output", "target", type=click.Path(path_type=Path), help="CSV to write; else standard output.")
@click.option("--probabilities", is_flag=True, help="Also a column per class.")
@with_screen
def command(screen: Screen, settings: Settings, model: str, inputs: tuple[str, ...], **files: Any) -> int:
    """Ask MODEL (name, name@2, name@alias, or a bundle's folder) in this process.

    \b
    modelyard predict churn -i tenure=12 -i contract=month-to-month
    modelyard predict churn -f customers.csv -o scored.csv

    Rows of the CSV that do not fit are written to scored.rejected.csv with the reason.
    """  # noqa: D301 - click's own mark, which a raw string would print
    from modelyard.control.actions.predict import open_model  # noqa: PLC0415 - brings numpy and ONNX Runtime

    source: Path | None = files["source"]
    target: Path | None = files["target"]
    if bool(inputs) == (source is not None):
        raise click.UsageError("give either -i NAME=VALUE (once per input) or -f FILE")
    if target is not None and (source is None or source.suffix == ".json"):
        raise click.UsageError("-o goes with -f FILE.csv; other answers are printed")
    opened = open_model(settings, model)
    if source is None or source.suffix == ".json":
        rows = [_row(opened, inputs)] if source is None else _read_json(source)
        return _show_rows(screen, opened, rows)
    if screen.as_json and target is None:
        raise click.UsageError("--json with -f needs -o: standard output cannot hold both the answers and the document")
    return _score(screen, opened, source, target, probabilities=files["probabilities"])


def _row(opened: OpenModel, inputs: tuple[str, ...]) -> dict[str, Any]:
    cells: dict[str, str] = {}
    for pair in inputs:
        name, equals, value = pair.partition("=")
        if not equals or name in cells:
            raise click.UsageError(f"-i {pair!r}: write NAME=VALUE, each name once")
        cells[name] = value
    return opened.parse(cells)


def _read_json(source: Path) -> list[Any]:
    import msgspec  # noqa: PLC0415 - only for JSON files

    from modelyard.core.errors import InvalidData, NotFound  # noqa: PLC0415 - as above

    try:
        document = msgspec.json.decode(source.read_bytes())
    except FileNotFoundError as exc:
        raise NotFound(what="file", name=str(source)) from exc
    except OSError as exc:
        raise InvalidData(what=f"cannot read {source.name}: {exc.strerror}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidData(what=f"{source.name} is not valid JSON", cause=str(exc)) from exc
    return document if isinstance(document, list) else [document]


def _show_rows(screen: Screen, opened: OpenModel, rows: list[Any]) -> int:
    started = perf_counter()
    prediction = opened.predict(rows)
    took_ms = (perf_counter() - started) * 1000
    name, _, version = opened.label.partition("@")
    document: dict[str, Any] = {"prediction": prediction.values, "model": name}
    if version:
        document["version"] = int(version)
    if prediction.probabilities is not None:
        document["probabilities"] = prediction.probabilities
    screen.show(document, "\n".join(_line(prediction, at) for at in range(len(rows))))
    screen.say(f"{opened.label}, {took_ms:.1f} ms")
    return 0


def _line(prediction: Prediction, at: int) -> str:
    value = prediction.values[at]
    if prediction.probabilities is None:
        return str(value)
    ranked = sorted(prediction.probabilities[at].items(), key=lambda item: -item[1])
    if not all(0.0 <= share <= 1.0 for _, share in ranked):  # scores, not probabilities
        return f"{value}   (" + ", ".join(f"{label} {score:.4g}" for label, score in ranked[:5]) + ")"
    rest = ", ".join(f"{label} {share:.1%}" for label, share in ranked[:6] if label != str(value))
    share = prediction.probabilities[at].get(str(value))
    return f"{value}" + (f"  {share:.1%}" if share is not None else "") + (f"   ({rest})" if rest else "")


def _score(screen: Screen, opened: OpenModel, source: Path, target: Path | None, *, probabilities: bool) -> int:
    from modelyard.control.actions.score import ScoreFiles, score_csv  # noqa: PLC0415 - as above

    base = target or Path(source.name)
    rejected = base.parent / f"{base.stem or 'rows'}.rejected.csv"
    started = perf_counter()
    with screen.progress("Predict") as step:
        files = ScoreFiles(source, target, rejected)
        scored = score_csv(opened, files, sys.stdout, probabilities=probabilities, on_progress=step)
    took_s = perf_counter() - started
    if not scored.refused:
        rejected.unlink(missing_ok=True)
    rate = (scored.rows + scored.refused) / max(took_s, 1e-9)
    told = f"{scored.rows:,} rows with {opened.label}, {rate:,.0f} rows/s, {took_s:.1f} s"
    if target is not None:
        screen.say("Predicted", told)
        if scored.copied:
            screen.say("Copied", f"{', '.join(scored.copied)} (no inputs of the model)")
    if scored.refused:
        screen.warn(f"{scored.refused:,} rows refused, written with the reason to {rejected} ({scored.first_reason})")
    if target is not None:
        screen.show({"rows": scored.rows, "refused": scored.refused, "output": str(target)}, f"Wrote {target}.")
    return DOES_NOT_FIT if scored.refused and not scored.rows else 0

"""``modelyard train DATA --target COL``: from a CSV to a version."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.core.errors import Diverged, InvalidRequest
from modelyard.core.manifest import Task
from modelyard.core.metric import Metric
from modelyard.core.reference import suggest_name
from modelyard.core.settings import Settings
from modelyard.core.signature import FeatureKind
from modelyard.lab.recipe import EPOCHS, LEAST_SQUARES, MODELS, SCALED, SCALES, SOLVERS, STANDARD, Recipe
from modelyard.model.card import METRIC_NAMES

if TYPE_CHECKING:
    from modelyard.control.actions.train import Trained
    from modelyard.lab.lesson import Learnt
    from modelyard.lab.prepare import Prepared
    from modelyard.model.table import Table

_TASKS = (str(Task.REGRESSION), str(Task.CLASSIFICATION))
_FEW_INPUTS = 8  # so many fit into a command that one can read


@click.command("train")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--target", required=True, metavar="COLUMN", help="The column to learn.")
@click.option("--name", help="Name of the model; by default the file's.")
@click.option("--model", type=click.Choice(list(MODELS)), default="auto", show_default=True, help="Family of models.")
@click.option("--task", type=click.Choice(_TASKS), help="A number or a class; by default the target decides.")
@click.option("--solver", type=click.Choice(SOLVERS), default=LEAST_SQUARES, show_default=True, help="For linear.")
@click.option("--learning-rate", type=float, metavar="RATE", help="For gradient; by default one that cannot diverge.")
@click.option("--epochs", type=int, help=f"For gradient: at most so many.  [default: {EPOCHS}]")
@click.option("--scale", type=click.Choice(SCALES), default=STANDARD, show_default=True, help="Standardise numbers.")
@click.option("--validate", type=float, metavar="SHARE", help="Rows to test with.  [default: 0.2; 0 below 20 rows]")
@click.option("--seed", type=int, default=7, show_default=True, help="Of the split and of all chance in training.")
@click.option("--drop", multiple=True, metavar="COLUMN", help="Leave this column out; may be repeated.")
@click.option("--keep", multiple=True, metavar="COLUMN", help="Use this column although it looks like an id or text.")
@click.option("--unknown-categories", type=click.Choice(["refuse", "accept"]), default="refuse", show_default=True)
@with_screen
def command(screen: Screen, settings: Settings, data: Path, name: str | None, **flags: Any) -> None:
    """Learn the column --target of the CSV file DATA, and keep the model as the next version of its name.

    \b
    modelyard train houses.csv --target price
    modelyard train data.csv --target target --model linear --solver gradient
    modelyard train churn.csv --target churned --model logistic --drop customer_id

    Missing values and categories are learnt; the model answers for them as it saw them.
    """  # noqa: D301 - click's own mark, which a raw string would print
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - brings numpy and the database
    from modelyard.control.actions.train import train  # noqa: PLC0415 - as above

    recipe = _recipe(flags)
    try:
        with screen.progress("Train") as step:
            trained = train(
                open_home(settings),
                data,
                recipe,
                name=name if name is not None else suggest_name(data.stem),
                on_prepared=lambda table, prepared: _tell_data(screen, table, prepared, recipe.seed),
                on_progress=step,
            )
            step(1, 1)
    except Diverged as exc:
        exc.facts["hint"] = _again(exc.facts["options"])
        raise
    _tell_model(screen, trained, recipe)


def _recipe(flags: dict[str, Any]) -> Recipe:
    task = flags.pop("task")
    unknown = flags.pop("unknown_categories")
    try:
        return Recipe(task=Task(task) if task else None, accept_unknown=unknown == "accept", **flags)
    except InvalidRequest as exc:
        raise click.UsageError(exc.detail) from exc


def _again(options: str) -> str:
    """The command as it was typed, with these options instead of its learning rate and scale."""
    context = click.get_current_context()
    words = ["modelyard", "train", str(context.params["data"])]
    for param in context.command.params:
        given = context.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE
        if given and isinstance(param, click.Option) and param.name not in {"learning_rate", "scale"}:
            value = context.params[param.name or ""]
            values = [] if param.is_flag else [*value] if param.multiple else [value]
            words += [word for item in values for word in (param.opts[-1], str(item))] or [param.opts[-1]]
    return f"{shlex.join(words)} {options}"


def _tell_data(screen: Screen, table: Table, prepared: Prepared, seed: int) -> None:
    gone = prepared.without_target
    left = f" ({_count(gone, 'row')} without a target left out)" if gone else ""
    screen.say(
        "Read", f"{table.name}: {_count(len(table.frame), 'row')}, {_count(table.frame.shape[1], 'column')}{left}"
    )
    for column, reason in prepared.columns.left_out.items():
        screen.say("Left out", f"{column}: {reason}")
    screen.say("Signature", f"{_inputs(prepared)} -> {prepared.target}: {_outcome(prepared)}")
    if len(prepared.test):
        screen.say("Split", f"{len(prepared.train):,} train, {len(prepared.test):,} test (seed {seed})")
    else:
        screen.say("Split", f"{len(prepared.train):,} train, none held out: its quality is not measured")
    for warning in prepared.warnings:
        screen.warn(warning)


def _inputs(prepared: Prepared) -> str:
    found = []
    plural = {"number": "numbers", "boolean": "booleans", "category": "categories"}
    for kind in dict.fromkeys(prepared.columns.kinds.values()):
        names = prepared.columns.of(kind)
        word = str(kind) if len(names) == 1 else plural[str(kind)]
        values = [len(set(prepared.inputs[name]) - {""}) for name in names]
        found.append(f"{len(names)} {word}" + (f" ({sum(values)} values)" if str(kind) == "category" else ""))
    return ", ".join(found)


def _outcome(prepared: Prepared) -> str:
    return f"{len(prepared.classes)} classes" if prepared.classes else "number"


def _tell_model(screen: Screen, trained: Trained, recipe: Recipe) -> None:
    learnt, version = trained.learnt, trained.version
    screen.say("Train", f"{learnt.how}, {trained.took_s:.1f} s")
    for warning in learnt.warnings:
        screen.warn(warning)
    tables = [table for table in (_candidates(screen, learnt), _metrics(screen, trained)) if table]
    screen.say("\n".join(["", *(f"{table}\n" for table in tables)]))
    screen.show(_document(trained))
    family = learnt.parameters.get("chosen", recipe.model)
    scaled = recipe.scale == STANDARD and family in SCALED and trained.prepared.columns.of(FeatureKind.NUMBER)
    with_scaler = "its scaler and " if scaled else ""
    screen.say(f"Saved {version} ({_size(version.size_bytes)}) with {with_scaler}a profile of the training data.")
    screen.next(_example(trained), f"modelyard serve {version.name}")


def _candidates(screen: Screen, learnt: Learnt) -> str:
    """What auto compared, with the choice marked."""
    chosen = learnt.parameters.get("chosen")
    rows = [
        ("  " + one.model, f"{one.score:.3f}", f"± {one.error:.3f}", "chosen" if one.model == chosen else "")
        for one in learnt.candidates
    ]
    return screen.table(("  model", learnt.score, "error", ""), rows, right=(1, 2)) if rows else ""


def _metrics(screen: Screen, trained: Trained) -> str:
    manifest = trained.bundle.manifest
    rows = [
        (
            f"  {METRIC_NAMES[one.name]}",
            _figure(one, one.value),
            "" if one.baseline is None else _figure(one, one.baseline),
        )
        for one in manifest.metrics
    ]
    return screen.table(("", "test", manifest.lineage.baseline), rows, right=(1, 2)) if rows else ""


def _figure(metric: Metric, value: float) -> str:
    return f"{value:.4g}" if metric.name in {"rmse", "mae"} else f"{value + 0.0:.3f}"


def _document(trained: Trained) -> dict[str, Any]:
    manifest, prepared, learnt = trained.bundle.manifest, trained.prepared, trained.learnt
    return {
        "model": manifest.name,
        "version": trained.version.version,
        "digest": trained.version.digest,
        "size_bytes": trained.version.size_bytes,
        "task": str(manifest.task),
        "target": prepared.target,
        "inputs": {name: str(kind) for name, kind in prepared.columns.kinds.items()},
        "left_out": prepared.columns.left_out,
        "rows": {"train": len(prepared.train), "test": len(prepared.test), "without_target": prepared.without_target},
        "how": learnt.how,
        "parameters": manifest.lineage.parameters,
        "metrics": {
            one.name: {"value": one.value, "baseline": one.baseline, "higher_is_better": one.higher_is_better}
            for one in manifest.metrics
        },
        "baseline": manifest.lineage.baseline,
        "warnings": [*prepared.warnings, *learnt.warnings],
    }


def _example(trained: Trained) -> str:
    """A command that asks the new model one of its golden rows."""
    name = trained.version.name
    rows = trained.bundle.samples.rows
    given = {field: value for field, value in rows[len(rows) // 2].items() if value is not None}
    if len(given) > _FEW_INPUTS:
        return f"modelyard model show {name}"
    words = [f"-i {shlex.quote(f'{field}={_word(value)}')}" for field, value in given.items()]
    return " ".join([f"modelyard predict {name}", *words])


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1000:.1f} kB" if size_bytes < 1_000_000 else f"{size_bytes / 1_000_000:.1f} MB"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"

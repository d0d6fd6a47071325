"""Train: a CSV becomes a published version that carries its scaler, profile, golden rows, metrics and lineage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

import modelyard
from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.core.manifest import CARD, MODEL, PROFILE, SAMPLES, Lineage, Manifest, Source
from modelyard.core.reference import check_name
from modelyard.lab.contract import as_sent, contract
from modelyard.lab.lesson import Learnt, Lesson
from modelyard.lab.prepare import Prepared, prepare
from modelyard.lab.profile import profile
from modelyard.lab.recipe import Recipe
from modelyard.lab.train import Progress, trainer
from modelyard.model.bundle import Bundle, seal
from modelyard.model.card import card
from modelyard.model.golden import record
from modelyard.model.runtime import load
from modelyard.model.table import Table, read_table
from modelyard.registry.versions import Version

if TYPE_CHECKING:
    from modelyard.model.convert import Converted

_GOLDEN_ROWS = 5


@dataclass(frozen=True)
class Trained:
    """A model that was learnt and published; the learning alone took `took_s`."""

    version: Version
    bundle: Bundle
    prepared: Prepared
    learnt: Learnt
    took_s: float


def train(
    home: Home,
    path: Path,
    recipe: Recipe,
    *,
    name: str,
    on_prepared: Callable[[Table, Prepared], None] | None = None,
    on_progress: Progress | None = None,
) -> Trained:
    """Read the CSV at `path`, learn its target by the recipe, publish the model as the next version of `name`.

    Parameters
    ----------
    home : Home
        Where to publish.
    path : Path
        The CSV.
    recipe : Recipe
        Target, model, and everything else that decides the outcome.
    name : str
        Of the model.
    on_prepared : callable, optional
        Told the table and what was made of it, before the learning starts.
    on_progress : callable, optional
        Told ``(done, total)`` of the learning.

    Returns
    -------
    Trained

    Raises
    ------
    InvalidName, NotFound, InvalidData, TrainingFailed, Diverged, MissingExtra, StoreFull
        Nothing was published.
    """
    check_name(name)
    table = read_table(path)
    prepared = prepare(table.frame, recipe)
    if on_prepared is not None:
        on_prepared(table, prepared)
    family = trainer(recipe.model)
    begin = perf_counter()
    learnt = family.train(prepared.lessons[0], recipe, on_progress)
    took_s = perf_counter() - begin
    bundle = assemble(name, table, recipe, prepared, learnt, created_at=datetime.now(UTC))
    return Trained(version=publish(home, bundle), bundle=bundle, prepared=prepared, learnt=learnt, took_s=took_s)


def assemble(
    name: str, table: Table, recipe: Recipe, prepared: Prepared, learnt: Learnt, *, created_at: datetime
) -> Bundle:
    """The bundle of a model that was just learnt; the same arguments give the same bytes."""
    from modelyard.lab.evaluate import evaluate  # noqa: PLC0415 - scikit-learn, which a trainer has already brought
    from modelyard.model.convert import from_estimator  # noqa: PLC0415 - as above

    train_rows, test_rows = prepared.lessons
    evaluation = evaluate(learnt.pipeline, test_rows, train_rows)
    converted = from_estimator(learnt.pipeline, train_rows.inputs, origin="training")
    signature = contract(converted.signature, train_rows, accept_unknown=recipe.accept_unknown)
    manifest = Manifest(
        name=name,
        task=prepared.task,
        signature=signature,
        files={},
        source=_source(table, converted),
        parity=converted.parity,
        metrics=evaluation.metrics,
        lineage=msgspec.structs.replace(
            _lineage(table, recipe, prepared, learnt),
            created_at=created_at.isoformat(timespec="seconds"),
            baseline=evaluation.baseline,
            notes=(*prepared.notes, *learnt.warnings, *converted.notes),
        ),
    )
    sent = as_sent(train_rows)
    answers = learnt.pipeline.predict(train_rows.inputs)
    model = {MODEL: converted.onnx}
    samples = record(load(seal(manifest, model)), _golden(sent, train_rows))
    return seal(
        manifest,
        model
        | {
            PROFILE: msgspec.json.encode(profile(sent, signature, predictions=answers), order="sorted"),
            SAMPLES: msgspec.json.encode(samples),
            CARD: card(manifest).encode(),
        },
    )


def _source(table: Table, converted: Converted) -> Source:
    return Source(
        format="modelyard-train",
        file=table.name,
        sha256=table.sha256,
        libraries=converted.libraries,
        estimator=converted.estimator,
    )


def _lineage(table: Table, recipe: Recipe, prepared: Prepared, learnt: Learnt) -> Lineage:
    return Lineage(
        modelyard=modelyard.__version__,
        data_sha256=table.sha256,
        data_rows=len(prepared.train),
        target=recipe.target,
        seed=recipe.seed,
        parameters=recipe.to_parameters() | {"learnt": learnt.parameters},
    )


def _golden(sent: dict[str, list[Any]], lesson: Lesson) -> list[dict[str, Any]]:
    """A few real rows, spread evenly over the sorted target."""
    order = np.argsort(lesson.answers, kind="stable")
    picked = order[np.unique(np.linspace(0, len(order) - 1, _GOLDEN_ROWS).astype(int))]
    return [{field: values[row] for field, values in sent.items()} for row in picked.tolist()]

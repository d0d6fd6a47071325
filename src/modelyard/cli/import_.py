"""``modelyard import FILE``: from a model file, or a folder of another server, to versions."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelyard.cli import _folders
from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.core.settings import Settings

if TYPE_CHECKING:
    from modelyard.control.actions.import_model import Found, Imported
    from modelyard.core.signature import Feature, Signature
    from modelyard.model.formats import Scale

_FEW_INPUTS = 8  # so many fit into a command that one can read


@click.command("import")
@click.argument("file", metavar="FILE|DIR", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the model; by default the file's.")
@click.option("--sample", type=click.Path(path_type=Path), metavar="CSV", help="Rows the model takes, to compare on.")
@click.option("--scale-from", metavar="CSV:COLUMN[,COLUMN]", help="Linear parameters: data that training standardised.")
@click.option("--trust", is_flag=True, help="Open a pickle without the sandbox: it may do all that you may.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_screen
def command(screen: Screen, settings: Settings, file: Path, name: str | None, **flags: Any) -> int:
    """Turn the model in FILE into ONNX, compare it with the original, and keep it as the next version of its name.

    \b
    modelyard import churn.joblib --sample rows.csv
    modelyard import model.onnx --name churn
    modelyard import model_params.txt --scale-from data.csv:feature
    modelyard import model-repository/

    FILE is ONNX (.onnx), scikit-learn (.joblib, .pkl, .skops), linear parameters (beta0: 0.1 ...), or a bundle that
    was exported. Files that can run code are opened in a locked process only. DIR is the folder of MLServer, a Triton
    repository of ONNX models, an MLflow model or a BentoML model: every model in it is imported, and settings that are
    not honoured are named.
    """  # noqa: D301 - click's own mark, which a raw string would print
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - brings numpy and the database
    from modelyard.control.actions.import_model import Extras, import_model, look  # noqa: PLC0415 - as above
    from modelyard.model.formats import CODE  # noqa: PLC0415 - as above

    if _folders.is_foreign(file):
        if flags["scale_from"]:
            raise click.UsageError("--scale-from is for a file of linear parameters")
        extras = Extras(name=name or "", sample=flags["sample"], trust=flags["trust"])
        return _folders.bring_in(screen, settings, file, extras)
    found = look(file)
    _tell_found(screen, found)
    scale = _scale(flags["scale_from"])
    if found.kind == "linear-params" and not scale and not _without_scaling(screen, found, name, yes=flags["yes"]):
        screen.show({"imported": False}, "Nothing was imported.")
        return 1
    if flags["trust"] and found.kind in CODE:
        screen.warn("opening this file runs whatever its maker put into it, with all your rights")
    extras = Extras(name=name or "", sample=flags["sample"], scale=scale, trust=flags["trust"])
    with screen.progress("Convert"):
        imported = import_model(open_home(settings), found, extras)
    _tell_imported(screen, imported)
    return 0


def _scale(text: str | None) -> tuple[Scale, ...]:
    if text is None:
        return ()
    from modelyard.control.actions.import_model import scale_from  # noqa: PLC0415 - as above

    file, colon, columns = text.rpartition(":")
    if not colon or not file or not columns:
        raise click.UsageError("--scale-from needs a file and a column, for example data.csv:feature")
    return scale_from(Path(file), tuple(column.strip() for column in columns.split(",")))


def _tell_found(screen: Screen, found: Found) -> None:
    from modelyard.model.bundle import sha256  # noqa: PLC0415 - as above
    from modelyard.model.formats import TITLES  # noqa: PLC0415 - as above

    title = TITLES.get(found.kind, "exported bundle")
    digest = sha256(found.raw) if found.raw else ""
    facts = f", {_size(len(found.raw))}, sha256 {digest[:4]}…{digest[-2:]}" if digest else ""
    screen.say("Detected", f"{title}{facts}")


def _without_scaling(screen: Screen, found: Found, name: str | None, *, yes: bool) -> bool:
    given = f" --name {shlex.quote(name)}" if name else ""
    screen.warn(
        "the file has no scaling. If its training script standardised the inputs, as the founding article's does, "
        "answers would be wrong.",
        fix=f"modelyard import {shlex.quote(str(found.path))}{given} --scale-from data.csv:feature",
    )
    return screen.confirm("Import without scaling?", yes=yes)


def _tell_imported(screen: Screen, imported: Imported) -> None:
    manifest, version = imported.bundle.manifest, imported.version
    parity = manifest.parity
    screen.say("Estimator", manifest.source.estimator)
    screen.say("Safety", _safety(imported))
    screen.say("Signature", _signature(manifest.signature))
    if parity is not None:
        rows = f"{parity.rows} {'generated' if parity.origin == 'generated' else 'sample'} rows"
        largest = f"largest difference {parity.max_rel:.1g}" if parity.max_rel else "no difference"
        screen.say("Parity", f"{rows}, {parity.flips} labels differ, {largest}")
    for note in manifest.lineage.notes:
        screen.say("Note", note)
    screen.show(_document(imported))
    again = "" if version.fresh else " (it was there already)"
    screen.say(f"Saved {version} ({_size(version.size_bytes)}){again}.")
    screen.next(_example(imported), f"modelyard serve {version.name}")


def _safety(imported: Imported) -> str:
    source = imported.bundle.manifest.source
    how = {
        "landlock+seccomp": "opened in the sandbox (Landlock, seccomp)",
        "trusted": "opened with --trust, outside the sandbox",
    }.get(imported.sandbox, "plain data" if source.format != "bundle" else "")
    return f"{how}; ONNX graph inspected" if source.format != "linear-params" else how


def _signature(signature: Signature) -> str:
    words = [f"{len(signature.features)} inputs" if len(signature.features) != 1 else "1 input"]
    opaque = [spec for spec in signature.inputs if not spec.features]
    if opaque:
        words = [", ".join(f"{spec.name} {spec.datatype}{list(spec.shape)}" for spec in opaque)]
    elif signature.features:
        words.append(f"({_kinds(signature.features)})")
    outcome = next((spec for spec in signature.outputs if spec.name == signature.probabilities), None)
    if outcome is not None:
        return f"{' '.join(words)} -> {len(outcome.labels)} classes with {outcome.name}"
    return f"{' '.join(words)} -> {', '.join(spec.name for spec in signature.outputs)}"


def _kinds(features: tuple[Feature, ...]) -> str:
    plural = {"number": "numbers", "integer": "integers", "boolean": "booleans", "category": "categories"}
    counts: dict[str, int] = {}
    for feature in features:
        counts[str(feature.kind)] = counts.get(str(feature.kind), 0) + 1
    parts = [f"{count} {kind if count == 1 else plural.get(kind, f'{kind}s')}" for kind, count in counts.items()]
    nullable = sum(feature.nullable for feature in features)
    return ", ".join(parts) + (f"; {nullable} may be missing" if nullable else "")


def _document(imported: Imported) -> dict[str, Any]:
    import msgspec  # noqa: PLC0415 - only a command that ran needs it

    manifest, version = imported.bundle.manifest, imported.version
    return {
        "imported": True,
        "model": version.name,
        "version": version.version,
        "digest": version.digest,
        "size_bytes": version.size_bytes,
        "task": str(manifest.task),
        "source": msgspec.to_builtins(manifest.source),
        "parity": msgspec.to_builtins(manifest.parity),
        "signature": msgspec.to_builtins(manifest.signature),
        "notes": list(manifest.lineage.notes),
    }


def _example(imported: Imported) -> str:
    """A command that asks the new model one of its golden rows."""
    rows = imported.bundle.samples.rows
    given = {field: value for field, value in rows[0].items() if value is not None} if rows else {}
    if not given or len(given) > _FEW_INPUTS or any(isinstance(value, list) for value in given.values()):
        return f"modelyard model show {imported.version.name}"
    words = [f"-i {shlex.quote(f'{field}={_word(value)}')}" for field, value in given.items()]
    return " ".join([f"modelyard predict {imported.version.name}", *words])


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1000:.1f} kB" if size_bytes < 1_000_000 else f"{size_bytes / 1_000_000:.1f} MB"

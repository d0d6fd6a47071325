"""Folders of other servers on the command line: what `import DIR` says, and what `serve DIR` takes from one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from modelyard.cli.errors import FAILED
from modelyard.cli.screen import Screen
from modelyard.core.errors import InvalidModel, NotFound
from modelyard.core.settings import Settings

if TYPE_CHECKING:
    from modelyard.control.actions.import_folder import Import
    from modelyard.control.actions.import_model import Extras
    from modelyard.model.folders import Refusal, Serving

_PREFIX = "MLSERVER_"
_DEEPEST = 3  # folders of one folder, in what a platform lays down
#: Variables that name the folder to serve when nothing else is asked for, the first that is set.
_PLACES = ("MLSERVER_MODELS_DIR", "MLSERVER_MODEL_REPOSITORY_ROOT", "MLSERVER_MODEL_URI")
#: What a folder may say of serving, by our flag: the name there, and in a sentence.
_FLAGS = {"port": "http_port", "grpc_port": "grpc_port", "workers": "parallel_workers"}


def is_foreign(path: Path) -> bool:
    """Whether the path is a folder, and not an exported bundle."""
    if not path.is_dir():
        return False
    from modelyard.control.actions import import_folder  # noqa: PLC0415 - brings numpy

    return import_folder.is_foreign(path)


def bring_in(screen: Screen, settings: Settings, path: Path, extras: Extras) -> int:
    """Import all models of the folder and say what became of it; the exit code."""
    if extras.trust:
        screen.warn("opening pickles runs whatever their makers put into them, with all your rights")
    done = _import(screen, settings, path, extras)
    screen.show(_document(done))
    if done.taken:
        screen.next(f"modelyard serve {' '.join(dict.fromkeys(item.version.name for item in done.taken))}")
    if done.refusals:
        screen.warn(f"{_count(done.refusals, 'model')} of the folder could not be imported")
    return FAILED if done.refusals or not done.taken else 0


def with_folders(
    screen: Screen, settings: Settings, models: tuple[str, ...], plan: Path | None, flags: dict[str, Any]
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """What to serve and how, with every folder among `models` imported and replaced by the versions in it.

    An explicit flag wins over a variable, a variable over a file of the folder.
    """
    if not models and plan is None and flags["repository"] == "none":
        models = _told_by(screen, _variables())
        if not models and flags["contracts"] is None:
            models = _laid_down(screen)
    references: list[str] = []
    for text in models if plan is None else ():
        if not _is_folder(settings, text):
            references.append(text)
            continue
        if not is_foreign(Path(text)):
            references.append(_publish(screen, settings, Path(text)))
            continue
        done = _import(screen, settings, Path(text), None)
        if screen.as_json:
            click.echo(json.dumps(_document(done), default=str))
        if done.refusals or not done.taken:
            raise _incomplete(text, done)
        references += done.references
        flags = _as_told(screen, flags, done.folder.serving)
    return models if plan is not None else tuple(references), flags


def _import(screen: Screen, settings: Settings, path: Path, extras: Extras | None) -> Import:
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - brings numpy and the database
    from modelyard.control.actions.import_folder import import_folder, read_folder  # noqa: PLC0415 - as above
    from modelyard.model.folders import TITLES  # noqa: PLC0415 - as above

    folder = read_folder(path, _variables())
    screen.say("Detected", f"{TITLES[folder.kind]} in {path}")
    with screen.progress("Convert"):
        done = import_folder(open_home(settings), folder, extras)
    for item in done.taken:
        label = f"{item.member.path.name}" + (f", version {item.member.version}" if item.member.version else "")
        how = "converted" if item.fresh else "was there already"
        screen.say("Model", f"{item.member.name} ({label}) is {item.version}: {how}")
    for note in done.notes:
        screen.say("Note", note)
    for setting in done.settings:
        screen.say("Not used", f"{setting.where}: {setting.name}: {setting.why}")
    for refusal in done.refusals:
        screen.warn(f"{refusal.name}: {refusal.why}", fix=refusal.hint)
    return done


def _publish(screen: Screen, settings: Settings, path: Path) -> str:
    """Import the exported bundle; the version that it is, or was already."""
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - brings numpy and the database
    from modelyard.control.actions.import_model import import_model, look  # noqa: PLC0415 - as above

    version = import_model(open_home(settings), look(path)).version
    screen.say("Bundle", f"{path} is {version}")
    return str(version)


def _document(done: Import) -> dict[str, Any]:
    return {
        "imported": bool(done.taken),
        "folder": done.folder.kind,
        "models": [
            {
                "model": item.version.name,
                "version": item.version.version,
                "digest": item.version.digest,
                "called": item.member.name,
                "version_called": item.member.version,
                "file": item.member.path.name,
                "sandbox": item.sandbox,
                "converted": item.fresh,
            }
            for item in done.taken
        ],
        "refused": [asdict(item) for item in done.refusals],
        "not_used": [asdict(item) for item in done.settings],
        "notes": list(done.notes),
    }


def _incomplete(text: str, done: Import) -> InvalidModel:
    first: Iterable[Refusal] = done.refusals[:3]
    what = "; ".join(f"{item.name}: {item.why}" for item in first) or "there is no model in it"
    rest = f", and {len(done.refusals) - 3} more" if len(done.refusals) > 3 else ""
    names = " ".join(dict.fromkeys(item.version.name for item in done.taken))
    return InvalidModel(
        what=f"not all of {text} can be served: {what}{rest}",
        hint=f"serve the others: modelyard serve {names}" if names else f"modelyard import {text}",
    )


def _environ() -> Mapping[str, str]:
    """The environment, from the command line's root, which alone reads it."""
    environ: Mapping[str, str] = click.get_current_context().find_root().obj or {}
    return environ


def _variables() -> dict[str, str]:
    """Variables of MLServer."""
    return {name: value for name, value in _environ().items() if name.startswith(_PREFIX)}


def _laid_down(screen: Screen) -> tuple[str, ...]:
    """The folder in which a cloud's platform has laid down the model; none where it has not."""
    from modelyard.serve.platforms import artifacts  # noqa: PLC0415 - imported when called

    for name, folder in artifacts(_environ()):
        inner, entries = folder, _entries(folder)
        for _ in range(_DEEPEST):  # Azure's NAME/VERSION, and archives of one folder
            if len(entries) == 1 and entries[0].is_dir():
                inner, entries = entries[0], _entries(entries[0])
        if entries:
            screen.say(f"{name} has laid down what to serve: {inner}")
            return (f"{inner}/",)
    return ()


def _entries(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []


def _told_by(screen: Screen, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The folder that a variable names, as in a container that was made for MLServer."""
    name = next((name for name in _PLACES if environ.get(name)), None)
    if name is None:
        return ()
    path = Path(environ[name])
    if not path.exists():
        raise NotFound(what=f"folder of {name}", name=environ[name], hint=f"unset {name}, or put the models there")
    screen.say(f"{name} names what to serve: {path}")
    return (f"{path if path.is_dir() else path.parent}/",)


def _is_folder(settings: Settings, text: str) -> bool:
    """Whether it means a folder: it has a slash, or there is such a folder and no such model."""
    if "/" in text or text in {".", ".."}:
        if not Path(text).is_dir():
            raise NotFound(what="folder", name=text, hint="check the path; a model is named without '/'")
        return True
    if not Path(text).is_dir():
        return False
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - brings the database

    return text not in {model.name for model in open_home(settings).catalogue.models()}


def _as_told(screen: Screen, flags: dict[str, Any], serving: Serving) -> dict[str, Any]:
    """The flags, with what the folder says where the operator says nothing."""
    from modelyard.serve.grpc import missing  # noqa: PLC0415 - imported when called
    from modelyard.serve.sockets import is_loopback  # noqa: PLC0415 - as above

    context = click.get_current_context()
    wanted: dict[str, Any] = {"port": serving.port, "workers": serving.workers, "grpc_port": serving.grpc_port}
    if flags["no_grpc"] or missing():
        wanted["grpc_port"] = None
    if serving.host is not None and context.get_parameter_source("host") is ParameterSource.DEFAULT:
        if is_loopback(serving.host):
            wanted["host"] = serving.host
        else:
            why = "others could reach it, so that has to be said with --host, keys and TLS; listening on 127.0.0.1"
            screen.say("Not used", f"{serving.said['host']}: host {serving.host}: {why}")
    for name, value in wanted.items():
        if value is None or context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            continue
        screen.say("Used", f"{serving.said[_FLAGS.get(name, name)]}: {_FLAGS.get(name, name)} {value}")
        flags = flags | {name: value}
    return flags


def _count(items: Iterable[Any], what: str) -> str:
    count = len(list(items))
    return f"{count} {what}" if count == 1 else f"{count} {what}s"

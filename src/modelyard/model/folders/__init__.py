"""Door: folders of other servers and trackers. `control.actions.import_folder` reads one and imports its models.

A backend is one file here with ``marks(view, environ) -> list of str`` (the files by which it knows such a folder) and
``read(view, environ) -> Folder``, and one line in `FOLDERS`. It reads settings only: nothing of the folder is imported,
run or unpickled, and every setting that Modelyard does not honour becomes a `Setting` with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from modelyard.core.errors import InvalidModel
from modelyard.model.declared import Declared
from modelyard.model.folders._view import View

__all__ = [
    "FOLDERS",
    "ONNX",
    "SKLEARN",
    "TITLES",
    "Folder",
    "Member",
    "Refusal",
    "Serving",
    "Setting",
    "View",
    "open_folder",
    "read_as",
]

#: Kind -> backend; where two know a folder by files of the same depth, the first one reads it.
FOLDERS: dict[str, str] = {
    "mlserver": "modelyard.model.folders.mlserver",
    "triton": "modelyard.model.folders.triton",
    "bentoml": "modelyard.model.folders.bentoml",
    "mlflow": "modelyard.model.folders.mlflow",
}
#: What a person calls them, and by which file one knows them.
TITLES: dict[str, str] = {
    "mlserver": "MLServer folder (model-settings.json)",
    "triton": "Triton model repository (config.pbtxt, or NAME/1/model.onnx)",
    "bentoml": "BentoML model (model.yaml)",
    "mlflow": "MLflow model (MLmodel)",
}
#: Formats of `model.formats` that a model file of each library may have.
ONNX = ("onnx",)
SKLEARN = ("sklearn-pickle", "sklearn-skops")


@dataclass(frozen=True)
class Setting:
    """A setting of the folder that is not honoured.

    Parameters
    ----------
    where : str
        The file, relative to the folder, or `environment`.
    name : str
        As it is written there, with dots for what is nested.
    why : str
        The reason, or what does the same here.
    """

    where: str
    name: str
    why: str


@dataclass(frozen=True)
class Example:
    """Rows that the folder keeps as an example of what its model takes."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Member:
    """One version of one model in the folder.

    Parameters
    ----------
    name : str
        As the folder calls the model; may be no legal name here.
    path : Path
        The model file, inside the folder.
    formats : tuple of str
        Formats of `model.formats` that the file may have.
    version : str
        As the folder calls it; empty when it calls it nothing.
    declared : Declared
        What the settings say of the model.
    example : Example or None
        Rows to compare on.
    beside : tuple of Path
        Files in which an ONNX file may keep its tensors.
    facts : mapping of str to JSON
        What is worth remembering and changes nothing: ids, labels, metadata; kept in the lineage.
    """

    name: str
    path: Path
    formats: tuple[str, ...]
    version: str = ""
    declared: Declared = field(default_factory=Declared)
    example: Example | None = None
    beside: tuple[Path, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Refusal:
    """A model of the folder that cannot be imported: which, why, and what to do."""

    name: str
    why: str
    hint: str = ""


@dataclass(frozen=True)
class Serving:
    """How the folder's own server would have been started; None where nothing is said.

    `said` tells where each came from, by name: a file of the folder, or an environment variable.
    """

    host: str | None = None
    port: int | None = None
    grpc_port: int | None = None
    workers: int | None = None
    said: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Folder:
    """What was found in a folder.

    Parameters
    ----------
    kind : str
        One of `FOLDERS`.
    path : Path
        Where it is.
    members : tuple of Member
        What can be imported; versions of one model oldest first.
    refusals : tuple of Refusal
        What cannot.
    settings : tuple of Setting
        What is not honoured.
    serving : Serving
        How to serve it.
    notes : tuple of str
        What a person should know.
    """

    kind: str
    path: Path
    members: tuple[Member, ...]
    refusals: tuple[Refusal, ...] = ()
    settings: tuple[Setting, ...] = ()
    serving: Serving = field(default_factory=Serving)
    notes: tuple[str, ...] = ()


class Reader(Protocol):
    """A backend of this door."""

    def marks(self, view: View, environ: Mapping[str, str]) -> list[str]:
        """The files (or variables) by which this is such a folder; none when it is not."""
        ...

    def read(self, view: View, environ: Mapping[str, str]) -> Folder:
        """What is in it; `InvalidModel` when it is such a folder and cannot be read."""
        ...


def open_folder(path: Path, environ: Mapping[str, str] | None = None) -> Folder:
    """The folder, told by the files in it and read.

    Parameters
    ----------
    path : Path
        An existing folder.
    environ : mapping of str to str
        Variables of the server that the folder was made for.

    Raises
    ------
    InvalidModel
        Nobody knows such a folder, a file of it cannot be read, or it leads outside.
    """
    environ = environ or {}
    view = View(path)
    found = {kind: marks for kind in FOLDERS if (marks := _reader(kind).marks(view, environ))}
    if not found:
        raise InvalidModel(
            what=f"cannot tell what kind of model folder {view.name!r} is",
            cause=f"it has: {view.summary()}",
            hint="this version reads: " + "; ".join(TITLES.values()) + "; and exported bundles (manifest.json)",
        )
    kind = min(found, key=lambda each: min(mark.count("/") for mark in found[each]))
    folder = read_as(kind, view, environ)
    others = [f"{TITLES[other].partition(' (')[0]} ({', '.join(found[other][:2])})" for other in found if other != kind]
    if others and kind != "mlserver":  # MLServer's settings point at what they serve: an MLmodel there is no rival
        said = f"it also looks like: {', '.join(others)}; {found[kind][0]} is nearer to the top, or more specific"
        folder = replace(folder, notes=(*folder.notes, said))
    return folder


def read_as(kind: str, view: View, environ: Mapping[str, str] | None = None) -> Folder:
    """The folder, read as one of this kind."""
    return _reader(kind).read(view, environ or {})


def _reader(kind: str) -> Reader:
    return cast(Reader, import_module(FOLDERS[kind]))

"""BentoML: a saved model's folder (model.yaml beside saved_model.pkl or .onnx), or its name's folder in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modelyard.core.errors import InvalidModel, ModelyardError
from modelyard.model.declared import Declared
from modelyard.model.folders import ONNX, SKLEARN, Folder, Member, Refusal, Setting, View

MODEL_YAML, BENTO_YAML = "model.yaml", "bento.yaml"
_LATEST = "latest"
_CUSTOM = "custom_objects.pkl"
#: Module that saved the model -> its file and that file's formats.
_MODULES: dict[str, tuple[str, tuple[str, ...]]] = {
    "bentoml.sklearn": ("saved_model.pkl", SKLEARN),
    "bentoml.onnx": ("saved_model.onnx", ONNX),
}
_FACTS = ("labels", "metadata", "context", "creation_time", "api_version")
_READ = frozenset({*_FACTS, "name", "version", "module", "signatures", "options"})
#: Methods that ask the model for its answer, and which output that is; an empty name: the usual one.
_METHODS = {"predict": "", "run": "", "predict_proba": "probabilities", "decision_function": "scores", "transform": ""}
_WHY: dict[str, str] = {
    "options.providers": "models run on the CPU",
    "options.session_options": "ONNX Runtime is set up by Modelyard",
}
_OPTIONS_READ = frozenset({"input_specs", "output_specs", "partial_kwargs"})


def marks(view: View, environ: Mapping[str, str]) -> list[str]:
    """model.yaml that names a module of BentoML, or a Bento; here, or where the store's ``latest`` points."""
    del environ
    if view.has(BENTO_YAML):
        return [BENTO_YAML]
    if view.has(MODEL_YAML):
        return [MODEL_YAML] if _is_model(view) else []
    latest = _latest(view)
    return [f"{latest}/{MODEL_YAML}"] if latest else []


def read(view: View, environ: Mapping[str, str]) -> Folder:
    """The one saved model; the latest where the folder holds several tags of a name."""
    if view.has(BENTO_YAML):
        return _bento(view)
    latest = "" if view.has(MODEL_YAML) else _latest(view)
    if latest:
        folder = read(view.sub(latest), environ)
        others = [name for name in view.folders() if name != latest and view.has(f"{name}/{MODEL_YAML}")]
        said = (f"the latest tag, {latest}, was read; the others: modelyard import {view.name}/TAG",) if others else ()
        deeper = tuple(replace(item, where=f"{latest}/{item.where}") for item in folder.settings)
        return replace(folder, path=view.path, settings=deeper, notes=(*folder.notes, *said))
    document = view.table(MODEL_YAML)
    name = str(document.get("name") or view.name)
    module = str(document.get("module", ""))
    settings = [*_named(view, document)]
    if module not in _MODULES:
        hint = "sklearn and onnx are read; save it with bentoml.onnx, or import its own file"
        refusal = Refusal(name, f"it was saved with {module or 'no module'}", hint)
        return Folder("bentoml", view.path, (), (refusal,), tuple(settings))
    try:
        return Folder("bentoml", view.path, (_member(view, document, name, module),), (), tuple(settings))
    except ModelyardError as exc:
        return Folder("bentoml", view.path, (), (Refusal(name, exc.detail, exc.hint),), tuple(settings))


def _member(view: View, document: Mapping[str, Any], name: str, module: str) -> Member:
    file, formats = _MODULES[module]
    beside = tuple(view.inside(each) for each in view.files() if each.endswith(".data")) if formats is ONNX else ()
    return Member(
        name=name,
        path=view.inside(file),
        formats=formats,
        version=str(document.get("version") or ""),
        declared=Declared(answer=_answer(document)),
        beside=beside,
        facts={key: document[key] for key in _FACTS if document.get(key) not in (None, {}, [])},
    )


def _is_model(view: View) -> bool:
    try:
        return str(view.table(MODEL_YAML).get("module", "")).startswith("bentoml")
    except InvalidModel:
        return False


def _latest(view: View) -> str:
    """The tag that the store's ``latest`` file names; empty when this is no name's folder of the store."""
    if not view.has(_LATEST):
        return ""
    tag = view.text(_LATEST).strip()
    return tag if tag and "/" not in tag and tag not in {".", ".."} and view.has(f"{tag}/{MODEL_YAML}") else ""


def _bento(view: View) -> Folder:
    found = [name.rpartition("/")[0] for name in view.find(MODEL_YAML)]
    hint = (
        f"import its models: {', '.join(f'modelyard import {view.name}/{name}' for name in found[:3])}" if found else ""
    )
    refusal = Refusal(view.name, "it is a Bento: a service, which is code", hint or "import the models that it uses")
    return Folder("bentoml", view.path, (), (refusal,))


def _signatures(document: Mapping[str, Any]) -> dict[str, Any]:
    found = document.get("signatures") or {}
    if not isinstance(found, dict):
        raise InvalidModel(what=f"{MODEL_YAML}: signatures are not an object")
    return found


def _answer(document: Mapping[str, Any]) -> str:
    """The output of the only method; with several, a client asks for what it wants."""
    methods = [name for name in _signatures(document) if name in _METHODS]
    return _METHODS[methods[0]] if len(methods) == 1 else ""


def _named(view: View, document: Mapping[str, Any]) -> list[Setting]:
    settings = []
    for name, about in _signatures(document).items():
        if name not in _METHODS:
            why = "a model here answers with predict, predict_proba, decision_function or transform"
            settings.append(Setting(MODEL_YAML, f"signatures.{name}", why))
        dims = about.get("batch_dim") if isinstance(about, dict) else None
        if dims not in (None, 0, [0, 0]):
            settings.append(Setting(MODEL_YAML, f"signatures.{name}.batch_dim", "rows are always the first axis"))
    options = document.get("options") or {}
    for name, value in (options if isinstance(options, dict) else {}).items():
        if name not in _OPTIONS_READ and value not in (None, {}, []):
            why = _WHY.get(f"options.{name}", "no option of BentoML that is known here")
            settings.append(Setting(MODEL_YAML, f"options.{name}", why))
    settings += [
        Setting(MODEL_YAML, name, "no field of a BentoML model that is known here")
        for name, value in document.items()
        if name not in _READ and value not in (None, {}, [])
    ]
    if view.has(_CUSTOM):
        why = "objects beside the model are a pickle for the service's own code, and are not opened"
        settings.append(Setting(_CUSTOM, "custom_objects", why))
    return settings

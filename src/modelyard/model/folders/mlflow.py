"""MLflow: a folder with an MLmodel file, flavors sklearn and onnx; or a logged model, which has it in artifacts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.core.errors import InvalidModel, ModelyardError
from modelyard.core.signature import ANY, FeatureKind
from modelyard.core.tensor import Datatype
from modelyard.model.declared import Column, Declared, Port
from modelyard.model.folders import ONNX, SKLEARN, Example, Folder, Member, Refusal, Setting, View

MLMODEL = "MLmodel"
_META = "meta.yaml"
_LOADERS = {"mlflow.sklearn": "sklearn", "mlflow.onnx": "onnx"}
_KINDS = {
    "integer": FeatureKind.INTEGER,
    "long": FeatureKind.INTEGER,
    "float": FeatureKind.NUMBER,
    "double": FeatureKind.NUMBER,
    "boolean": FeatureKind.BOOLEAN,
    "string": FeatureKind.TEXT,
}
#: Files for building an environment; named so that nobody wonders.
_ENVIRONMENT = ("conda.yaml", "python_env.yaml", "requirements.txt", "MLproject", "registered_model_meta")
#: Fields of MLmodel that are remembered in the lineage and change nothing.
_FACTS = (
    *("artifact_path", "mlflow_version", "model_id", "model_uuid", "run_id", "utc_time_created", "metadata"),
    *("model_size_bytes", "name", "registered_name", "model_version"),
)
_READ = frozenset(
    {*_FACTS, "flavors", "signature", "saved_input_example_info", "is_signature_from_type_hint"}
    | {"type_hint_from_example", "prompts", "resources", "databricks_runtime"}
)
_FLAVOR_READ: dict[str, frozenset[str]] = {
    "sklearn": frozenset({"pickled_model", "serialization_format", "sklearn_version", "code", "skops_trusted_types"}),
    "onnx": frozenset({"data", "onnx_version", "code"}),
    "python_function": frozenset(
        {"loader_module", "model_path", "data", "python_version", "predict_fn", "env", "code", "streamable"}
    ),
}
_WHY: dict[str, str] = {
    "onnx.providers": "models run on the CPU",
    "onnx.onnx_session_options": "ONNX Runtime is set up by Modelyard",
    "resources": "a server process of Modelyard opens no connection to other services",
    "prompts": "they are for language models",
    "type_hint": "rows are checked against the signature",
}
_ANSWERS = {"predict_proba": "probabilities", "decision_function": "scores"}


def marks(view: View, environ: Mapping[str, str]) -> list[str]:
    """MLmodel here, or in artifacts, as a logged model has it."""
    del environ
    return [mark for mark in (MLMODEL, f"artifacts/{MLMODEL}") if view.has(mark)][:1]


def read(view: View, environ: Mapping[str, str]) -> Folder:
    """The one model of the folder."""
    del environ
    inner = view if view.has(MLMODEL) else view.sub("artifacts")
    model = _Model(inner, view)
    try:
        member, refusal = model.read(), None
    except ModelyardError as exc:
        member, refusal = None, Refusal(model.name, exc.detail, exc.hint)
    return Folder(
        "mlflow",
        view.path,
        (member,) if member else (),
        (refusal,) if refusal else (),
        tuple(model.settings),
        notes=tuple(model.notes),
    )


class _Model:
    def __init__(self, view: View, outer: View) -> None:
        self._view = view
        self._where = outer.label(view.path / MLMODEL)
        self._document = view.table(MLMODEL)
        self.settings: list[Setting] = []
        self.notes: list[str] = []
        self.name = self._name(outer)

    def _name(self, outer: View) -> str:
        if outer.has(_META):  # a logged model of MLflow 3: its folder is an id, its name is in meta.yaml
            named = outer.table(_META).get("name")
            if isinstance(named, str) and named:
                return named
        return outer.name

    def read(self) -> Member:
        """The model file with all that MLmodel says of it."""
        flavors = self._document.get("flavors")
        if not isinstance(flavors, dict) or not flavors:
            raise InvalidModel(what=f"{self._where} names no flavors", hint="save the model again with MLflow")
        flavor, file = self._file(flavors)
        self._name_the_rest(flavors)
        function = flavors.get("python_function") or {}
        path = self._view.inside(file)
        if path.is_dir():  # mlflow.onnx and older sklearn models may be given the folder around
            path = self._view.inside(f"{file}/{'model.onnx' if flavor == 'onnx' else 'model.pkl'}")
        beside = [self._view.inside(name) for name in self._view.files() if flavor == "onnx" and name.endswith(".data")]
        return Member(
            name=self.name,
            path=path,
            formats=ONNX if flavor == "onnx" else SKLEARN,
            declared=self._declared(str(function.get("predict_fn") or "predict"), flavor),
            example=self._example(),
            beside=tuple(beside),
            facts={key: self._document[key] for key in _FACTS if self._document.get(key) not in (None, {}, [])},
        )

    def _file(self, flavors: Mapping[str, Any]) -> tuple[str, str]:
        for flavor, key in (("sklearn", "pickled_model"), ("onnx", "data")):
            about = flavors.get(flavor)
            if isinstance(about, dict) and isinstance(about.get(key), str):
                return flavor, about[key]
        function = flavors.get("python_function")
        loader = str(function.get("loader_module", "")) if isinstance(function, dict) else ""
        if loader in _LOADERS:
            assert isinstance(function, dict)
            file = function.get("model_path") or function.get("data")
            if isinstance(file, str):
                return _LOADERS[loader], file
        others = [name for name in flavors if name != "python_function"]
        if others:
            raise InvalidModel(
                what=f"its flavor is {', '.join(others)}; sklearn and onnx are read",
                hint="convert it to ONNX and save that with mlflow.onnx.save_model",
            )
        raise InvalidModel(
            what=f"it is a Python function of its own (loader {loader or 'none'}), which is code",
            hint="import the model that it wraps",
        )

    def _declared(self, function: str, flavor: str) -> Declared:
        signature = self._document.get("signature")
        answer = _ANSWERS.get(function, "")
        if function not in {"predict", *_ANSWERS}:
            why = f"asked for {function}(); the model answers with predict()"
            self.settings.append(Setting(self._where, "python_function.predict_fn", why))
        if not isinstance(signature, dict):
            return Declared(answer=answer)
        if self._listed(signature, "params"):
            for item in self._listed(signature, "params"):
                why = "a model is asked rows only, without parameters"
                self.settings.append(Setting(self._where, f"signature.params.{item.get('name', '?')}", why))
        inputs = self._listed(signature, "inputs")
        if inputs and inputs[0].get("type") == "tensor":
            ports = [_port(item, self._where) for item in inputs]
            if flavor == "sklearn":  # it takes any kind of number: only the width of its one matrix says something
                ports = [Port("", "", port.shape) for port in ports if port.datatype != str(Datatype.BYTES)]
            return Declared(inputs=tuple(ports), answer=answer)
        return Declared(columns=tuple(self._column(item, at) for at, item in enumerate(inputs)), answer=answer)

    def _listed(self, signature: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
        """A part of the signature: MLflow keeps JSON in a text."""
        text = signature.get(key)
        if not text:
            return []
        try:
            items = json.loads(text) if isinstance(text, str) else text
        except (ValueError, RecursionError) as exc:
            raise InvalidModel(what=f"{self._where}: the {key} of its signature are not JSON") from exc
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise InvalidModel(what=f"{self._where}: the {key} of its signature are not a list")
        return items

    def _column(self, item: Mapping[str, Any], at: int) -> Column:
        kind = _KINDS.get(str(item.get("type")))
        name = str(item.get("name") or f"f{at}")
        if kind is None:
            raise InvalidModel(what=f"its column {name!r} is {item.get('type')}; numbers, booleans and text are read")
        return Column(name, kind, required=bool(item.get("required", not item.get("optional", False))))

    def _example(self) -> Example | None:
        about = self._document.get("saved_input_example_info")
        if not isinstance(about, dict):
            return None
        file = str(about.get("artifact_path", "input_example.json"))
        try:
            return _table(about, self._view.json(file))
        except (ModelyardError, KeyError, TypeError, ValueError) as exc:
            why = exc.detail if isinstance(exc, ModelyardError) else "it is no table of rows"
            self.settings.append(Setting(self._where, "saved_input_example_info", f"{file} is not used: {why}"))
            return None

    def _name_the_rest(self, flavors: Mapping[str, Any]) -> None:
        for key, value in self._document.items():
            if key not in _READ and value not in (None, [], {}, False):
                self.settings.append(Setting(self._where, key, _WHY.get(key, "no field of MLmodel that is known here")))
            elif key in {"prompts", "resources"} and value:
                self.settings.append(Setting(self._where, key, _WHY[key]))
        for flavor, about in flavors.items():
            if flavor not in _FLAVOR_READ:
                self.settings.append(Setting(self._where, f"flavors.{flavor}", "the other flavor is imported"))
                continue
            for key, value in (about if isinstance(about, dict) else {}).items():
                self._name_of_flavor(flavor, key, value)
        present = [name for name in _ENVIRONMENT if self._view.has(name)]
        if present:
            self.notes.append(f"{', '.join(present)}: not needed, a served model is ONNX and needs no environment")

    def _name_of_flavor(self, flavor: str, key: str, value: Any) -> None:
        if value in (None, [], {}, False):
            return
        if key == "code":
            why = "code of the folder is never imported; a model that needs it is refused"
            self.settings.append(Setting(self._where, f"flavors.{flavor}.code", why))
        elif key not in _FLAVOR_READ[flavor]:
            usual = key == "providers" and value[-1:] == ["CPUExecutionProvider"]  # what MLflow writes for everyone
            if not usual:
                why = _WHY.get(f"{flavor}.{key}", "no field of this flavor that is known here")
                self.settings.append(Setting(self._where, f"flavors.{flavor}.{key}", why))


def _table(about: Mapping[str, Any], found: Any) -> Example:
    """The rows of an example, as a table or as a matrix without names."""
    kind = about.get("type")
    if kind == "ndarray":
        rows = [list(row) for row in found["inputs"]]
        columns = [f"f{at}" for at in range(len(rows[0]))] if rows else []
    elif kind == "dataframe" and about.get("pandas_orient", "split") == "split":
        columns, rows = [str(name) for name in found["columns"]], [list(row) for row in found["data"]]
    else:
        raise ValueError(f"an example of type {kind}")
    plain = (str, int, float, bool, type(None))
    if not rows or any(len(row) != len(columns) or not all(isinstance(item, plain) for item in row) for row in rows):
        raise ValueError("ragged, nested or empty")
    return Example(tuple(columns), tuple(map(tuple, rows)))


def _port(item: Mapping[str, Any], where: str) -> Port:
    about = item.get("tensor-spec")
    if not isinstance(about, dict) or not isinstance(about.get("shape"), Sequence):
        raise InvalidModel(what=f"{where}: an input of its signature says neither type nor shape")
    shape = tuple(axis if isinstance(axis, int) else ANY for axis in about["shape"])
    return Port(str(item.get("name") or ""), _datatype(str(about.get("dtype"))), (ANY, *shape[1:]))


def _datatype(dtype: str) -> str:
    """The protocol's name of a numpy type; texts and objects are BYTES."""
    if dtype in {"object", "str"} or dtype.startswith(("<U", "|S", "|O")):
        return str(Datatype.BYTES)
    named = {str(datatype.dtype): datatype for datatype in Datatype if datatype.carried is datatype}
    return str(named.get(dtype, ""))

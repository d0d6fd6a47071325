"""MLServer: model-settings.json files (one a model, at any depth), settings.json, and MLSERVER_* variables.

Server settings: variables over settings.json. Model settings: a model-settings.json over variables, as MLServer reads
them, so that KServe's ``MLSERVER_MODEL_URI`` does not hide the file that a folder names itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from modelyard.core.errors import InvalidModel, ModelyardError
from modelyard.core.signature import ANY
from modelyard.model.declared import Declared, Port
from modelyard.model.folders import ONNX, SKLEARN, Folder, Member, Refusal, Serving, Setting, View, read_as

MODEL_SETTINGS = "model-settings.json"
SETTINGS = "settings.json"
ENVIRONMENT = "environment"
_SERVER, _MODEL = "MLSERVER_", "MLSERVER_MODEL_"
#: Variables that say where the folder is; whoever found it has obeyed them.
_WHERE = frozenset({"MLSERVER_MODELS_DIR", "MLSERVER_PATH", "MLSERVER_MODEL_REPOSITORY_ROOT"})
_SKLEARN_FILES = ("model.joblib", "model.pickle", "model.pkl")
_ONNX_FILES = ("model.onnx",)
#: What MLServer's scikit-learn runtime calls the outputs that conversion names.
_SKLEARN_OUTPUTS = {
    "label": "predict",
    "prediction": "predict",
    "probabilities": "predict_proba",
    "output": "transform",
}
#: Package of the implementation -> what to do with its models.
_OTHERS: dict[str, str] = {
    "mlserver_xgboost": "its native files are not read: use onnxmltools.convert_xgboost and import the .onnx",
    "mlserver_lightgbm": "its native files are not read: use onnxmltools.convert_lightgbm and import the .onnx",
    "mlserver_catboost": "its native files are not read: model.save_model('model.onnx', format='onnx'), import that",
    "mlserver_huggingface": "export the model with optimum-cli export onnx and import the .onnx",
    "mlserver_alibi_explain": "explainers are not imported",
    "mlserver_alibi_detect": "drift detectors are not imported",
    "mlserver_llm": "language models are not served",
}
_MEASURED = "which requests share a call is measured; to change it: modelyard serve --tune "
_KEPT = "answers are kept for whoever asks for it: modelyard serve --tune cache_bytes=64MiB"
_SERVER_READ = frozenset({"host", "http_port", "grpc_port", "parallel_workers"})
#: Server settings that change nothing when they have one of these values.
_SERVER_USUAL: dict[str, tuple[Any, ...]] = {
    "debug": (False,),
    "load_models_at_startup": (True,),
    "metrics_endpoint": ("/metrics",),
    "model_repository_root": (".", "./", ""),
    "extensions": ([],),
    "kafka_enabled": (False,),
    "cache_enabled": (False,),
    "root_path": ("",),
}
_SERVER_WHY: dict[str, str] = {
    "debug": "modelyard serve -v says more",
    "load_models_at_startup": "all models of the folder are served from the start",
    "model_repository_root": "give that folder: modelyard serve DIR",
    "model_repository_implementation": "code of the folder is never run",
    "metrics_endpoint": "metrics are at /metrics",
    "metrics_port": "metrics are on the HTTP port, at /metrics",
    "metrics_dir": "workers share their metrics in memory",
    "metrics_rest_server_prefix": "metrics are called modelyard_...",
    "grpc_max_message_length": "modelyard serve --max-body-mb N limits every message",
    "root_path": "a gateway in front takes the path away",
    "cors_settings": "a gateway in front answers for browsers of other sites",
    "gzip_enabled": "answers are compressed when the client asks for it",
    "cache_enabled": _KEPT,
    "cache_size": _KEPT,
    "tracing_server": "requests are not traced",
    "logging_settings": "logs have one form",
    "use_structured_logging": "logs have one form",
    "server_name": "the server says modelyard",
    "server_version": "the server says its own version",
    "extensions": "the extensions are Modelyard's own",
    "environments_dir": "a served model is ONNX and needs no environment",
    "parallel_workers_timeout": "modelyard serve --grace SECONDS",
}
_KAFKA = "there is no Kafka consumer; call the model from one"
_MODEL_READ = frozenset({"name", "implementation", "parameters", "inputs", "outputs"})
_MODEL_USUAL: dict[str, tuple[Any, ...]] = {
    "max_batch_size": (0, 1),
    "max_batch_time": (0, 0.0),
    "cache_enabled": (False,),
    "warm_workers": (True, False),
    "versions": ([],),
    "platform": ("",),
}
_MODEL_WHY: dict[str, str] = {
    "platform": "the served model is ONNX, and says so",
    "versions": "versions of libraries are told by the file",
    "max_batch_size": _MEASURED + "batch_rows=N",
    "max_batch_time": _MEASURED + "window_s=SECONDS",
    "cache_enabled": _KEPT,
    "parallel_workers": "workers are set for the whole server: modelyard serve --workers N",
    "parameters.content_type": "a request says what it holds by its datatypes",
    "parameters.format": "the format is told by the file's bytes",
    "parameters.environment_path": "a served model is ONNX and needs no environment",
    "parameters.environment_tarball": "a served model is ONNX and needs no environment",
    "parameters.inference_pool_gid": "every worker serves every model",
    "parameters.autogenerate_inference_pool_gid": "every worker serves every model",
}
_PARAMETERS_READ = frozenset({"uri", "version"})
_UNKNOWN = "no setting of MLServer that is known here"


def marks(view: View, environ: Mapping[str, str]) -> list[str]:
    """A model-settings.json at any depth; without one, the variable that stands in for it."""
    return view.find(MODEL_SETTINGS) or [name for name in (f"{_MODEL}IMPLEMENTATION",) if environ.get(name)]


def read(view: View, environ: Mapping[str, str]) -> Folder:
    """Every model of the folder, and how MLServer would have been started on it."""
    found = view.find(MODEL_SETTINGS)
    variables = _Variables(environ)
    settings, serving = _server(view, variables)
    models = [_Model(view, path, variables.model, many=len(found) > 1) for path in found or [""]]
    members: list[Member] = []
    refusals: list[Refusal] = []
    notes: list[str] = []
    for model in models:
        try:
            members += model.read()
        except ModelyardError as exc:
            refusals.append(Refusal(model.name, exc.detail, exc.hint))
        refusals += model.refusals
        settings += model.settings
        notes += model.notes
    return Folder(
        "mlserver",
        view.path,
        tuple(sorted(members, key=lambda each: (each.name, _order(each.version)))),
        tuple(refusals),
        tuple(dict.fromkeys(settings)),
        serving,
        tuple(dict.fromkeys(notes)),
    )


def _order(version: str) -> tuple[int, str]:
    return (int(version) if version.isdigit() else 0, version)


@dataclass
class _Variables:
    """MLSERVER_* variables, told apart: settings of the server, settings of a model."""

    environ: Mapping[str, str]
    server: dict[str, str] = field(default_factory=dict)
    model: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.environ.items():
            if name in _WHERE or not name.startswith(_SERVER) or name == "MLSERVER_ENV_TARBALL":
                continue
            if name.startswith(_MODEL) and not name.startswith("MLSERVER_MODEL_REPOSITORY_"):
                self.model[name.removeprefix(_MODEL).lower()] = value
            else:
                self.server[name.removeprefix(_SERVER).lower()] = value


def _server(view: View, variables: _Variables) -> tuple[list[Setting], Serving]:
    written = view.table(SETTINGS) if view.has(SETTINGS) else {}
    said = {name: (SETTINGS, value) for name, value in written.items()}
    said |= {name: (f"{_SERVER}{name.upper()}", value) for name, value in variables.server.items()}
    settings = []
    for name, (where, value) in said.items():
        if name in _SERVER_READ or _usual(value, _SERVER_USUAL.get(name, ())) or value is None:
            continue
        if name == "metrics_port" and str(value) == str(said.get("http_port", ("", 8080))[1]):
            continue
        why = _KAFKA if name.startswith("kafka_") else _SERVER_WHY.get(name, _UNKNOWN)
        file, shown = (SETTINGS, name) if where == SETTINGS else (ENVIRONMENT, where)
        settings.append(Setting(file, shown, why))
    serving = Serving(
        host=str(said["host"][1]) if "host" in said else None,
        port=_number(said, "http_port", 0, 65535),
        grpc_port=_number(said, "grpc_port", 0, 65535),
        workers=None if (workers := _number(said, "parallel_workers", 0, 256)) is None else max(1, workers),
        said={name: said[name][0] for name in _SERVER_READ & said.keys()},
    )
    return settings, serving


def _usual(value: Any, usual: Iterable[Any]) -> bool:
    """Whether the setting says what holds anyway; a variable says it in words."""
    return any(value == each or str(value).lower() == str(each).lower() for each in usual)


def _number(said: Mapping[str, tuple[str, Any]], name: str, low: int, high: int) -> int | None:
    if name not in said:
        return None
    where, value = said[name]
    text = str(value)
    if isinstance(value, bool) or not text.isdigit() or not low <= int(text) <= high:
        label = where if where.startswith(_SERVER) else f"{where}: {name}"
        raise InvalidModel(what=f"{label} is {text[:40]!r}, not a whole number from {low} to {high}")
    return int(text)


class _Model:
    """One model-settings.json, or the variables in its place."""

    def __init__(self, view: View, path: str, variables: Mapping[str, str], *, many: bool) -> None:
        self._root = view
        self._where = path or ENVIRONMENT
        folder = path.rpartition("/")[0]
        self._view = view.sub(folder) if folder else view
        self.name = self._view.name
        self._path = path
        self._variables = dict(variables)
        self._many = many
        self.settings: list[Setting] = []
        self.refusals: list[Refusal] = []
        self.notes: list[str] = []

    def read(self) -> list[Member]:
        """Its member; several where it points at a folder with several."""
        document = self._root.table(self._path) if self._path else {}
        parameters = document.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise InvalidModel(what=f"{self._where}: parameters are not an object")
        name, uri, version, implementation = self._merged(document, parameters)
        self.name = name or self._view.name
        self._name_the_rest(document, parameters)
        package = implementation.rpartition(".")[0]
        if package in _OTHERS or implementation in {"mlserver.models.XGBoostModel"}:
            hint = _OTHERS.get(package, _OTHERS["mlserver_xgboost"])
            self.refusals.append(Refusal(self.name, f"its implementation is {implementation}", hint))
            return []
        if package == "mlserver_mlflow":
            return self._mlflow(uri, version)
        files, formats = self._runtime(implementation)
        if not files:
            why = f"its implementation is {implementation}, which is code of its own and is never run here"
            self.refusals.append(Refusal(self.name, why, "import the model file that it loads"))
            return []
        path = self._view.inside(self._found(uri, files))
        declared = self._declared(document, sklearn=formats is SKLEARN)
        beside = tuple(path.parent / n for n in View(path.parent, self._root.root).files() if n != path.name)
        return [
            Member(
                name=self.name,
                path=path,
                formats=formats,
                version=version,
                declared=declared,
                beside=beside if formats is ONNX else (),
            )
        ]

    def _merged(self, document: Mapping[str, Any], parameters: Mapping[str, Any]) -> tuple[str, str, str, str]:
        """What the file says, else what the variables say; a variable that the file overrules is named."""
        found = []
        for key, source in (
            ("name", document),
            ("uri", parameters),
            ("version", parameters),
            ("implementation", document),
        ):
            written, variable = source.get(key), self._variables.get(key)
            if written is not None and not isinstance(written, str):
                raise InvalidModel(what=f"{self._where}: {key} is not a text")
            if self._many and key in {"name", "uri"} and variable:
                why = "the folder has several models, each with its own"
                self.settings.append(Setting(ENVIRONMENT, f"{_MODEL}{key.upper()}", why))
                variable = None
            if written and variable and written != variable:
                why = f"{self._where} says {written}, which holds, as in MLServer"
                self.settings.append(Setting(ENVIRONMENT, f"{_MODEL}{key.upper()}", why))
            found.append(written or variable or "")
        return found[0], found[1], found[2], found[3]

    def _runtime(self, implementation: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Well-known files and formats of a runtime; nothing for one that is not known."""
        package, _, name = implementation.rpartition(".")
        if (
            package in {"mlserver_sklearn", "mlserver_sklearn.sklearn"}
            or implementation == "mlserver.models.SKLearnModel"
        ):
            return _SKLEARN_FILES, SKLEARN
        if package.startswith("mlserver_onnx") or name.lower() in {"onnxmodel", "onnxruntimemodel"}:
            return _ONNX_FILES, ONNX
        if not implementation:
            self.notes.append(f"{self._where} names no implementation; the file tells what it is")
            return (*_SKLEARN_FILES, *_ONNX_FILES), (*SKLEARN, *ONNX)
        return (), ()

    def _found(self, uri: str, files: tuple[str, ...]) -> str:
        """The model file: the one that `uri` names, else a well-known one in the folder that it names."""
        if "://" in uri:
            raise InvalidModel(
                what=f"its uri is {uri[:120]!r}; only files in the folder are read", hint="copy it there"
            )
        folder = uri or "."
        place = self._view.inside(folder)
        if place.is_file():
            return folder
        inner = View(place, self._root.root)
        for name in files:
            if inner.has(name):
                return str(place / name)
        seen = ", ".join(inner.files()[:8]) or "no files"
        raise InvalidModel(
            what=f"there is no {' or '.join(files)} in its folder",
            cause=f"it has: {seen}",
            hint='name the file: "parameters": {"uri": "./FILE"}',
        )

    def _mlflow(self, uri: str, version: str) -> list[Member]:
        inner = self._view.sub(uri) if uri else self._view
        folder = read_as("mlflow", inner)
        below = self._root.label(inner.path)
        prefix = "" if below == "." else f"{below}/"
        self.settings += [replace(item, where=f"{prefix}{item.where}") for item in folder.settings]
        self.refusals += [replace(item, name=self.name) for item in folder.refusals]
        self.notes += folder.notes
        return [replace(member, name=self.name, version=version) for member in folder.members]

    def _declared(self, document: Mapping[str, Any], *, sklearn: bool) -> Declared:
        inputs = [_port(item, self._where) for item in document.get("inputs") or ()]
        outputs = [_port(item, self._where) for item in document.get("outputs") or ()]
        if not sklearn:
            return Declared(inputs=tuple(inputs), outputs=tuple(outputs))
        # The scikit-learn runtime hands over whatever tensor comes, so its metadata are words for clients.
        for port in inputs:
            if port.datatype not in {"", "FP64", "BYTES"}:
                why = "numbers are sent to a converted model as FP64; what is sent as another type is refused"
                self.settings.append(Setting(self._where, f"inputs.{port.name}.datatype", why))
        width = [Port("", "", port.shape) for port in inputs if port.shape and len(inputs) == 1]
        name = inputs[0].name if len(inputs) == 1 and inputs[0].datatype != "BYTES" else ""
        return Declared(inputs=tuple(width) if name else (), input_name=name, output_names=_SKLEARN_OUTPUTS)

    def _name_the_rest(self, document: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
        for name, value in document.items():
            if name not in _MODEL_READ and not _usual(value, _MODEL_USUAL.get(name, ())) and value is not None:
                self.settings.append(Setting(self._where, name, _MODEL_WHY.get(name, _UNKNOWN)))
        for name, value in parameters.items():
            if name == "extra" and isinstance(value, dict):
                why = "a runtime's own setting; the model runs on ONNX Runtime"
                self.settings += [Setting(self._where, f"parameters.extra.{key}", why) for key in value]
            elif name not in _PARAMETERS_READ and value is not None:
                why = _MODEL_WHY.get(f"parameters.{name}", _UNKNOWN)
                self.settings.append(Setting(self._where, f"parameters.{name}", why))
        for name, value in self._variables.items():
            read = name in {"name", "implementation", *_PARAMETERS_READ}
            if not read and not _usual(value, _MODEL_USUAL.get(name, ())):
                why = _MODEL_WHY.get(name) or _MODEL_WHY.get(f"parameters.{name}", _UNKNOWN)
                self.settings.append(Setting(ENVIRONMENT, f"{_MODEL}{name.upper()}", why))


def _port(item: Any, where: str) -> Port:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise InvalidModel(what=f"{where}: an input or output is not an object with a name")
    shape = item.get("shape")
    if shape is not None and not (isinstance(shape, list) and all(isinstance(axis, int) for axis in shape)):
        raise InvalidModel(what=f"{where}: the shape of {item['name']!r} is not a list of whole numbers")
    return Port(item["name"], str(item.get("datatype") or ""), None if not shape else (ANY, *shape[1:]))

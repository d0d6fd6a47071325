"""Triton: a model repository, or one model of it, with ONNX models; config.pbtxt is read field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modelyard.core.errors import InvalidModel, ModelyardError
from modelyard.core.signature import ANY
from modelyard.model.declared import Declared, Port
from modelyard.model.folders import ONNX, Folder, Member, Refusal, Setting, View
from modelyard.model.folders._pbtxt import Message, parse

CONFIG = "config.pbtxt"
_MODEL = "model.onnx"
_TYPES = {"TYPE_STRING": "BYTES"}  # all others are the protocol's own names behind TYPE_
#: Fields of a configuration that change nothing here, and what does the same.
_PASSED_OVER: dict[str, str] = {
    "max_batch_size": "a request may have any number of rows; nothing limits them but --max-body-mb",
    "dynamic_batching": "which requests share a call is measured; to change it: modelyard serve --tune batch_rows=N",
    "instance_group": "a model is loaded once in every worker: modelyard serve --workers N",
    "optimization": "ONNX Runtime is set up by Modelyard",
    "parameters": "ONNX Runtime is set up by Modelyard",
    "model_warmup": "golden rows are asked at every load instead",
    "response_cache": "answers are kept for whoever asks for it: modelyard serve --tune cache_bytes=64MiB",
    "metric_tags": "metrics are labelled with model and version only",
    "model_metrics": "the histograms of Modelyard's metrics are fixed",
    "model_repository_agents": "no program touches the files; bundles are verified by their digest",
    "cc_model_filenames": "it is for GPUs, and models run on the CPU",
    "runtime": "models run on ONNX Runtime",
}
#: Fields without which the model would answer something else: it is refused.
_REFUSED: dict[str, tuple[str, str]] = {
    "ensemble_scheduling": ("it is an ensemble, a pipeline of other models", "import its ONNX models and call each"),
    "sequence_batching": ("it keeps state between the requests of a sequence", ""),
    "batch_input": ("it takes extra inputs that Triton makes from the batch", ""),
    "batch_output": ("its outputs are cut out of a batch by Triton", ""),
    "model_operations": ("it needs a library of custom operators", "export it with standard ONNX operators"),
}
_READ = frozenset({"name", "platform", "backend", "version_policy", "input", "output", "default_model_filename"})
_PORT_READ = frozenset({"name", "data_type", "dims", "label_filename", "reshape"})
_PORT_PASSED_OVER: dict[str, str] = {
    "format": "axes are taken as the graph has them",
    "optional": "the input must always be sent",
    "allow_ragged_batch": "requests of other shapes do not share a call",
    "is_shape_tensor": "it is for TensorRT",
    "is_non_linear_format_io": "it is for TensorRT",
}


def marks(view: View, environ: Mapping[str, str]) -> list[str]:
    """config.pbtxt here or one folder down, else version folders with an ONNX model, as Triton completes them."""
    del environ
    if view.has(CONFIG):
        return [CONFIG]
    if numbered := _numbers(view):
        return [f"{number}/{_MODEL}" for number in numbered if view.has(f"{number}/{_MODEL}")]
    return [
        mark
        for name in view.folders()
        for mark in (f"{name}/{CONFIG}", *(f"{name}/{number}/{_MODEL}" for number in _numbers(view.sub(name))))
        if view.has(mark)
    ]


def read(view: View, environ: Mapping[str, str]) -> Folder:
    """Every model of the repository, or the one model that this folder is."""
    names = [""] if view.has(CONFIG) or _numbers(view) else _models(view)
    members: list[Member] = []
    refusals: list[Refusal] = []
    settings: list[Setting] = []
    for name in names:
        model = _Model(view, name)
        try:
            found, refusal = model.read()
        except ModelyardError as exc:
            found, refusal = [], Refusal(model.name, exc.detail, exc.hint)
        members += found
        refusals += [refusal] if refusal else []
        settings += model.settings
    return Folder("triton", view.path, tuple(members), tuple(refusals), tuple(settings))


def _models(view: View) -> list[str]:
    return [name for name in view.folders() if view.has(f"{name}/{CONFIG}") or _numbers(view.sub(name))]


def _numbers(view: View) -> list[int]:
    """Version folders: whole numbers without leading zeros, smallest first."""
    return sorted(int(name) for name in view.folders() if name.isdigit() and name.isascii() and name[0] != "0")


class _Model:
    """One model's folder: its configuration, and its versions."""

    def __init__(self, view: View, name: str) -> None:
        self._view = view.sub(name) if name else view
        self._where = f"{name}/{CONFIG}" if name else CONFIG
        self._config: Message = {}
        self.name = name or view.name
        self.settings: list[Setting] = []

    def read(self) -> tuple[list[Member], Refusal | None]:
        """Its versions, or why it cannot be imported."""
        if self._view.has(CONFIG):
            self._config = parse(self._view.text(CONFIG), self._where)
        self.settings += self._named()
        named = self._one("name", "")
        if named and named != self.name and self._where != CONFIG:
            raise InvalidModel(what=f"{self._where} calls the model {named!r}, its folder {self.name!r}; Triton too")
        self.name = named or self.name
        if refusal := self._refusal():
            return [], refusal
        declared = self._declared()
        return [self._member(number, declared) for number in self._versions()], None

    def _one(self, name: str, default: Any) -> Any:
        return self._config[name][-1] if name in self._config else default

    def _refusal(self) -> Refusal | None:
        for name, (why, hint) in _REFUSED.items():
            if name in self._config:
                return Refusal(self.name, why, hint)
        decoupled = any(block.get("decoupled", [False])[-1] for block in self._messages("model_transaction_policy"))
        if decoupled:
            return Refusal(self.name, "it answers one request with several answers (decoupled)")
        kind = str(self._one("backend", "") or self._one("platform", ""))
        if kind not in {"", "onnxruntime", "onnxruntime_onnx"}:
            hint = "its Python code is never run here" if kind == "python" else "export the model to ONNX"
            return Refusal(self.name, f"its backend is {kind!r}; only ONNX models are read", hint)
        return None

    def _messages(self, name: str) -> list[Message]:
        return [value for value in self._config.get(name, ()) if isinstance(value, dict)]

    def _named(self) -> Iterator[Setting]:
        known = _READ | _REFUSED.keys() | {"model_transaction_policy"}
        for name, values in self._config.items():
            if name == "parameters":
                for block in self._messages(name):
                    key = str(block.get("key", ["?"])[-1])
                    yield Setting(self._where, f"parameters.{key}", _PASSED_OVER[name])
            elif name == "max_batch_size" and values[-1] == 0:
                continue  # it says: the first axis is the model's own
            elif name not in known:
                unknown = "no field of a Triton configuration that is known here"
                yield Setting(self._where, name, _PASSED_OVER.get(name, unknown))
        for side in ("input", "output"):
            for port in self._messages(side):
                for name in port.keys() - _PORT_READ:
                    label = f"{side}.{port.get('name', ['?'])[-1]}.{name}"
                    why = _PORT_PASSED_OVER.get(name, "no field of a Triton configuration that is known here")
                    yield Setting(self._where, label, why)

    def _declared(self) -> Declared:
        batched = self._one("max_batch_size", 0) or 0
        return Declared(
            inputs=tuple(self._port("input", port, batched=batched > 0) for port in self._messages("input")),
            outputs=tuple(self._port("output", port, batched=batched > 0) for port in self._messages("output")),
        )

    def _port(self, side: str, port: Message, *, batched: bool) -> Port:
        name = str(port.get("name", [""])[-1])
        datatype = str(port.get("data_type", [""])[-1])
        dims = port.get("dims")
        reshape = port.get("reshape")
        if reshape and isinstance(reshape[-1], dict):
            inner = reshape[-1].get("shape", [])
            if {tuple(dims or ()), tuple(inner)} != {(), (1,)}:  # a row of one number is taken either way
                why = "send and expect the shape that the graph has"
                self.settings.append(Setting(self._where, f"{side}.{name}.reshape", why))
            dims = inner
        shape = None if dims is None else (ANY, *dims) if batched else (ANY, *dims[1:])
        if shape is not None and not all(isinstance(axis, int) for axis in shape):
            raise InvalidModel(what=f"{self._where}: the dims of {name!r} are not whole numbers")
        return Port(
            name=name,
            datatype=_TYPES.get(datatype, datatype.removeprefix("TYPE_")),
            shape=shape,
            labels=self._labels(port),
        )

    def _labels(self, port: Message) -> tuple[str, ...]:
        file = str(port.get("label_filename", [""])[-1])
        if not file:
            return ()
        labels = self._view.text(file).splitlines()
        while labels and not labels[-1].strip():
            labels.pop()
        return tuple(label.strip() for label in labels)

    def _versions(self) -> list[int]:
        """The version folders that its policy serves; Triton's own default is the latest one."""
        numbers = _numbers(self._view)
        if not numbers:
            raise InvalidModel(what="it has no version folder (1, 2, ...)", hint=f"{self.name}/1/{_MODEL}")
        policy = next(iter(self._messages("version_policy")), {})
        if "all" in policy:
            return numbers
        if "specific" in policy:
            wanted = [number for block in policy["specific"] for number in block.get("versions", [])]
            missing = [number for number in wanted if number not in numbers]
            if missing:
                raise InvalidModel(what=f"its version_policy names version {missing[0]}, which is not there")
            return sorted(wanted)
        block = policy.get("latest", [{}])[-1]
        return numbers[-max(1, int(block.get("num_versions", [1])[-1])) :]

    def _member(self, number: int, declared: Declared) -> Member:
        file = str(self._one("default_model_filename", _MODEL))
        path = self._view.inside(f"{number}/{file}")
        if path.is_dir():
            raise InvalidModel(what=f"{number}/{file} is a folder, not an ONNX file", hint="put one .onnx file there")
        return Member(
            name=self.name,
            path=path,
            formats=ONNX,
            version=str(number),
            declared=declared,
            beside=_beside(path),
        )


def _beside(path: Path) -> tuple[Path, ...]:
    return tuple(sorted(item for item in path.parent.iterdir() if item.is_file() and item != path))

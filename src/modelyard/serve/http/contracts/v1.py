"""TensorFlow Serving's REST API, which KServe calls protocol v1: addresses, status, metadata and the codecs.

Sources: TensorFlow Serving's REST API and what its server does; KServe's data plane v1 where it adds to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import orjson

from modelyard.core import examples
from modelyard.core.errors import InvalidRequest, ModelyardError
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.manifest import Task
from modelyard.core.schema import ANY_OBJECT, Described, Schema, addresses, body, named, operation, reference
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import Array, Datatype
from modelyard.serve.http.endpoint import Codec, Endpoint
from modelyard.serve.http.errors import JSON, STATUS, protocol_error
from modelyard.serve.http.forms import numeric
from modelyard.serve.http.forms.document import members, parse
from modelyard.serve.http.forms.examples import DEFAULT, ExampleForm, check_name
from modelyard.serve.http.forms.instances import InstanceForm
from modelyard.serve.http.forms.rows import dump_array
from modelyard.serve.http.message import Request, head
from modelyard.serve.http.site import (
    READ_ALL,
    Guarded,
    Handler,
    Route,
    Site,
    Table,
    document,
    predicts,
    reads,
    refusing,
    versions,
)
from modelyard.serve.plane import Roster, ServedModel
from modelyard.serve.replica import Replica

PREFIXES = (b"/v1",)

_HEADS = {status: head(status, JSON) for status in (200, *STATUS.values())}
_DTYPES = {
    Datatype.FP16: "DT_HALF",
    Datatype.BF16: "DT_BFLOAT16",
    Datatype.FP32: "DT_FLOAT",
    Datatype.FP64: "DT_DOUBLE",
    Datatype.BYTES: "DT_STRING",
}


def routes(site: Site, roster: Roster) -> Table:
    """Addresses below ``/v1/models``."""
    table: Table = {b"/v1/models": document({"models": list(roster.models)}, refuse, READ_ALL)}
    for model in roster.models.values():
        table |= _model(site, model)
    return table


def refuse(error: ModelyardError, request: Request) -> tuple[bytes, bytes]:
    """``{"error": sentence}``."""
    del request
    return _HEADS[STATUS[error.kind]], protocol_error(error)


def operations(site: Site, models: Sequence[Described]) -> Mapping[str, Any]:
    """OpenAPI path items of ``/v1/models``."""
    del site
    items: dict[str, Any] = {"/v1/models": {"get": _operation("v1_models", "The models' names.", answer=_OBJECT)}}
    for model in models:
        base = f"/v1/models/{model.name}"
        for address, mark, item in addresses(base, model) + named(f"{base}/labels/", "label", model, model.aliases):
            told = partial(_operation, tag=model.name, answer=_OBJECT)
            items[address] = {**item, "get": told(f"v1_status_{mark}{model.name}", f"Status of {model.name}")}
            items[f"{address}/metadata"] = {
                **item,
                "get": told(f"v1_metadata_{mark}{model.name}", f"Signature of {model.name}"),
            }
            for verb, content in _bodies(model).items():
                name, summary = f"v1_{verb}_{mark}{model.name}", f"TensorFlow Serving: {verb} with {model.name}"
                asked = _operation(name, summary, tag=model.name, **content)
                items[f"{address}:{verb}"] = {**item, "post": asked}
    return items


def _bodies(model: Described) -> dict[str, Schema]:
    """What each verb that the model can is asked and answers."""
    asked = [{name: reference(model, name.capitalize()), "signature_name": _NAME} for name in ("instances", "inputs")]
    given = [{name: reference(model, name.capitalize())} for name in ("predictions", "outputs")]
    question: Schema = {"schema": {"anyOf": [_object(members, closed=True) for members in asked]}}
    answer: Schema = {"schema": {"anyOf": [_object(members) for members in given]}}
    listed: Schema = {
        "schema": _object({"examples": _EXAMPLES, "context": ANY_OBJECT, "signature_name": _NAME}, closed=True)
    }
    if model.rows:
        row = dict(model.rows[0])
        question["example"], listed["example"] = {"instances": [row]}, {"examples": [row]}
        answer["example"] = {"predictions": examples.predictions(model)[:1]}
    bodies = {"predict": _content(question, answer)}
    if model.signature.probabilities:
        bodies["classify"] = _content(listed, {"schema": _results(_SCORES)})
    if model.task == Task.REGRESSION and _number(model.signature) is not None:
        bodies["regress"] = _content(listed, {"schema": _results({"type": ["number", "null"]})})
    return bodies


def _object(members: Schema, *, closed: bool = False) -> Schema:
    """An object whose first member is required; `closed` where no others may stand beside them."""
    alone = {"additionalProperties": False} if closed else {}
    return {"type": "object", "properties": members, "required": [next(iter(members))], **alone}


def _content(asked: Schema, given: Schema) -> Schema:
    return {"requestBody": body({"application/json": asked}), "answer": {"application/json": given}}


def _results(item: Schema) -> Schema:
    listed: Schema = {"type": "array", "items": item}
    return _object({"results": listed, "result": listed})


def _operation(name: str, summary: str, **more: Any) -> Schema:
    return operation(name, summary, refusal="application/json", **more)


_OBJECT: Schema = {"application/json": {"schema": ANY_OBJECT}}
_NAME: Schema = {"type": "string", "description": f"There is one: {DEFAULT}."}
_EXAMPLES: Schema = {"type": "array", "items": ANY_OBJECT, "minItems": 1}
_SCORES: Schema = {
    "type": "array",
    "items": {"type": "array", "items": {"type": ["string", "number", "null"]}, "minItems": 2, "maxItems": 2},
}


def _model(site: Site, model: ServedModel) -> Table:
    base = b"/v1/models/%s" % model.name.encode()
    asked = {
        number: _verbs(replica, site.limits.body_bytes)
        | {b"/metadata": document(_metadata(replica), refuse, reads(model.name))}
        for number, replica in model.versions.items()
    }
    table: Table = {}
    for address, number in (versions(base, model) | _labels(base, model)).items():
        told = sorted(model.versions, reverse=True) if address == base else [number]
        table[address] = Route({b"GET": Guarded(reads(model.name), _status(site, model.name, told))}, refuse)
        table |= {address + verb: route for verb, route in asked[number].items()}
    return table


def _labels(base: bytes, model: ServedModel) -> dict[bytes, int]:
    """Our aliases are its labels."""
    return {
        b"%s/labels/%s" % (base, alias.encode()): number
        for alias, number in model.aliases.items()
        if number in model.versions
    }


def _verbs(replica: Replica, limit_bytes: int) -> Table:
    codecs: dict[bytes, Codec | ModelyardError] = {
        b":predict": _Predict(replica),
        b":classify": _classify(replica),
        b":regress": _regress(replica),
    }
    table: Table = {}
    for verb, codec in codecs.items():
        handler: Handler = (
            refusing(codec) if isinstance(codec, ModelyardError) else Endpoint(replica, codec, refuse, limit_bytes)
        )
        table[verb] = Route({b"POST": Guarded(predicts(replica.name), handler)}, refuse)
    return table


def _status(site: Site, name: str, numbers: Sequence[int]) -> Handler:
    """What TensorFlow Serving says of these versions and KServe of the model, in one object."""
    told = [
        {"version": str(number), "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        for number in numbers
    ]
    bodies = {
        ready: orjson.dumps({"name": name, "ready": ready, "model_version_status": told}) for ready in (True, False)
    }

    def status(request: Request) -> None:
        ready = site.plane.ready
        request.respond(_HEADS[200 if ready else 503], bodies[ready])

    return status


def _metadata(replica: Replica) -> dict[str, Any]:
    """The one signature definition, in the JSON that TensorFlow Serving makes of its messages."""
    signature = replica.signature
    definition = {
        "inputs": {spec.name: _tensor(spec) for spec in signature.inputs},
        "outputs": {spec.name: _tensor(spec) for spec in signature.outputs},
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
    return {
        "model_spec": {"name": replica.name, "signature_name": "", "version": str(replica.version)},
        "metadata": {"signature_def": {"signature_def": {DEFAULT: definition}}},
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    shape = {"dim": [{"size": str(axis), "name": ""} for axis in spec.shape], "unknown_rank": False}
    return {"dtype": _DTYPES.get(spec.datatype, f"DT_{spec.datatype}"), "tensor_shape": shape, "name": f"{spec.name}:0"}


class _Question(msgspec.Struct, forbid_unknown_fields=True):
    instances: msgspec.Raw = msgspec.Raw(b"")
    inputs: msgspec.Raw = msgspec.Raw(b"")
    signature_name: str = ""


_QUESTION = msgspec.json.Decoder(_Question)
_MISFITS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ModelyardError)


class _Predict:
    """Rows (``instances``) or columns (``inputs``), answered in the same format."""

    def __init__(self, replica: Replica) -> None:
        self._form = InstanceForm(replica.signature, replica.name, replica.version)
        self._json = _head(replica)

    def decode(self, request: Request) -> InferRequest:
        """The question; its form is whether it came as columns."""
        body = request.body
        found = numeric.cut(body)
        if found is not None:
            with suppress(*_MISFITS):  # else it has to be looked at
                asked = self._numbers(found)
                if asked is not None:
                    return asked
        return self._any(body)

    def encode(self, asked: InferRequest, given: InferResponse) -> tuple[bytes, bytes]:
        """``predictions`` to rows, ``outputs`` to columns."""
        if asked.form:
            return self._json, b'{"outputs":%s}' % self._form.outputs(given.outputs)
        return self._json, b'{"predictions":%s}' % self._form.predictions(given.outputs)

    def _numbers(self, found: numeric.Cut) -> InferRequest | None:
        """The question of which one large array of numbers was cut out, if that is its rows or its columns."""
        asked = _QUESTION.decode(found.rest)
        whole = bytes(asked.instances or asked.inputs) == numeric.MARK
        if not whole or found.rest.count(b":") != 1 + bool(asked.signature_name):
            return None
        check_name(asked.signature_name, "predict")
        arrays = self._form.numbers(found.texts[0])
        return None if arrays is None else InferRequest(arrays, form=bool(asked.inputs))

    def _any(self, body: bytes | bytearray) -> InferRequest:
        try:
            asked = _QUESTION.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._explain(body)
        text = bytes(asked.instances or asked.inputs)
        # One member beside the name, each said once; anything else has to be looked at.
        said = numeric.colons(body) - numeric.colons(text)
        if (asked.instances and asked.inputs) or said != 1 + bool(asked.signature_name):
            return self._explain(body)
        check_name(asked.signature_name, "predict")
        if asked.inputs:
            return InferRequest(self._form.columns(text), form=True)
        return InferRequest(self._form.rows(text), form=False)

    def _explain(self, body: bytes | bytearray) -> InferRequest:
        """Parse the whole body, which may hold NaN, or say what is wrong with it."""
        asked = members(parse(body), ("instances", "inputs", "signature_name"))
        check_name(asked.get("signature_name", ""), "predict")
        if ("instances" in asked) == ("inputs" in asked):
            raise InvalidRequest(
                what="a question has either instances or inputs", hint='send rows: {"instances": [...]}'
            )
        if "inputs" in asked:
            return InferRequest(self._form.from_columns(asked["inputs"]), form=True)
        return InferRequest(self._form.from_rows(asked["instances"]), form=False)


class _Examples:
    """Rows as ``examples`` of named features; `results` writes what is answered."""

    def __init__(self, replica: Replica, verb: str, output: int, results: Callable[[Array], bytes]) -> None:
        self._form = ExampleForm(replica.signature, replica.name, replica.version, verb)
        self._json = _head(replica)
        self._output = output
        self._results = results

    def decode(self, request: Request) -> InferRequest:
        """The examples as rows."""
        return InferRequest(self._form.decode(request.body))

    def encode(self, asked: InferRequest, given: InferResponse) -> tuple[bytes, bytes]:
        """``results``, as TensorFlow Serving answers, and ``result``, as its documentation says."""
        del asked
        found = self._results(given.outputs[self._output])
        return self._json, b'{"results":%s,"result":%s}' % (found, found)


def _classify(replica: Replica) -> Codec | ModelyardError:
    signature = replica.signature
    if not signature.probabilities:
        return _cannot(replica, "classify", "it gives no probabilities")
    at = signature.output_index(signature.probabilities)
    labels = [str(label) for label in signature.outputs[at].labels]

    def scored(output: Array) -> bytes:
        """For each example its labels with their scores."""
        rows = orjson.loads(dump_array(output))
        pairs = (zip(labels, row if isinstance(row, list) else [row], strict=False) for row in rows)
        return orjson.dumps([list(row) for row in pairs])

    return _Examples(replica, "classify", at, scored)


def _regress(replica: Replica) -> Codec | ModelyardError:
    at = _number(replica.signature)
    if replica.bundle.manifest.task is not Task.REGRESSION or at is None:
        return _cannot(replica, "regress", "it does not predict one number a row")
    return _Examples(replica, "regress", at, dump_array)


def _number(signature: Signature) -> int | None:
    """Where the model's one number a row is, if that is what it predicts."""
    name = signature.prediction or (signature.outputs[0].name if len(signature.outputs) == 1 else "")
    for at, spec in enumerate(signature.outputs):
        if spec.name == name and spec.width == 1 and spec.datatype not in {Datatype.BYTES, Datatype.BOOL}:
            return at
    return None


def _cannot(replica: Replica, verb: str, cause: str) -> ModelyardError:
    return InvalidRequest(
        what=f"{replica.label} cannot {verb}", cause=cause, hint=f"ask /v1/models/{replica.name}:predict"
    )


def _head(replica: Replica) -> bytes:
    return head(200, JSON, b"modelyard-model: " + replica.label.encode())

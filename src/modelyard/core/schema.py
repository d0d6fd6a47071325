"""OpenAPI 3.1: the words in which contracts describe their addresses, and the document that is made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelyard.core import jsonschema, tensorschema
from modelyard.core.signature import Signature

Schema = dict[str, Any]
PROBLEM = "application/problem+json"
ANY_OBJECT: Schema = {"type": "object", "additionalProperties": True}


@dataclass(frozen=True)
class Described:
    """One served model, as far as documents speak of it: its default version, or one that takes or gives other things.

    Parameters
    ----------
    name, version, signature : str, int, Signature
        Of the model and the version that is described.
    summary : str
        One line for people.
    rows : sequence of dict
        Golden rows, as examples.
    answers : sequence
        What ``predict`` answers to them, one a row.
    outputs : mapping of str to sequence
        The model's own answers to `rows`, by output, one a row.
    versions : tuple of int
        Served versions with this signature, which are spoken of together; see `addresses`.
    aliases : tuple of str
        Other names of those versions.
    default : bool
        Whether the bare name means `version`.
    task : str
        What the model does, in the words of `core.manifest.Task`.
    """

    name: str
    version: int
    signature: Signature
    summary: str = ""
    rows: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    answers: Sequence[Any] = field(default_factory=tuple)
    outputs: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    versions: tuple[int, ...] = ()
    aliases: tuple[str, ...] = ()
    default: bool = True
    task: str = ""

    @property
    def title(self) -> str:
        """Beginning of its schemas' names, unlike any other description's."""
        return _title(self.name) + ("" if self.default else f".v{self.version}")


def addresses(base: str, model: Described) -> list[tuple[str, str, Schema]]:
    """How a description's versions are addressed, for a contract's path items.

    Parameters
    ----------
    base : str
        The address of the bare name: ``/v2/models/churn``.
    model : Described
        The model.

    Returns
    -------
    list of (str, str, dict)
        As `named`: the bare address, where it means this description, and those below ``/versions/``.
    """
    bare: list[tuple[str, str, Schema]] = [(base, "", {})] if model.default else []
    return bare + named(f"{base}/versions/", "version", model, [str(number) for number in model.versions])


def named(base: str, word: str, model: Described, names: Sequence[str]) -> list[tuple[str, str, Schema]]:
    """Addresses that begin with `base` and end with one of `names`.

    Returns
    -------
    list of (str, str, dict)
        The address, a mark for the operations' names, and the path item's first members. One address with a parameter
        `word` for a default version; for others each address as it is, since the parameter means the default there.
    """
    if not names:
        return []
    if not model.default:
        return [(f"{base}{name}", f"{word}_{name}_", {}) for name in names]
    values = {"type": "string", "enum": list(names)}
    parameter = {"name": word, "in": "path", "required": True, "schema": values}
    return [(f"{base}{{{word}}}", f"{word}_", {"parameters": [parameter]})]


def only(models: Sequence[Described]) -> Described | None:
    """The default version of the one model that there is, for addresses that name none; None with several or none."""
    defaults = [model for model in models if model.default]
    return defaults[0] if len(defaults) == 1 else None


def openapi(models: Sequence[Described], paths: Mapping[str, Any], version: str) -> Schema:
    """The OpenAPI 3.1 document of these models.

    Parameters
    ----------
    models : sequence of Described
        What is served; `components` holds their schemas that `paths` speak of, as `reference` names them.
    paths : mapping
        Path items by address, as the contracts that are spoken give them.
    version : str
        Of this software.
    """
    schemas: dict[str, Schema] = {"Problem": PROBLEM_BODY}
    for model in models:
        for part, make in _PARTS.items():
            schemas[model.title + part] = make(model)
    used = _referred(paths)
    while more := _referred([schemas[name] for name in used]) - used:
        used |= more
    return {
        "openapi": "3.1.0",
        "info": {"title": "Modelyard", "version": version, "description": "Predictions of the models served here."},
        "paths": _named_apart(paths),
        "components": {"schemas": {name: schema for name, schema in schemas.items() if name in used}},
    }


def _referred(node: Any) -> set[str]:
    """Names of the components that are referred to anywhere below."""
    if isinstance(node, Mapping):
        there = node.get("$ref")
        own = {there.removeprefix(_COMPONENTS)} if isinstance(there, str) and there.startswith(_COMPONENTS) else set()
        return own.union(*(_referred(item) for item in node.values()))
    return set[str]().union(*(_referred(item) for item in node)) if isinstance(node, (list, tuple)) else set()


def _named_apart(paths: Mapping[str, Any]) -> dict[str, Any]:
    """The same path items; of operations with one name, later ones get a number."""
    taken: set[str] = set()
    apart: dict[str, Any] = {}
    for address, item in paths.items():
        apart[address] = dict(item)
        for method, found in item.items():
            if not isinstance(found, Mapping) or "operationId" not in found:
                continue
            name = base = found["operationId"]
            at = 2
            while name in taken:
                name, at = f"{base}_{at}", at + 1
            taken.add(name)
            apart[address][method] = {**found, "operationId": name}
    return apart


def reference(model: Described, part: str) -> Schema:
    """A reference to one of a model's schemas in `openapi`'s document.

    Parameters
    ----------
    model : Described
        The model.
    part : str
        ``Row``, ``Columns`` (where it `has_columns`), ``Answer``; ``Tensors`` and ``TensorsAnswer`` for protocol v2;
        ``Instances`` and ``Predictions``, ``Inputs`` and ``Outputs`` as TensorFlow Serving has them; ``Frames`` and
        ``FramesAnswer`` for MLflow; ``Invocation`` and ``InvocationAnswer`` for clouds, which take any of these.
    """
    return {"$ref": f"{_COMPONENTS}{model.title}{part}"}


def operation(
    name: str, summary: str, *, tag: str = "", answer: Mapping[str, Any], refusal: str | None = PROBLEM, **more: Any
) -> Schema:
    """One OpenAPI operation.

    Parameters
    ----------
    name : str
        Its id; with ``-`` where the model's name has one.
    summary : str
        One line.
    tag : str, optional
        Under which it is listed: a model's name.
    answer : mapping
        Media types of the answer with status 200: ``{"application/json": {"schema": ...}}``; empty for no body.
    refusal : str or None
        Media type of the other answers: a problem, or any object when it is plain JSON; None where nothing is refused.
    more : dict
        Further members: ``parameters``, ``requestBody`` (see `body`), ``description``.
    """
    responses: Schema = {"200": {"description": "Done.", **({"content": dict(answer)} if answer else {})}}
    if refusal is not None:
        schema = {"$ref": "#/components/schemas/Problem"} if refusal == PROBLEM else ANY_OBJECT
        responses["default"] = {"description": "Refused.", "content": {refusal: {"schema": schema}}}
    tags = {"tags": [tag]} if tag else {}
    return {"operationId": name.replace("-", "_"), "summary": summary, **tags, **more, "responses": responses}


def body(content: Mapping[str, Any]) -> Schema:
    """A required request body with these media types."""
    return {"required": True, "content": dict(content)}


def has_columns(signature: Signature) -> bool:
    """Whether rows can be sent as columns: not where a field's own value is a list."""
    return all(spec.features for spec in signature.inputs)


def _title(name: str) -> str:
    """``linear-regression`` -> ``LinearRegression``; no two names give one title."""
    return "".join(part.capitalize() if part[:1].isalpha() else f"_{part}" for part in name.split("-"))


_COMPONENTS = "#/components/schemas/"

#: The body of a refusal.
PROBLEM_BODY: Schema = {
    "type": "object",
    "description": "RFC 9457",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "description": "request id"},
        "code": {"type": "string"},
        "cause": {"type": "string"},
        "hint": {"type": "string"},
        "facts": ANY_OBJECT,
    },
    "required": ["type", "title", "status", "detail"],
}


def _columns(model: Described) -> list[Schema]:
    return [reference(model, "Columns")] if has_columns(model.signature) else []


def _frames(model: Described) -> Schema:
    forms = {part: reference(model, part) for part in ("Row", "Instances", "Inputs")}
    return tensorschema.frames_schema(model.signature, forms)


def _invocation(model: Described) -> Schema:
    """Every JSON that clouds' callers send: a row, rows, columns, MLflow's formats, protocol v2's tensors."""
    forms = [reference(model, part) for part in ("Row", "Instances", "Frames", "Tensors")]
    return {"anyOf": [*forms, *_columns(model)]}


_PARTS: dict[str, Callable[[Described], Schema]] = {
    "Row": lambda model: jsonschema.row_schema(model.signature),
    "Columns": lambda model: jsonschema.columns_schema(model.signature),
    "Answer": lambda model: jsonschema.answer_schema(model.signature),
    "Tensors": lambda model: tensorschema.tensors_schema(model.signature),
    "TensorsAnswer": lambda model: tensorschema.tensors_answer_schema(model.signature),
    "Instances": lambda model: tensorschema.instances_schema(model.signature, reference(model, "Row")),
    "Inputs": lambda model: tensorschema.inputs_schema(model.signature, _columns(model)),
    "Predictions": lambda model: tensorschema.predictions_schema(model.signature),
    "Outputs": lambda model: tensorschema.outputs_schema(model.signature),
    "Frames": _frames,
    "FramesAnswer": lambda model: tensorschema.frames_answer_schema(model.signature, reference(model, "Predictions")),
    "Invocation": _invocation,
    "InvocationAnswer": lambda model: {
        "anyOf": [reference(model, part) for part in ("Answer", "FramesAnswer", "TensorsAnswer")]
    },
}

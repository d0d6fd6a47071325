"""The media types of one model's questions and answers as OpenAPI tells them: schemas, and examples of real rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.core.schema import Described, Schema, has_columns, reference
from modelyard.serve.http.forms import OFFERED, installed
from modelyard.serve.http.forms.delimited import write_lines
from modelyard.serve.http.forms.markup import write_rows
from modelyard.serve.http.forms.npy import NpyForm

_JSON, _CSV, _XML, _PACKED, _NPY = (
    "application/json",
    "text/csv",
    "application/xml",
    "application/vnd.msgpack",
    "application/x-npy",
)
_ROWS = 2  # of an example


def questions(model: Described) -> dict[str, Schema]:
    """Content of the request's body by media type."""
    row = reference(model, "Row")
    shapes: list[Schema] = [row, {"type": "array", "items": row, "minItems": 1}]
    if has_columns(model.signature):
        shapes.append(reference(model, "Columns"))
    content = _content({"anyOf": shapes})
    if not has_columns(model.signature):
        del content[_CSV], content[_XML]
    if not NpyForm.reads(model.signature):
        del content[_NPY]
    if model.rows:
        content[_JSON]["example"] = dict(model.rows[0])
        _add_examples(content, "rows", model.rows[:_ROWS])
    return content


def answers(model: Described) -> dict[str, Schema]:
    """Content of the answer by media type."""
    content = _content(reference(model, "Answer"))
    if not NpyForm.writes(model.signature, full=False):
        del content[_NPY]
    if model.answers:
        content[_JSON]["example"] = {"prediction": list(model.answers[:1])}
        if not isinstance(model.answers[0], (dict, list)):
            _add_examples(content, "predictions", [{"prediction": answer} for answer in model.answers[:_ROWS]])
    return content


def _content(document: Schema) -> dict[str, Schema]:
    """Every form: documents by their schema, text and bytes by their name."""
    content: dict[str, Schema] = {}
    for media in OFFERED:
        if media in {_JSON, _PACKED}:
            content[media] = {"schema": document}
        elif installed(media):
            content[media] = {"schema": {"type": "string", "contentMediaType": media}}
    return content


def _add_examples(content: dict[str, Schema], root: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows as CSV and XML, where those are spoken; a value that may be missing has its column all the same."""
    if _CSV not in content:
        return
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    content[_CSV]["example"] = write_lines(columns)
    content[_XML]["example"] = write_rows(root, columns)

"""The text format, compared with protobuf's own reader over NVIDIA's compiled schema."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.message import Message
from tritonclient.grpc import model_config_pb2

from modelyard.core.errors import InvalidModel
from modelyard.model.folders._pbtxt import parse

CONFIGS = {
    "plain": 'name: "m" platform: "onnxruntime_onnx" max_batch_size: 8',
    "ports": """
        input [ { name: "x", data_type: TYPE_FP32, dims: [ -1, 4 ] },
                { name: 'y' data_type: TYPE_STRING dims: 1 dims: 2 } ]
        output { name: "z"; data_type: TYPE_INT64; dims: [] label_filename: "a" "b" }
        """,
    "blocks": """
        version_policy: { specific: { versions: [1, 0x3] } }  # hexadecimal
        dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 preserve_ordering: true }
        instance_group < count: 2 kind: KIND_CPU >
        parameters { key: "EXECUTION\\tMODE" value: { string_value: "line\\nbreak" } }
        response_cache { enable: false }
        optimization { priority: PRIORITY_MAX input_pinned_memory { enable: True } }
        """,
    "empty": "# nothing but a comment\n",
}


def _as_fields(message: Message) -> dict[str, list[Any]]:
    """What protobuf read, in the words of `parse`: every field that is set, with all its values."""
    fields: dict[str, list[Any]] = {}
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            fields[field.name] = [{"key": [key], "value": [_as_fields(value[key])]} for key in sorted(value)]
            continue
        repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
        fields[field.name] = [_plain(field, item) for item in (value if repeated else [value])]
    return fields


def _plain(field: Any, value: Any) -> Any:
    if isinstance(value, Message):
        return _as_fields(value)
    return field.enum_type.values_by_number[value].name if field.enum_type is not None else value


@pytest.mark.parametrize("name", CONFIGS)
def test_it_reads_what_protobuf_reads(name: str) -> None:
    wanted = _as_fields(text_format.Parse(CONFIGS[name], model_config_pb2.ModelConfig()))
    assert _without_defaults(parse(CONFIGS[name], "config.pbtxt")) == wanted


def _without_defaults(message: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Proto3 does not tell a default that is written from one that is not."""
    kept: dict[str, list[Any]] = {}
    for name, values in message.items():
        inner = [_without_defaults(item) if isinstance(item, dict) else item for item in values]
        if inner and inner != [False]:
            kept[name] = inner
    return kept


def test_a_field_that_nobody_knows_is_still_there() -> None:
    assert parse('brand_new: "x" other { deep: 1.5 }', "c") == {"brand_new": ["x"], "other": [{"deep": [1.5]}]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name "m"', "line 1"),
        ("name: ", "ends in the middle"),
        ("\n\ninput { name: 'x'", "line 3"),
        ("input { ] }", "field's name"),
        ("dims: [1 2]", "misses a ','"),
        ("a: 1 }", "field's name"),
        ('name: "open', "cannot stand there"),
        ("a: }", "should"),
        ("x" + "{a" * 40, "nested"),
        ("\0", "cannot stand there"),
    ],
)
def test_a_broken_text_says_where(text: str, said: str) -> None:
    with pytest.raises(InvalidModel) as caught:
        parse(text, "config.pbtxt")
    assert said in caught.value.detail
    with pytest.raises(text_format.ParseError):
        text_format.Parse(text, model_config_pb2.ModelConfig())

"""Our messages are, field by field, those of NVIDIA's client."""

from __future__ import annotations

from typing import Any

import pytest
from tritonclient.grpc import model_config_pb2, service_pb2

from modelyard.serve.grpc.messages import ENUMS, MESSAGES, METHODS, PACKAGE, POOL, SERVICE, message

#: Messages of a model's configuration: of these we have some of the fields, of all others every one.
PARTIAL = {"ModelConfig", "ModelInstanceGroup"}


def _theirs(name: str) -> Any:
    """NVIDIA's descriptor of this message."""
    outer, _, inner = name.partition(".")
    for file in (service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR):
        if outer in file.message_types_by_name:
            found = file.message_types_by_name[outer]
            return found.nested_types_by_name[inner] if inner else found
    raise KeyError(name)


def _fields(descriptor: Any) -> dict[str, tuple[Any, ...]]:
    """Each field as what decides how it is on the wire and in Python."""
    return {
        field.name: (
            field.number,
            field.type,
            field.is_repeated,
            field.message_type.full_name if field.message_type else None,
            field.enum_type.full_name if field.enum_type else None,
            field.containing_oneof.name if field.containing_oneof else None,
            bool(field.message_type and field.message_type.GetOptions().map_entry),
            _fields(field.message_type) if field.message_type and field.message_type.GetOptions().map_entry else None,
        )
        for field in descriptor.fields
    }


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_theirs_field_by_field(name: str) -> None:
    ours, theirs = _fields(message(name).DESCRIPTOR), _fields(_theirs(name))
    if name in PARTIAL:
        assert ours.items() <= theirs.items()
    else:
        assert ours == theirs


@pytest.mark.parametrize("name", ENUMS)
def test_an_enum_is_theirs(name: str) -> None:
    outer, _, inner = name.rpartition(".")
    ours = POOL.FindEnumTypeByName(f"{PACKAGE}.{name}").values_by_name
    holder = _theirs(outer).enum_types_by_name if outer else model_config_pb2.DESCRIPTOR.enum_types_by_name
    theirs = holder[inner].values_by_name
    assert {key: value.number for key, value in ours.items()} == {key: value.number for key, value in theirs.items()}


def test_the_service_is_theirs() -> None:
    theirs = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    ours = POOL.FindServiceByName(SERVICE)
    described = [
        {m.name: (m.input_type.full_name, m.output_type.full_name, m.client_streaming, m.server_streaming)}
        for service in (ours, theirs)
        for m in sorted(service.methods, key=lambda method: method.name)
    ]
    assert described[: len(METHODS)] == described[len(METHODS) :]


def test_every_message_of_their_service_is_here() -> None:
    assert set(service_pb2.DESCRIPTOR.message_types_by_name) <= set(MESSAGES)


def test_bytes_of_ours_are_read_by_theirs() -> None:
    ours = message("ModelInferRequest")(
        model_name="linear",
        parameters={"timeout": message("InferParameter")(int64_param=5)},
        inputs=[{"name": "input", "datatype": "FP64", "shape": [1, 1], "contents": {"fp64_contents": [3.0]}}],
        raw_input_contents=[b"\x01"],
    )
    theirs = service_pb2.ModelInferRequest.FromString(ours.SerializeToString())
    assert theirs.parameters["timeout"].int64_param == 5
    assert theirs.inputs[0].contents.fp64_contents == [3.0]
    assert message("ModelInferRequest").FromString(theirs.SerializeToString()) == ours

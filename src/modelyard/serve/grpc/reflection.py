"""The reflection service of gRPC, by which clients such as grpcurl learn our messages; in both of its versions.

Version 1 differs from its preview in nothing but the package's name. Source: gRPC's server reflection protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from modelyard.serve.grpc import health, messages, schema
from modelyard.serve.grpc.call import Call, Method
from modelyard.serve.grpc.status import Code
from modelyard.serve.grpc.turns import Tell, Turns

SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")

_ASKED, _TOLD, _ONE, _OTHER = (
    "ServerReflectionRequest",
    "ServerReflectionResponse",
    "message_request",
    "message_response",
)
_MESSAGES = {
    _ASKED: (
        f"host:string {_ONE}/file_by_filename@3:string {_ONE}/file_containing_symbol:string "
        f"{_ONE}/file_containing_extension:ExtensionRequest {_ONE}/all_extension_numbers_of_type:string "
        f"{_ONE}/list_services:string"
    ),
    "ExtensionRequest": "containing_type:string extension_number:int32",
    _TOLD: (
        f"valid_host:string original_request:{_ASKED} {_OTHER}/file_descriptor_response@4:FileDescriptorResponse "
        f"{_OTHER}/all_extension_numbers_response:ExtensionNumberResponse "
        f"{_OTHER}/list_services_response:ListServiceResponse {_OTHER}/error_response:ErrorResponse"
    ),
    "FileDescriptorResponse": "file_descriptor_proto:[bytes]",
    "ExtensionNumberResponse": "base_type_name:string extension_number:[int32]",
    "ListServiceResponse": "service:[ServiceResponse]",
    "ServiceResponse": "name:string",
    "ErrorResponse": "error_code:int32 error_message:string",
}
SCHEMAS = tuple(
    schema.Schema(service, [schema.Method("ServerReflectionInfo", _ASKED, _TOLD, streaming=True)], _MESSAGES, {})
    for service in SERVICES
)


def methods(services: Sequence[str]) -> dict[str, Mapping[str, Method]]:
    """The method of both versions, which tell of these services and of themselves."""
    files = {described.file: described for described in (messages.SCHEMA, health.SCHEMA, *SCHEMAS)}
    listed = sorted([*services, *SERVICES])
    return {own.service: {"ServerReflectionInfo": Method(open=_Reflection(own, files, listed))} for own in SCHEMAS}


class _Reflection:
    """One version of the service."""

    def __init__(self, own: schema.Schema, files: Mapping[str, schema.Schema], services: Iterable[str]) -> None:
        self._read = schema.reader(own.message(_ASKED))
        self._response = own.message(_TOLD)
        self._files = files
        self._services = [{"name": name} for name in services]

    def __call__(self, call: Call) -> Turns:
        """Answer this stream."""

        def ask(raw: bytes, tell: Tell) -> None:
            tell(self._answer(raw).SerializeToString())

        return Turns(call, ask)

    def _answer(self, raw: bytes) -> Any:
        request = self._read(raw)
        wanted = request.WhichOneof(_ONE) if request is not None else None
        if wanted is None:
            told = _error(Code.INVALID_ARGUMENT, "not a ServerReflectionRequest")
        elif wanted == "list_services":
            told = {"list_services_response": {"service": self._services}}
        elif wanted == "file_by_filename":
            told = _file(self._files.get(request.file_by_filename))
        elif wanted == "file_containing_symbol":
            told = _file(self._with(request.file_containing_symbol))
        elif wanted == "all_extension_numbers_of_type" and self._with(request.all_extension_numbers_of_type):
            told = {"all_extension_numbers_response": {"base_type_name": request.all_extension_numbers_of_type}}
        else:  # none of our messages is extended
            told = _error(Code.NOT_FOUND, "not found")
        return self._response(original_request=request, **told)

    def _with(self, symbol: str) -> schema.Schema | None:
        return next((described for described in self._files.values() if described.has(symbol)), None)


def _file(described: schema.Schema | None) -> dict[str, Any]:
    if described is None:
        return _error(Code.NOT_FOUND, "not found")
    return {"file_descriptor_response": {"file_descriptor_proto": [described.serialized]}}


def _error(code: Code, text: str) -> dict[str, Any]:
    return {"error_response": {"error_code": code, "error_message": text}}

"""The reflection service of gRPC, by which clients such as grpcurl learn our messages; in both of its versions.

Version 1 differs from its preview, which is all that the library has, in nothing but the package's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_reflection.v1alpha import reflection as preview
from grpc_reflection.v1alpha import reflection_pb2

from modelyard.serve.grpc import health, messages

_read = messages.reader(reflection_pb2.ServerReflectionRequest)
SERVICES = ("grpc.reflection.v1.ServerReflection", str(preview.SERVICE_NAME))


def handlers(services: Sequence[str]) -> dict[str, dict[str, grpc.RpcMethodHandler]]:
    """The methods of both versions, which tell of these services and of themselves."""
    servicer = preview.aio.ReflectionServicer([*services, *SERVICES], pool=_pool())
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        lambda raw: _read(raw) or reflection_pb2.ServerReflectionRequest(),  # which is refused in a message
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return {service: {"ServerReflectionInfo": handler} for service in SERVICES}


def _pool() -> Any:
    """Every file that describes a service here."""
    pool = descriptor_pool.DescriptorPool()
    for file in (messages.FILE, _proto(health.FILE), _proto(reflection_pb2.DESCRIPTOR), _v1()):
        pool.Add(file)
    return pool


def _proto(file: Any) -> Any:
    return descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb)


def _v1() -> Any:
    text = text_format.MessageToString(_proto(reflection_pb2.DESCRIPTOR))
    return text_format.Parse(text.replace("v1alpha", "v1"), descriptor_pb2.FileDescriptorProto())

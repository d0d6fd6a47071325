"""gRPC's own clients: the health service, and reflection as grpcurl and its like use it."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.acceptance.serving import Served
from tests.conformance import check

SERVICE = "inference.GRPCInferenceService"


def channel(server: Served) -> grpc.Channel:
    return grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")


@check(client="grpcio health", feature="check")
def check_health(server: Served) -> None:
    with channel(server) as asked:
        stub = health_pb2_grpc.HealthStub(asked)
        for service in ("", SERVICE):
            told = stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert told.status == health_pb2.HealthCheckResponse.SERVING
        call = stub.Check.future(health_pb2.HealthCheckRequest(service="nobody"))
        assert call.code() is grpc.StatusCode.NOT_FOUND


@check(client="grpcio health", feature="watch")
def watch_health(server: Served) -> None:
    with channel(server) as asked:
        watched = health_pb2_grpc.HealthStub(asked).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
        watched.cancel()


@check(client="grpcio reflection", feature="list of services")
def services(server: Served) -> None:
    with channel(server) as asked:
        listed = set(ProtoReflectionDescriptorDatabase(asked).get_services())
        assert {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= listed


@check(client="grpcio reflection", feature="a call by nothing but what reflection tells")
def dynamic(server: Served) -> None:
    with channel(server) as asked:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(asked))
        method: Any = pool.FindServiceByName(SERVICE).FindMethodByName("ModelInfer")
        request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        call = asked.unary_unary(f"/{SERVICE}/ModelInfer", request.SerializeToString, response.FromString)
        tensor = {"name": "input", "datatype": "FP64", "shape": [1, 1], "contents": {"fp64_contents": [3.0]}}
        answer = call(request(model_name="linear", inputs=[tensor]))
        assert list(answer.outputs[0].contents.fp64_contents) == [6.0]

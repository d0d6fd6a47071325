"""The messages of `inference.GRPCInferenceService`: one table, made into classes when this module is imported.

Sources: the Open Inference Protocol's gRPC specification and Triton's extensions of it, for names, numbers and types.
Of a model's configuration only the fields that are ever filled are here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelyard.serve.grpc.schema import Method, Schema

PACKAGE = "inference"
SERVICE = "inference.GRPCInferenceService"

_NAMED = "name:string"
_VERSIONED = "name:string version:string"
_CHOICE = "parameter_choice/"
_TENSOR = "name:string datatype:string shape:[int64]"
_STATS = "compute_input:StatisticDuration compute_infer:StatisticDuration compute_output:StatisticDuration"
_CONTROL = "repository_name:string model_name:string parameters:{ModelRepositoryParameter}"
_LOG_VALUE = f"{_CHOICE}bool_param:bool {_CHOICE}uint32_param:uint32 {_CHOICE}string_param:string"

MESSAGES: dict[str, str] = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "live:bool",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "ready:bool",
    "ModelReadyRequest": _VERSIONED,
    "ModelReadyResponse": "ready:bool",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "name:string version:string extensions:[string]",
    "ModelMetadataRequest": _VERSIONED,
    "ModelMetadataResponse": (
        "name:string versions:[string] platform:string "
        "inputs:[ModelMetadataResponse.TensorMetadata] outputs:[ModelMetadataResponse.TensorMetadata]"
    ),
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "InferParameter": (
        f"{_CHOICE}bool_param:bool {_CHOICE}int64_param:int64 {_CHOICE}string_param:string "
        f"{_CHOICE}double_param:double {_CHOICE}uint64_param:uint64"
    ),
    "InferTensorContents": (
        "bool_contents:[bool] int_contents:[int32] int64_contents:[int64] uint_contents:[uint32] "
        "uint64_contents:[uint64] fp32_contents:[float] fp64_contents:[double] bytes_contents:[bytes]"
    ),
    "ModelInferRequest": (
        "model_name:string model_version:string id:string parameters:{InferParameter} "
        "inputs:[ModelInferRequest.InferInputTensor] outputs:[ModelInferRequest.InferRequestedOutputTensor] "
        "raw_input_contents:[bytes]"
    ),
    "ModelInferRequest.InferInputTensor": f"{_TENSOR} parameters:{{InferParameter}} contents:InferTensorContents",
    "ModelInferRequest.InferRequestedOutputTensor": "name:string parameters:{InferParameter}",
    "ModelInferResponse": (
        "model_name:string model_version:string id:string parameters:{InferParameter} "
        "outputs:[ModelInferResponse.InferOutputTensor] raw_output_contents:[bytes]"
    ),
    "ModelInferResponse.InferOutputTensor": f"{_TENSOR} parameters:{{InferParameter}} contents:InferTensorContents",
    "ModelStreamInferResponse": "error_message:string infer_response:ModelInferResponse",
    "ModelConfigRequest": _VERSIONED,
    "ModelConfigResponse": "config:ModelConfig",
    "ModelStatisticsRequest": _VERSIONED,
    "StatisticDuration": "count:uint64 ns:uint64",
    "InferStatistics": (
        f"success:StatisticDuration fail:StatisticDuration queue:StatisticDuration {_STATS} "
        "cache_hit:StatisticDuration cache_miss:StatisticDuration"
    ),
    "InferResponseStatistics": (
        "compute_infer:StatisticDuration compute_output:StatisticDuration success:StatisticDuration "
        "fail:StatisticDuration empty_response:StatisticDuration cancel:StatisticDuration"
    ),
    "InferBatchStatistics": f"batch_size:uint64 {_STATS}",
    "MemoryUsage": "type:string id:int64 byte_size:uint64",
    "ModelStatistics": (
        "name:string version:string last_inference:uint64 inference_count:uint64 execution_count:uint64 "
        "inference_stats:InferStatistics batch_stats:[InferBatchStatistics] memory_usage:[MemoryUsage] "
        "response_stats:{InferResponseStatistics}"
    ),
    "ModelStatisticsResponse": "model_stats:[ModelStatistics]",
    "ModelRepositoryParameter": (
        f"{_CHOICE}bool_param:bool {_CHOICE}int64_param:int64 {_CHOICE}string_param:string {_CHOICE}bytes_param:bytes"
    ),
    "RepositoryIndexRequest": "repository_name:string ready:bool",
    "RepositoryIndexResponse": "models:[RepositoryIndexResponse.ModelIndex]",
    "RepositoryIndexResponse.ModelIndex": "name:string version:string state:string reason:string",
    "RepositoryModelLoadRequest": _CONTROL,
    "RepositoryModelLoadResponse": "",
    "RepositoryModelUnloadRequest": _CONTROL,
    "RepositoryModelUnloadResponse": "",
    "SystemSharedMemoryStatusRequest": _NAMED,
    "SystemSharedMemoryStatusResponse": "regions:{SystemSharedMemoryStatusResponse.RegionStatus}",
    "SystemSharedMemoryStatusResponse.RegionStatus": "name:string key:string offset:uint64 byte_size:uint64",
    "SystemSharedMemoryRegisterRequest": "name:string key:string offset:uint64 byte_size:uint64",
    "SystemSharedMemoryRegisterResponse": "",
    "SystemSharedMemoryUnregisterRequest": _NAMED,
    "SystemSharedMemoryUnregisterResponse": "",
    "CudaSharedMemoryStatusRequest": _NAMED,
    "CudaSharedMemoryStatusResponse": "regions:{CudaSharedMemoryStatusResponse.RegionStatus}",
    "CudaSharedMemoryStatusResponse.RegionStatus": "name:string device_id:uint64 byte_size:uint64",
    "CudaSharedMemoryRegisterRequest": "name:string raw_handle:bytes device_id:int64 byte_size:uint64",
    "CudaSharedMemoryRegisterResponse": "",
    "CudaSharedMemoryUnregisterRequest": _NAMED,
    "CudaSharedMemoryUnregisterResponse": "",
    "TraceSettingRequest": "settings:{TraceSettingRequest.SettingValue} model_name:string",
    "TraceSettingRequest.SettingValue": "value:[string]",
    "TraceSettingResponse": "settings:{TraceSettingResponse.SettingValue}",
    "TraceSettingResponse.SettingValue": "value:[string]",
    "LogSettingsRequest": "settings:{LogSettingsRequest.SettingValue}",
    "LogSettingsRequest.SettingValue": _LOG_VALUE,
    "LogSettingsResponse": "settings:{LogSettingsResponse.SettingValue}",
    "LogSettingsResponse.SettingValue": _LOG_VALUE,
    "ModelConfig": (
        "name:string platform:string version_policy:ModelVersionPolicy max_batch_size:int32 input:[ModelInput] "
        "output:[ModelOutput] instance_group:[ModelInstanceGroup] default_model_filename:string "
        "parameters@14:{ModelParameter} backend@17:string "
        "model_transaction_policy@19:ModelTransactionPolicy runtime@25:string"
    ),
    "ModelVersionPolicy": (
        "policy_choice/latest:ModelVersionPolicy.Latest policy_choice/all:ModelVersionPolicy.All "
        "policy_choice/specific:ModelVersionPolicy.Specific"
    ),
    "ModelVersionPolicy.Latest": "num_versions:uint32",
    "ModelVersionPolicy.All": "",
    "ModelVersionPolicy.Specific": "versions:[int64]",
    "ModelInput": (
        "name:string data_type:DataType format:ModelInput.Format dims:[int64] reshape:ModelTensorReshape "
        "is_shape_tensor:bool allow_ragged_batch:bool optional:bool is_non_linear_format_io:bool"
    ),
    "ModelOutput": (
        "name:string data_type:DataType dims:[int64] label_filename:string reshape:ModelTensorReshape "
        "is_shape_tensor:bool is_non_linear_format_io:bool"
    ),
    "ModelTensorReshape": "shape:[int64]",
    "ModelInstanceGroup": (
        "name:string count:int32 gpus:[int32] kind:ModelInstanceGroup.Kind profile:[string] "
        "passive@7:bool host_policy@9:string"
    ),
    "ModelParameter": "string_value:string",
    "ModelTransactionPolicy": "decoupled:bool",
}

ENUMS: dict[str, str] = {
    "DataType": (
        "TYPE_INVALID TYPE_BOOL TYPE_UINT8 TYPE_UINT16 TYPE_UINT32 TYPE_UINT64 TYPE_INT8 TYPE_INT16 TYPE_INT32 "
        "TYPE_INT64 TYPE_FP16 TYPE_FP32 TYPE_FP64 TYPE_STRING TYPE_BF16"
    ),
    "ModelInput.Format": "FORMAT_NONE FORMAT_NHWC FORMAT_NCHW",
    "ModelInstanceGroup.Kind": "KIND_AUTO KIND_GPU KIND_CPU KIND_MODEL",
}


def _methods() -> Iterator[Method]:
    """Every message ``XRequest`` is what a method ``X`` is asked."""
    for message in MESSAGES:
        if message.endswith("Request"):
            name = message.removesuffix("Request")
            yield Method(name, message, f"{name}Response")
    yield Method("ModelStreamInfer", "ModelInferRequest", "ModelStreamInferResponse", streaming=True)


METHODS = tuple(_methods())

SCHEMA = Schema(SERVICE, METHODS, MESSAGES, ENUMS)
POOL = SCHEMA.pool


def message(name: str) -> Any:
    """The class of this message."""
    return SCHEMA.message(name)

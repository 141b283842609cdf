"""The gRPC services of this server as file descriptors (google/protobuf/descriptor.proto), for reflection alone.

A file is written down as its messages, one a line: `Name: type field = number; ...`, with `NAME| ` before a field of a
oneof.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from tidegate.dataplane.grpc import protobuf

_TYPES = {
    "double": 1, "float": 2, "int64": 3, "uint64": 4, "int32": 5, "bool": 8, "string": 9, "bytes": 12, "uint32": 13,
}  # fmt: skip
_MESSAGE, _ENUM, _OPTIONAL, _REPEATED = 11, 14, 1, 3
_FIELD = re.compile(r"(?:(\w+)\| )?(repeated )?(map<string, )?([\w.]+)>? (\w+) = (\d+)")


@dataclass(frozen=True)
class ProtoFile:
    """One .proto file. `methods` has each with its request, its response, and which of them are streams."""

    name: str
    package: str
    service: str
    methods: tuple[tuple[str, str, str, str], ...]
    messages: str
    enums: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def service_name(self) -> str:
        """The service's whole name."""
        return f"{self.package}.{self.service}"

    def lines(self) -> Iterator[tuple[str, list[str]]]:
        """Each message's name and fields."""
        for line in self.messages.strip().splitlines():
            name, _, fields = line.partition(":")
            yield name.strip(), [one.strip() for one in fields.split(";") if one.strip()]

    def symbols(self) -> set[str]:
        """Everything with a name of its own."""
        own = {name for name, _ in self.lines()} | {name for name, _ in self.enums}
        methods = {f"{self.service}.{name}" for name, *_ in self.methods}
        return {f"{self.package}.{name}" for name in own | methods | {self.service}}


_INFERENCE = ProtoFile(
    "grpc_service.proto",
    "inference",
    "GRPCInferenceService",
    tuple(
        (name, f"{name}Request", f"{name}Response", "")
        for name in ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")
    ),
    """
ServerLiveRequest:
ServerLiveResponse: bool live = 1
ServerReadyRequest:
ServerReadyResponse: bool ready = 1
ModelReadyRequest: string name = 1; string version = 2
ModelReadyResponse: bool ready = 1
ServerMetadataRequest:
ServerMetadataResponse: string name = 1; string version = 2; repeated string extensions = 3
ModelMetadataRequest: string name = 1; string version = 2
ModelMetadataResponse: string name = 1; repeated string versions = 2; string platform = 3; repeated ModelMetadataResponse.TensorMetadata inputs = 4; repeated ModelMetadataResponse.TensorMetadata outputs = 5
ModelMetadataResponse.TensorMetadata: string name = 1; string datatype = 2; repeated int64 shape = 3
InferParameter: parameter_choice| bool bool_param = 1; parameter_choice| int64 int64_param = 2; parameter_choice| string string_param = 3; parameter_choice| double double_param = 4; parameter_choice| uint64 uint64_param = 5
InferTensorContents: repeated bool bool_contents = 1; repeated int32 int_contents = 2; repeated int64 int64_contents = 3; repeated uint32 uint_contents = 4; repeated uint64 uint64_contents = 5; repeated float fp32_contents = 6; repeated double fp64_contents = 7; repeated bytes bytes_contents = 8
ModelInferRequest: string model_name = 1; string model_version = 2; string id = 3; map<string, InferParameter> parameters = 4; repeated ModelInferRequest.InferInputTensor inputs = 5; repeated ModelInferRequest.InferRequestedOutputTensor outputs = 6; repeated bytes raw_input_contents = 7
ModelInferRequest.InferInputTensor: string name = 1; string datatype = 2; repeated int64 shape = 3; map<string, InferParameter> parameters = 4; InferTensorContents contents = 5
ModelInferRequest.InferRequestedOutputTensor: string name = 1; map<string, InferParameter> parameters = 2
ModelInferResponse: string model_name = 1; string model_version = 2; string id = 3; map<string, InferParameter> parameters = 4; repeated ModelInferResponse.InferOutputTensor outputs = 5; repeated bytes raw_output_contents = 6
ModelInferResponse.InferOutputTensor: string name = 1; string datatype = 2; repeated int64 shape = 3; map<string, InferParameter> parameters = 4; InferTensorContents contents = 5
""",  # noqa: E501 (a line for a message)
)
_HEALTH = ProtoFile(
    "grpc/health/v1/health.proto",
    "grpc.health.v1",
    "Health",
    (
        ("Check", "HealthCheckRequest", "HealthCheckResponse", ""),
        ("Watch", "HealthCheckRequest", "HealthCheckResponse", "response"),
    ),
    """
HealthCheckRequest: string service = 1
HealthCheckResponse: HealthCheckResponse.ServingStatus status = 1
""",
    (("HealthCheckResponse.ServingStatus", ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")),),
)


def _reflection(version: str) -> ProtoFile:
    return ProtoFile(
        f"grpc/reflection/{version}/reflection.proto",
        f"grpc.reflection.{version}",
        "ServerReflection",
        (("ServerReflectionInfo", "ServerReflectionRequest", "ServerReflectionResponse", "both"),),
        """
ServerReflectionRequest: string host = 1; message_request| string file_by_filename = 3; message_request| string file_containing_symbol = 4; message_request| ExtensionRequest file_containing_extension = 5; message_request| string all_extension_numbers_of_type = 6; message_request| string list_services = 7
ExtensionRequest: string containing_type = 1; int32 extension_number = 2
ServerReflectionResponse: string valid_host = 1; ServerReflectionRequest original_request = 2; message_response| FileDescriptorResponse file_descriptor_response = 4; message_response| ExtensionNumberResponse all_extension_numbers_response = 5; message_response| ListServiceResponse list_services_response = 6; message_response| ErrorResponse error_response = 7
FileDescriptorResponse: repeated bytes file_descriptor_proto = 1
ExtensionNumberResponse: string base_type_name = 1; repeated int32 extension_number = 2
ListServiceResponse: repeated ServiceResponse service = 1
ServiceResponse: string name = 1
ErrorResponse: int32 error_code = 1; string error_message = 2
""",  # noqa: E501 (a line for a message)
    )


FILES = (_INFERENCE, _HEALTH, _reflection("v1"), _reflection("v1alpha"))


@cache
def descriptor(file: ProtoFile) -> bytes:
    """A FileDescriptorProto."""
    parts = [protobuf.text(1, file.name), protobuf.text(2, file.package)]
    messages = dict(file.lines())
    parts += [protobuf.blob(4, _message(file, name, messages)) for name in messages if "." not in name]
    parts.append(protobuf.blob(6, _service(file)))
    parts.append(protobuf.text(12, "proto3"))
    return b"".join(parts)


def _message(file: ProtoFile, name: str, messages: dict[str, list[str]]) -> bytes:
    fields = [_parsed(one) for one in messages[name]]
    oneofs = list(dict.fromkeys(one.oneof for one in fields if one.oneof))
    parts = [protobuf.text(1, name.rpartition(".")[2])]
    parts += [protobuf.blob(2, _field(file, name, one, oneofs)) for one in fields]
    parts += [protobuf.blob(3, _entry(file, one)) for one in fields if one.is_map]
    parts += [protobuf.blob(3, _message(file, other, messages)) for other in messages if _is_inside(other, name)]
    parts += [protobuf.blob(4, _enum(other, values)) for other, values in file.enums if _is_inside(other, name)]
    parts += [protobuf.blob(8, protobuf.text(1, one)) for one in oneofs]
    return b"".join(parts)


def _is_inside(other: str, name: str) -> bool:
    return other.rpartition(".")[0] == name


@dataclass(frozen=True)
class _Field:
    name: str
    number: int
    type: str
    oneof: str
    repeated: bool
    is_map: bool

    @property
    def entry(self) -> str:
        """The message that an entry of a map is."""
        return "".join(word.capitalize() for word in self.name.split("_")) + "Entry"


def _parsed(text: str) -> _Field:
    match = _FIELD.fullmatch(text)
    assert match is not None, text  # noqa: S101 (written above)
    oneof, repeated, of_map, kind, name, number = match.groups()
    return _Field(name, int(number), kind, oneof or "", bool(repeated or of_map), bool(of_map))


def _field(file: ProtoFile, message: str, one: _Field, oneofs: list[str]) -> bytes:
    parts = [protobuf.text(1, one.name), protobuf.number(3, one.number)]
    parts.append(protobuf.number(4, _REPEATED if one.repeated else _OPTIONAL))
    if one.is_map:
        parts += [protobuf.number(5, _MESSAGE), protobuf.text(6, f".{file.package}.{message}.{one.entry}")]
    else:
        parts += _type(file, one.type)
    if one.oneof:
        parts.append(protobuf.number(9, oneofs.index(one.oneof)))
    return b"".join(parts)


def _type(file: ProtoFile, name: str) -> list[bytes]:
    if name in _TYPES:
        return [protobuf.number(5, _TYPES[name])]
    kind = _ENUM if name in dict(file.enums) else _MESSAGE
    return [protobuf.number(5, kind), protobuf.text(6, f".{file.package}.{name}")]


def _entry(file: ProtoFile, one: _Field) -> bytes:
    key = protobuf.text(1, "key") + protobuf.number(3, 1) + protobuf.number(4, _OPTIONAL) + protobuf.number(5, 9)
    value = protobuf.text(1, "value") + protobuf.number(3, 2) + protobuf.number(4, _OPTIONAL)
    fields = protobuf.blob(2, key) + protobuf.blob(2, value + b"".join(_type(file, one.type)))
    return protobuf.text(1, one.entry) + fields + protobuf.blob(7, protobuf.number(7, 1))  # the option map_entry


def _enum(name: str, values: tuple[str, ...]) -> bytes:
    named = [protobuf.text(1, value) + protobuf.number(2, number) for number, value in enumerate(values)]
    return protobuf.text(1, name.rpartition(".")[2]) + b"".join(protobuf.blob(2, one) for one in named)


def _service(file: ProtoFile) -> bytes:
    parts = [protobuf.text(1, file.service)]
    for name, request, response, streams in file.methods:
        method = protobuf.text(1, name)
        method += protobuf.text(2, f".{file.package}.{request}") + protobuf.text(3, f".{file.package}.{response}")
        if streams == "both":
            method += protobuf.number(5, 1)
        if streams:
            method += protobuf.number(6, 1)
        parts.append(protobuf.blob(2, method))
    return b"".join(parts)

"""grpc.health.v1, reflection and calls that are streams, as gRPC's own clients see them."""

import queue
import socket
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import service_pb2

from support.grpc_process import LINEAR, Server, refusal, request, serving
from support.wait import until
from tidegate.dataplane.grpc.health import WATCHES_MAX
from tidegate.dataplane.grpc.streams import REQUESTS_MAX, UNSENT_BYTES_MAX
from tidegate.dataplane.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW,
    PREFACE,
    SETTING,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    literal,
)

SOON_S = 5.0
"""A call that is not answered at once would take the receive timeout, which is several times as long."""
RECEIVE_TIMEOUT_S = "60"
INFERENCE = "inference.GRPCInferenceService"
SERVICES = {
    INFERENCE,
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
}
STATUS = health_pb2.HealthCheckResponse


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(LINEAR, TIDEGATE_RECEIVE_TIMEOUT_S=RECEIVE_TIMEOUT_S) as running:
        yield running


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as made:
        yield made


# -- health ------------------------------------------------------------------------------------------------------------


def checked(channel: grpc.Channel, service: str = "", **more: Any) -> Any:
    asked = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(channel).Check(asked, timeout=SOON_S, **more).status


def test_the_server_and_each_of_its_services_are_checked(channel: grpc.Channel) -> None:
    assert checked(channel) == STATUS.SERVING
    for name in SERVICES:
        assert checked(channel, name) == STATUS.SERVING
    code, message = refusal(checked, channel, "nothing.Here")
    assert code == "NOT_FOUND"
    assert INFERENCE in message


def test_health_needs_no_key_and_reflection_does() -> None:
    with serving(LINEAR, TEST_KEY="sesame") as server, grpc.insecure_channel(server.address) as channel:
        assert checked(channel) == STATUS.SERVING
        watch = watching(channel)
        assert next(watch).status == STATUS.SERVING
        watch.cancel()
        assert refusal(list, reflected(channel, list_services="*"))[0] == "UNAUTHENTICATED"
        key = (("authorization", "Bearer sesame"),)
        assert len(list(reflected(channel, metadata=key, list_services="*"))) == 1


def watching(channel: grpc.Channel, service: str = "") -> Any:
    return health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=service))


def test_who_watches_is_told_the_status_at_once_and_the_end(server: Server) -> None:
    told: queue.Queue[Any] = queue.Queue()

    def watch(channel: grpc.Channel) -> None:
        try:
            for answer in watching(channel):
                told.put(answer.status)
        except grpc.RpcError as error:
            told.put(error.code())

    with serving(LINEAR) as other, grpc.insecure_channel(other.address) as channel:
        thread = threading.Thread(target=watch, args=(channel,))
        thread.start()
        assert told.get(timeout=SOON_S) == STATUS.SERVING
        assert other.stop() == 0  # in spite of who watches
        assert told.get(timeout=SOON_S) == STATUS.NOT_SERVING
        assert told.get(timeout=SOON_S) == grpc.StatusCode.UNAVAILABLE
        thread.join(SOON_S)


def test_a_service_that_there_is_not_may_be_watched(channel: grpc.Channel) -> None:
    watch = watching(channel, "nothing.Here")
    assert next(watch).status == STATUS.SERVICE_UNKNOWN
    watch.cancel()


def test_watches_that_ended_leave_their_places(channel: grpc.Channel) -> None:
    for _ in range(WATCHES_MAX + 1):
        watch = watching(channel)
        assert next(watch).status == STATUS.SERVING
        watch.cancel()


# -- reflection --------------------------------------------------------------------------------------------------------


def reflected(channel: grpc.Channel, metadata: Any = None, **asked: str) -> Any:
    requests = iter([reflection_pb2.ServerReflectionRequest(**asked)])
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    return stub.ServerReflectionInfo(requests, timeout=SOON_S, metadata=metadata)


def test_the_services_are_listed(channel: grpc.Channel) -> None:
    assert set(ProtoReflectionDescriptorDatabase(channel).get_services()) == SERVICES


def test_v1_answers_as_v1alpha(channel: grpc.Channel) -> None:
    call = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = reflection_pb2.ServerReflectionRequest(host="here", list_services="*")
    (answer,) = call(iter([asked]), timeout=SOON_S)
    assert {one.name for one in answer.list_services_response.service} == SERVICES
    assert (answer.valid_host, answer.original_request) == ("here", asked)


def shape(message: Descriptor) -> dict[str, Any]:
    """What of a message is on the wire, with the messages inside it."""
    fields = {
        one.name: (one.number, one.type, one.label if hasattr(one, "label") else one.is_repeated,
                   one.message_type and one.message_type.full_name, one.enum_type and one.enum_type.full_name,
                   one.containing_oneof and one.containing_oneof.name)
        for one in message.fields
    }  # fmt: skip
    inside = {one.name: (shape(one), one.GetOptions().map_entry) for one in message.nested_types}
    enums = {one.full_name: {value.name: value.number for value in one.values} for one in message.enum_types}
    return {"fields": fields, "inside": inside, "enums": enums}


@pytest.mark.filterwarnings("ignore:label:DeprecationWarning")
@pytest.mark.parametrize("known", [service_pb2, health_pb2, reflection_pb2], ids=["inference", "health", "reflection"])
def test_descriptors_are_those_of_the_clients(channel: grpc.Channel, known: Any) -> None:
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    (service,) = known.DESCRIPTOR.services_by_name.values()
    found = pool.FindServiceByName(service.full_name)
    for method in found.methods:
        other = service.methods_by_name[method.name]
        assert shape(method.input_type) == shape(other.input_type)
        assert shape(method.output_type) == shape(other.output_type)
        assert (method.client_streaming, method.server_streaming) == (other.client_streaming, other.server_streaming)
    for message in found.file.message_types_by_name.values():
        assert shape(message) == shape(known.DESCRIPTOR.message_types_by_name[message.name])


def test_a_prediction_by_reflection_alone(channel: grpc.Channel) -> None:
    from google.protobuf.message_factory import GetMessageClass

    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    method = pool.FindServiceByName(INFERENCE).methods_by_name["ModelInfer"]
    asked, answered = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    made = asked.FromString(request("linear", np.array([[1.0, 2.0, 3.0]])).SerializeToString())
    infer = channel.unary_unary(f"/{INFERENCE}/ModelInfer", asked.SerializeToString, answered.FromString)
    answer: Any = infer(made, timeout=SOON_S)
    assert np.frombuffer(answer.raw_output_contents[0]).tolist() == [6.0]


def test_several_questions_in_one_call_each_have_their_answer(channel: grpc.Channel) -> None:
    questions: queue.Queue[Any] = queue.Queue()
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    answers = stub.ServerReflectionInfo(iter(questions.get, None), timeout=30)

    def ask(**asked: Any) -> Any:
        questions.put(reflection_pb2.ServerReflectionRequest(**asked))
        return next(answers)

    name = ask(file_containing_symbol=f"{INFERENCE}.ModelInfer").file_descriptor_response.file_descriptor_proto[0]
    file = FileDescriptorProto.FromString(name)
    same = ask(file_by_filename=file.name)
    assert same.file_descriptor_response.file_descriptor_proto == [name]
    assert ask(file_by_filename="nothing.proto").error_response.error_code == 5
    assert ask(file_containing_symbol="no.Thing").error_response.error_code == 5
    assert ask(all_extension_numbers_of_type="inference.ModelInferRequest").error_response.error_code == 5
    assert ask().error_response.error_code == 3
    questions.put(None)
    assert list(answers) == []


def test_a_reflection_call_asks_so_often_and_no_more(channel: grpc.Channel) -> None:
    asked = [reflection_pb2.ServerReflectionRequest(list_services="*")] * (REQUESTS_MAX + 1)
    answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter(asked), timeout=SOON_S)
    assert refusal(list, answers)[0] == "RESOURCE_EXHAUSTED"


def test_a_client_that_takes_no_answers_gets_no_more_of_them(server: Server) -> None:
    path = b"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    head = b"\x83\x86" + literal(b":path", path) + literal(b"content-type", b"application/grpc")
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=INFERENCE).SerializeToString()
    message = b"\x00" + len(asked).to_bytes(4, "big") + asked
    with socket.create_connection(("127.0.0.1", server.grpc_port), timeout=SOON_S) as greedy:
        greedy.sendall(PREFACE + frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 0)))
        greedy.sendall(frame(HEADERS, END_HEADERS, 1, head) + frame(DATA, END_STREAM, 1, message * 200))
        received = bytearray()
        until(lambda: b"content-type" in read_some(greedy, received), what="the head of the answer")
        assert len(received) < 1000
        received.clear()
        greedy.sendall(frame(WINDOW_UPDATE, 0, 1, (1 << 24).to_bytes(4, "big")))
        greedy.sendall(frame(WINDOW_UPDATE, 0, 0, (1 << 24).to_bytes(4, "big")))
        until(lambda: b"grpc-status" in read_some(greedy, received), what="the end of the answers")
        assert UNSENT_BYTES_MAX < len(received) < UNSENT_BYTES_MAX + 16384


def read_some(sock: socket.socket, into: bytearray) -> bytearray:
    into += sock.recv(1 << 16)
    return into


# -- other streams -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [f"/{INFERENCE}/ModelStreamInfer", "/some.Other/Method"])
@pytest.mark.parametrize("kind", ["stream_stream", "stream_unary"])
def test_streams_that_there_are_not_are_refused_at_once(channel: grpc.Channel, path: str, kind: str) -> None:
    held = threading.Event()

    def endless() -> Iterator[bytes]:
        yield b""
        held.wait(30)

    def call() -> Any:
        answers = getattr(channel, kind)(path)(endless(), timeout=SOON_S)
        return list(answers)

    code, message = refusal(call)
    held.set()
    assert code == "UNIMPLEMENTED"
    assert path.rpartition("/")[2] in message

"""A replica behind a gateway answers the commonest batch by a short way: the same answers, refusals and counts."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.http_bytes import Connection, Reply
from support.wait import until
from tidegate.dataplane.codec.v2 import decode_response
from tidegate.dataplane.codec.wire_template import WireTemplate, templates_of
from tidegate.wire.replicas.manifest import Manifest, encode_manifest
from tidegate.wire.signature import Signature, TensorSpec

SIGNATURE = Signature(
    "matrix",
    (TensorSpec("input", "FP64", (-1, 3)),),
    (TensorSpec("prediction", "FP64", (-1,)),),
)
MODEL = """
import argparse, pathlib
from tidegate.dataplane.serve import Listen, open_socket, run_server
from tidegate.errors import UnfitInput
from tidegate.server.replica import build_replica
from tidegate.settings import Settings
from tidegate.wire.replicas.manifest import read_manifest

class Sums:
    def __init__(self, signature):
        self.signature = signature
        self.failures = 0
    def predict(self, inputs, wanted):
        rows = inputs["input"]
        if (rows == 13).any():
            raise UnfitInput("13 is refused")
        if (rows == 14).any():
            raise RuntimeError("14 is too much")
        if (rows == 17).any():
            self.failures += 1
            raise RuntimeError("17 is counted")
        if (rows == 18).any():
            return {"prediction": rows[:, 0] * 0 + self.failures}
        if (rows == 15).any():
            rows *= 2  # its own array: it may
        if (rows == 16).any():
            return {"prediction": rows.sum(axis=1), "more": rows[:, 0]}
        return {"prediction": rows.sum(axis=1)}

parser = argparse.ArgumentParser()
parser.add_argument("uds", type=pathlib.Path)
parser.add_argument("manifest", type=pathlib.Path)
options = parser.parse_args()
manifest = read_manifest(options.manifest)
make = lambda: build_replica(manifest, Sums(manifest.signature), Settings.from_env(), None, behind_gateway=True)
run_server(make, open_socket(Listen(uds=options.uds)))
"""


class UnixConnection(Connection):
    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self.stream = self.socket.makefile("rb")


@pytest.fixture(scope="module")
def uds(tmp_path_factory: Any) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("replica")
    manifest = Manifest("sums", "3", "d" * 64, ".", "sklearn", SIGNATURE, [1.0, 2.0, 3.0], batchable=True)
    (folder / "3.json").write_bytes(encode_manifest(manifest))
    (folder / "replica.py").write_text(MODEL)
    path = folder / "r.sock"
    process = subprocess.Popen([sys.executable, str(folder / "replica.py"), str(path), str(folder / "3.json")])
    try:
        until(path.exists, what="the replica's socket")
        yield path
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.fixture
def connection(uds: Path) -> Iterator[UnixConnection]:
    opened = UnixConnection(uds)
    yield opened
    opened.close()


@pytest.fixture
def template() -> WireTemplate:
    return templates_of("sums", "3", SIGNATURE)[None]


def ask(connection: Connection, template: WireTemplate, rows: Any) -> bytes:
    array = np.array(rows, dtype="<f8")
    return template.request_head(len(array)) + array.tobytes()


def sums_of(reply: Reply) -> Any:
    assert reply.status == 200, reply.body
    return decode_response(reply.body, int(reply.headers["inference-header-content-length"]))["prediction"].tolist()


def took_the_short_way(reply: Reply) -> bool:
    """Such an answer has none of the headers that only clients need."""
    return "x-request-id" not in reply.headers


def counted(connection: Connection, code: int = 200) -> float:
    connection.send(b"GET /metrics HTTP/1.1\r\nhost: test\r\n\r\n")
    lines = connection.read().body.decode().splitlines()
    return float(next(line for line in lines if line.startswith(f'model_requests_total{{code="{code}"')).split()[-1])


def test_both_ways_answer_alike_and_are_counted_alike(connection: UnixConnection, template: WireTemplate) -> None:
    rows = [[1, 2, 3], [4, 5, 6]]
    request = ask(connection, template, rows)
    replies = []
    for _ in range(4):  # how long a batch of this size takes is known after the first: until then it goes to the thread
        connection.send(request)
        replies.append(connection.read())
    before = counted(connection)
    connection.send(request.replace(b"host: replica", b"host: another", 1))  # as long, and not the bytes that are known
    ordinary = connection.read()
    assert not took_the_short_way(ordinary)
    assert took_the_short_way(replies[-1])
    assert [sums_of(reply) for reply in (*replies, ordinary)] == [[6, 15]] * 5
    short, long = (
        json.loads(replies[-1].body.split(b"]}")[0] + b"]}"),
        json.loads(ordinary.body.split(b"]}")[0] + b"]}"),
    )
    assert short == long
    connection.send(request)
    assert took_the_short_way(connection.read())
    assert counted(connection) == before + 2


@pytest.mark.parametrize(
    ("value", "status", "said"), [(13, 422, "13 is refused"), (14, 500, "the model failed; its replica's log")]
)
def test_what_the_model_refuses_is_refused_as_ever(
    connection: UnixConnection, template: WireTemplate, value: int, status: int, said: str
) -> None:
    for _ in range(3):
        connection.send(ask(connection, template, [[1, 2, 3]]))
        assert sums_of(connection.read()) == [6]
    connection.send(ask(connection, template, [[1, 2, value]]))
    refused = connection.read()
    assert refused.status == status
    assert said in refused.json["error"]
    connection.send(ask(connection, template, [[1, 2, 4]]))
    assert sums_of(connection.read()) == [7]


def test_a_batch_that_fails_is_computed_once_and_counted(connection: UnixConnection, template: WireTemplate) -> None:
    for _ in range(3):
        connection.send(ask(connection, template, [[1, 2, 3]]))
        assert sums_of(connection.read()) == [6]
    before = counted(connection, 500)
    for _ in range(2):
        connection.send(ask(connection, template, [[1, 2, 17]]))
        failed = connection.read()
        assert took_the_short_way(failed)
        assert (failed.status, failed.json["code"]) == (500, "model_failed")
    assert counted(connection, 500) == before + 2
    connection.send(ask(connection, template, [[18, 0, 0]]))
    assert sums_of(connection.read()) == [2], "computations that failed"


def test_requests_in_pieces_and_pipelined_ones_are_answered_in_order(
    connection: UnixConnection, template: WireTemplate
) -> None:
    requests = [ask(connection, template, [[index, 0, 0]]) for index in range(6)]
    stream = b"".join(requests)
    for begin in range(0, len(stream), 100):
        connection.send(stream[begin : begin + 100])
    assert [sums_of(connection.read()) for _ in requests] == [[index] for index in range(6)]
    connection.send(stream)
    assert [sums_of(connection.read()) for _ in requests] == [[index] for index in range(6)]


def test_a_model_may_write_to_its_input(connection: UnixConnection, template: WireTemplate) -> None:
    for _ in range(3):
        connection.send(ask(connection, template, [[1, 2, 15]]))
        reply = connection.read()
        assert sums_of(reply) == [36]
    assert took_the_short_way(reply)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.0, 1e-320, 2.0**1023])
def test_odd_numbers_are_answered_alike(connection: UnixConnection, template: WireTemplate, value: float) -> None:
    request = ask(connection, template, [[value, 0, 0]])
    answers = set()
    for _ in range(3):
        for one in (request, request.replace(b"host: replica", b"host: another", 1)):
            connection.send(one)
            reply = connection.read()
            answers.add((reply.status, reply.body[int(reply.headers["inference-header-content-length"]) :]))
    assert len(answers) == 1


def test_outputs_that_the_signature_does_not_name_are_answered_too_and_computed_once(
    connection: UnixConnection, template: WireTemplate
) -> None:
    """The last test of its server: such a model's batches all go the ordinary way from then on."""
    for value in (1, 16, 16, 1):
        connection.send(ask(connection, template, [[value, 0, 0]]))
        reply = connection.read()
        head = json.loads(reply.body[: int(reply.headers["inference-header-content-length"])])
        assert [one["name"] for one in head["outputs"]] == (["prediction", "more"] if value == 16 else ["prediction"])
    assert not took_the_short_way(reply)

"""What a request is answered does not depend on how often its bytes came: the first time is parsed, later ones known.

Every request is sent on connections of its own, several times, and once more behind a request of another kind.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from support.gateway_bed import Bed
from support.http_bytes import Connection, Reply, metric, post
from support.linear import running_server
from support.wait import until
from tidegate.dataplane.pipeline.access import key_hash

ROW = json.dumps({"features": [1, 2, 3.5]}).encode()
ID = "x-request-id: mine"
PLAIN = post("/predict", ROW, ID)
BUFFERED = "tidegate_buffered_bytes "
HEALTH = b"GET /health HTTP/1.1\r\nhost: t\r\n\r\n"


def _v2(rows: Any) -> bytes:
    raw = np.array(rows, dtype="<f8").tobytes()
    shape, size = [len(rows), 3], {"binary_data_size": len(raw)}
    head = json.dumps({"inputs": [{"name": "input", "shape": shape, "datatype": "FP64", "parameters": size}]}).encode()
    return post("/v2/models/linear/infer", head + raw, ID, f"inference-header-content-length: {len(head)}")


def _head_of(size: int) -> bytes:
    return post("/predict", ROW, ID, "x: " + "y" * (size - len(PLAIN) + len(ROW) - 5))


REQUESTS: dict[str, tuple[bytes, int]] = {
    # name: bytes, answers
    "plain": (PLAIN, 1),
    "v2": (_v2([[1, 2, 3]]), 1),
    "an id made by the server": (post("/predict", ROW), 1),
    "an id that is none": (post("/predict", ROW, "x-request-id: \xe9".encode("latin-1").decode("latin-1")), 1),
    "no such endpoint": (post("/predict/nobody", ROW, ID), 1),
    "no JSON": (post("/predict", b"{", ID), 1),
    "no body": (post("/predict", b"", ID), 1),
    "too many values": (post("/predict", {"features": [1, 2, 3, 4]}, ID), 1),
    "a failing model": (post("/predict", {"features": [222, 0, 0]}, ID, "x-tidegate-timeout-ms: 5000"), 1),
    "another content type": (post("/predict", ROW, ID, "content-type: text/csv"), 1),
    "gzip": (post("/predict", gzip.compress(ROW, mtime=0), ID, "content-encoding: gzip"), 1),
    "gzip that is none": (post("/predict", ROW, ID, "content-encoding: gzip"), 1),
    "two of one header": (post("/predict", ROW, "x-request-id: other", ID, "X-Request-ID: mine"), 1),
    "a bad timeout": (post("/predict", ROW, ID, "x-tidegate-timeout-ms: 0"), 1),
    "closing": (post("/predict", ROW, ID, "connection: close"), 1),
    "HTTP/1.0": (PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"), 1),
    "HTTP/1.0 kept alive": (post("/predict", ROW, ID, "connection: keep-alive").replace(b"/1.1", b"/1.0"), 1),
    "chunked": (post("/predict", b"%x\r\n%b\r\n0\r\n\r\n" % (len(ROW), ROW), ID, "transfer-encoding: chunked"), 1),
    "both lengths": (post("/predict", ROW, ID, f"content-length: {len(ROW)}", "transfer-encoding: chunked"), 1),
    "two lengths": (post("/predict", ROW, ID, f"content-length: {len(ROW)}", f"content-length: {len(ROW)}"), 1),
    "leading zeros": (post("/predict", ROW, ID, f"content-length: 000{len(ROW)}"), 1),
    "thousands of leading zeros": (post("/predict", ROW, ID, f"content-length: {'0' * 5000}{len(ROW)}"), 1),
    "a plus sign": (post("/predict", ROW, ID, f"content-length: +{len(ROW)}"), 1),
    "space after the length": (post("/predict", ROW, ID, f"content-length: {len(ROW)} "), 1),
    "a folded header": (post("/predict", ROW, ID, "a: b\r\n c"), 1),
    "empty lines before": (b"\r\n\n" + PLAIN, 1),
    "an empty line before": (b"\r\n" + PLAIN, 1),
    "an absolute URL": (post("http://test/predict", ROW, ID), 1),
    "a query": (post("/predict?a=b", ROW, ID), 1),
    "an upgrade": (post("/predict", ROW, ID, "connection: Upgrade, HTTP2-Settings", "upgrade: h2c"), 1),
    "expects": (post("/predict", ROW, ID, "expect: something"), 1),
    "another method": (PLAIN.replace(b"POST", b"PUT", 1), 1),
    "the largest head that is kept": (_head_of(2048), 1),
    "the smallest that is not": (_head_of(2049), 1),
    "a head too large": (_head_of(70_000), 1),
    "two at once": (PLAIN + PLAIN, 2),
    "two at once and one of another kind": (PLAIN + HEALTH + _v2([[4, 5, 6]]), 3),
    "one and a piece that is none": (PLAIN + b"\0\r\n\r\n", 2),
}


def _told(reply: Reply) -> Any:
    """What must be equal: all but the time, and the ids that the server made itself."""
    headers = {name: value for name, value in reply.headers.items() if name != "date"}
    body = re.sub(rb"[0-9a-f]{20}", b"made", reply.body)
    if re.fullmatch(r"[0-9a-f]{20}", headers.get("x-request-id", "")):
        headers["x-request-id"] = "made"
    return reply.status, headers, body


def _answers(port: int, request: bytes, count: int, first: bytes = b"") -> Any:
    """The answers, and whether the server takes another request afterwards."""
    with closing(Connection(port)) as connection:
        if first:
            connection.send(first)
            assert connection.read().status == 200
        connection.send(request)
        told = [_told(connection.read()) for _ in range(count)]
        try:
            connection.send(HEALTH)
            open_still = connection.read().status == 200
        except (EOFError, ConnectionError):
            open_still = False
        return told, open_still


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with running_server() as number:
        yield number


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_answered_alike_however_often_it_came(port: int, name: str) -> None:
    request, count = REQUESTS[name]
    parsed = _answers(port, request, count)
    for first in (b"", b"", PLAIN, HEALTH):
        assert _answers(port, request, count, first) == parsed


def test_empty_lines_after_a_request_are_no_head_of_it(port: int) -> None:
    with closing(Connection(port)) as connection, closing(Connection(port)) as other:
        connection.send(PLAIN)
        assert connection.read().status == 200
        empty = b"\n\r\n\r\n"
        connection.send(empty + b"\n" * len(ROW))  # as long as a request would be, whose head the empty lines are
        connection.send(HEALTH)
        assert connection.read().status == 200  # so they were read
        other.send(empty + ROW)
        assert other.read().status == 400


def test_a_known_request_is_answered_behind_one_that_is_still_computed_and_never_before_it(port: int) -> None:
    with closing(Connection(port)) as connection:
        connection.send(PLAIN)
        connection.read()
        connection.send(post("/predict", {"features": [111, 0.2, 0]}))
        connection.send(PLAIN)
        assert connection.read().json["prediction"] == [111.2]
        connection.send(PLAIN)
        assert [connection.read().json["prediction"] for _ in range(2)] == [[6.5], [6.5]]


def test_large_bodies_are_counted_while_they_are_held_also_when_their_head_came_before(port: int) -> None:
    rows = [[111, 1.0, 0]] + [[1.2345678, 2, 3]] * 4500
    request = post("/predict", {"features": rows})
    with closing(Connection(port)) as connection:
        for _ in range(2):
            connection.send(request)
            until(lambda: metric(port, BUFFERED) > 0, what="the body's bytes in the metrics")
            assert connection.read().status == 200
            assert metric(port, BUFFERED) == 0


def test_a_known_head_does_not_keep_a_silent_connection_nor_one_that_breaks_off() -> None:
    with (
        running_server(TIDEGATE_IDLE_TIMEOUT_S="1", TIDEGATE_RECEIVE_TIMEOUT_S="1") as port,
        closing(Connection(port)) as silent,
        closing(Connection(port)) as broken,
    ):
        for connection in (silent, broken):
            for _ in range(2):
                connection.send(PLAIN)
                assert connection.read().status == 200
        broken.send(PLAIN[:-1])
        assert broken.read().status == 408
        assert silent.closed()


def test_a_known_request_that_is_computed_when_the_server_is_told_to_end_is_answered() -> None:
    with running_server() as port:
        connection = Connection(port)
        connection.send(post("/predict", {"features": [111, 0.0, 0]}))
        connection.read()
        connection.send(post("/predict", {"features": [111, 2.0, 0]}))  # as long, so that the head is known
        until(lambda: metric(port, "model_requests_in_progress") == 1, what="the request being computed")
    with closing(connection):
        assert connection.read().json["prediction"] == [113.0]
        assert connection.closed()


def test_heads_that_are_known_open_no_door(tmp_path: Path) -> None:
    """A key, a wrong one, none; and one that is revoked once its head is known."""
    bed = Bed(tmp_path / "data")
    try:
        bed.replica("2")
        gateway = bed.gateway("--host", "0.0.0.0", TIDEGATE_API_KEY="own")
        _publish_keys(bed, "second")

        def ask(*headers: str) -> int:
            with closing(Connection(gateway.port)) as connection:
                connection.send(post("/predict/sums", {"features": [1, 2, 3]}, *headers))
                return connection.read().status

        second = "authorization: Bearer second"
        for _ in range(3):
            assert [ask(), ask("authorization: Bearer wrong"), ask("authorization: Bearer own"), ask(second)] == [
                401, 401, 200, 200,
            ]  # fmt: skip
        _publish_keys(bed)
        assert [ask(second), ask(second), ask("authorization: Bearer own")] == [401, 401, 200]
        _publish_keys(bed, "second")
        assert [ask(second), ask(second)] == [200, 200]
    finally:
        bed.close()


def _publish_keys(bed: Bed, *keys: str) -> None:
    bed.revision += 1
    hashes = tuple(key_hash(key) for key in keys)
    bed.publisher.publish(replace(bed.snapshot_of(bed.endpoint({"2": 100})), key_hashes=hashes))
    bed.wait_until_in_force()

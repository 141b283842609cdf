"""A server that is allowed little memory says so, and is still there for the next request."""

from __future__ import annotations

import contextlib
import gzip
import json
import resource
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.http_bytes import Connection, post
from support.linear import running_process

MEGABYTE = 1 << 20
CLOSED = 0
"""The connection was closed: there was not even room for what came."""
ENV = {
    "TIDEGATE_JSON_BYTES_MAX": str(8 * MEGABYTE),
    "TIDEGATE_REQUEST_BYTES_MAX": str(64 * MEGABYTE),
}
ROWS = b'{"features": [%b]}' % b",".join([b"[1,2,3]"] * 900_000)
NULLS = b'{"features": [%b]}' % b",".join([b"[1,2,null]"] * 100_000)
TEXTS = b'{"features": [%b]}' % b",".join([b'"x"'] * 250_000)
TENSOR = {"name": "input", "shape": [300_000, 3], "datatype": "FP64", "parameters": {"binary_data_size": 7_200_000}}
V2_HEAD = json.dumps({"inputs": [TENSOR]}).encode()
REQUESTS = {
    "rows": post("/predict", ROWS),
    "nulls": post("/predict", NULLS),
    "texts": post("/predict", TEXTS),
    "MLflow": post("/invocations", ROWS.replace(b"features", b"instances")),
    "tensors": post(
        "/v2/models/linear/infer", V2_HEAD + bytes(7_200_000), f"inference-header-content-length: {len(V2_HEAD)}"
    ),
    "gzip": post("/predict", gzip.compress(ROWS, 1), "content-encoding: gzip"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, int]]:
    with running_process(**ENV) as found:
        yield found


@pytest.mark.parametrize("room_mb", [16, 64, 256])
@pytest.mark.parametrize("kind", list(REQUESTS))
def test_a_large_request_at_a_low_limit(server: tuple[int, int], kind: str, room_mb: int) -> None:
    port, pid = server
    status = CLOSED
    with closing(Connection(port)) as connection:
        connection.socket.settimeout(60)
        with _limited(pid, room_mb * MEGABYTE), contextlib.suppress(EOFError, ConnectionError):
            connection.send(REQUESTS[kind])
            status = connection.read().status
    assert status in (200, 422, 503, 504, CLOSED)
    assert _answers(port)


class _limited:  # noqa: N801 (reads as a function)
    def __init__(self, pid: int, room_bytes: int) -> None:
        self._pid, self._room_bytes = pid, room_bytes

    def __enter__(self) -> None:
        used_bytes = int(Path(f"/proc/{self._pid}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(self._pid, resource.RLIMIT_AS, (used_bytes + self._room_bytes, resource.RLIM_INFINITY))

    def __exit__(self, *_: object) -> None:
        resource.prlimit(self._pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _answers(port: int) -> bool:
    with closing(Connection(port)) as connection:
        connection.send(post("/predict", {"features": [1, 2, 3]}))
        return connection.read().status == 200

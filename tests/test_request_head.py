"""Heads that two servers may read differently: refused alike by replica, gateway and control plane."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from support.control import container_at, served
from support.gateway_bed import Bed
from tidegate.request_head import head_fault

Address = str | tuple[str, int]

WRONG = {
    "two hosts": ["host: t", "host: elsewhere"],
    "twice the same host": ["host: t", "Host: t"],
    "no host": [],
    "an unknown coding": ["host: t", "transfer-encoding: gzip, chunked"],
    "another coding": ["host: t", "transfer-encoding: identity"],
    "a length of thousands of digits": ["host: t", f"content-length: {'0' * 5000}"],
    "two codings": ["host: t", "transfer-encoding: chunked", "transfer-encoding: chunked"],
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Address]]:
    """Addresses of a gateway, one of its replicas and a control plane."""
    bed = Bed(tmp_path_factory.mktemp("bed") / "data")
    try:
        bed.replica("1")
        gateway = bed.gateway()
        bed.publish({"1": 100})
        container = container_at(tmp_path_factory.mktemp("api") / "data")
        with served(container) as api:
            replica = bed.replicas[0].target.address.removeprefix("unix:")
            yield {
                "gateway": ("127.0.0.1", gateway.port),
                "replica": replica,
                "api": ("127.0.0.1", api.base_url.port or 0),
            }
        container.close()
    finally:
        bed.close()


def answer_to(address: Address, line: str, headers: list[str]) -> bytes:
    """Of the whole connection: a second request follows, which must not be answered."""
    head = "\r\n".join([line, *headers, "", ""])
    body = "0\r\n\r\n" if "transfer-encoding" in head else ""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as connection:
        connection.settimeout(20)
        connection.connect(address)
        connection.sendall((head + body + "GET /health HTTP/1.1\r\nhost: t\r\n\r\n").encode())
        said = b""
        while chunk := connection.recv(65536):
            said += chunk
    return said


@pytest.mark.parametrize("server", ["gateway", "replica", "api"])
@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("line", ["GET /health HTTP/1.1", "POST /predict/sums HTTP/1.1"])
def test_a_head_that_can_be_read_in_two_ways_is_400(
    servers: dict[str, Address], server: str, line: str, headers: list[str]
) -> None:
    said = answer_to(servers[server], line, headers)
    assert said.startswith(b"HTTP/1.1 400 "), said[:200]
    assert len(re.findall(rb"HTTP/1\.1 \d", said)) == 1, "nothing after it is taken for a request"


@pytest.mark.parametrize("server", ["gateway", "replica", "api"])
def test_http_2_in_a_request_line_is_400(servers: dict[str, Address], server: str) -> None:
    assert answer_to(servers[server], "GET /health HTTP/2.0", ["host: t"]).startswith(b"HTTP/1.1 400 ")


def test_what_is_right_is_taken() -> None:
    assert head_fault("1.1", [(b"host", b"t"), (b"transfer-encoding", b" Chunked ")]) is None
    assert head_fault("1.0", []) is None

"""The bound on the bytes of requests that a gateway holds, and their sum over two gateways."""

from __future__ import annotations

import re
from contextlib import closing

from support.gateway_bed import Bed, Gateway
from support.http_bytes import Connection, post
from support.wait import until

HALF_BYTES = 600_000


def held_bytes(gateway: Gateway) -> int:
    with closing(Connection(gateway.port)) as connection:
        connection.send(b"GET /metrics HTTP/1.1\r\nhost: t\r\n\r\n")
        found = re.search(r"^tidegate_buffered_bytes (\S+)$", connection.read().body.decode(), re.MULTILINE)
        assert found is not None
        return int(float(found[1]))


def test_each_gateway_holds_no_more_than_its_bound_and_tells_what_all_hold(bed: Bed) -> None:
    bed.replica("1")
    bounds = {"TIDEGATE_REQUEST_BYTES_MAX": "1000000", "TIDEGATE_BUFFERED_BYTES_MAX": "1000000"}
    gateways = [bed.gateway(id=f"gateway-{number}", port=0, **bounds) for number in range(2)]
    bed.publish({"1": 100})
    slow = [Connection(gateway.port) for gateway in gateways]
    for one in slow:
        one.send(post("/predict/sums", bytes(HALF_BYTES), "content-length: 900000"))
    until(lambda: [held_bytes(gateway) for gateway in gateways] == [2 * HALF_BYTES] * 2, what="the sum of what is held")
    for gateway in gateways:
        with closing(Connection(gateway.port)) as connection:
            connection.send(post("/predict/sums", b"", "content-length: 500000"))
            reply = connection.read()
            assert (reply.status, reply.json["code"], reply.headers["retry-after"]) == (429, "buffers_full", "1")
        assert gateway.ask([1, 2, 3]).json["prediction"] == [6.0]
    for one in slow:
        one.close()
    until(lambda: held_bytes(gateways[0]) == 0, what="an end of what was held")

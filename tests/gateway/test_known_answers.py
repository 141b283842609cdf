"""Answers whose every byte but the tensors is expected: however they come, they are what a parser reads of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest

from support.gateway_replica import SIGNATURE
from tidegate.dataplane.batching.batcher import Batcher
from tidegate.dataplane.calls.batch import Batch
from tidegate.dataplane.calls.call import Call, Destination, Identity, Sink
from tidegate.dataplane.calls.outputs import Outputs
from tidegate.dataplane.codec.v2 import decode_request, decode_response
from tidegate.dataplane.codec.wire_template import HOST, ROWS_MAX, Templates, templates_of
from tidegate.errors import TidegateError
from tidegate.gateway.upstream.connection import Expected, HopAnswer, HopConnection
from tidegate.gateway.upstream.hop import RequestWriter, read_answer
from tidegate.wire.signature import Signature, TensorSpec

IDENTITY = Identity("sums", "sums", "1", "1")


def templates(version: str = "1", signature: Signature = SIGNATURE) -> Templates:
    return templates_of("sums", version, signature)


TEMPLATE = templates()[None]


def batch_of(packed: Any, signature: Signature = SIGNATURE) -> Batch:
    where = Destination(IDENTITY, signature, [1, 2, 3], Batcher.__new__(Batcher))
    call = Call(cast("Sink", None), where, "id", len(packed))
    call.packed = packed
    return Batch(where, [call], len(packed))


def answer_of(rows: int, version: str = "1") -> bytes:
    outputs = {"prediction": np.arange(rows) + 0.5, "probabilities": np.full((rows, 2), 0.5)}
    made = templates(version)[None].answer(outputs, rows)
    assert made is not None
    return made


class Wire:
    """A connection without a socket: `feed` is what comes, `heard` what was made of it."""

    def __init__(self) -> None:
        self.connection = HopConnection(asyncio.get_running_loop())
        self.heard: list[HopAnswer | None] = []
        self.closed = False
        self.connection.connection_made(cast("asyncio.BaseTransport", self))

    def writelines(self, parts: list[bytes]) -> None: ...

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        if not self.closed:
            self.closed = True
            self.connection.connection_lost(None)

    def ask(self, expected: Expected | None) -> None:
        self.connection.send([b""], self.heard.append, expected)

    def feed(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.connection.data_received(piece)


def told(answer: HopAnswer | None, batch: Batch) -> Any:
    if answer is None:
        return None
    result = read_answer(answer, batch, TEMPLATE)
    if isinstance(result, TidegateError):
        return type(result), result.message
    return [(name, array.dtype, array.tolist()) for name, array in result.tensors.items()]


REPLIES = {
    "expected": answer_of(2),
    "of another version": answer_of(2, "2"),
    "of another number of rows": answer_of(3),
    "as long, and other shapes": answer_of(2).replace(b'"shape":[2,2]', b'"shape":[1,4]'),
    "another status": answer_of(2).replace(b"200 OK", b"500 NO"),
    "closing": answer_of(2).replace(b"content-type: application/octet-stream", b"connection: close" + b" " * 22),
    "a refusal": b'HTTP/1.1 422 X\r\ncontent-length: 13\r\n\r\n{"error":"no"',
    "no HTTP": b"what?" * 80,
}


@pytest.mark.parametrize("name", REPLIES)
def test_an_answer_is_read_alike_in_however_many_pieces_it_comes(name: str) -> None:
    reply, batch = REPLIES[name], batch_of([[1.0, 2.0, 3.0]] * 2)
    expected = RequestWriter("sums", HOST, templates()).request(batch).expected
    assert expected is not None

    def read(*pieces: bytes, expected: Expected | None = expected) -> Any:
        wire = Wire()
        wire.ask(expected)
        wire.feed(*pieces)
        assert len(wire.heard) == 1
        return told(wire.heard[0], batch), wire.closed

    async def go() -> None:
        parsed = read(reply, expected=None)
        assert read(reply) == parsed
        assert read(*(reply[at : at + 1] for at in range(len(reply)))) == parsed
        for at in range(1, len(reply)):
            assert read(reply[:at], reply[at:]) == parsed

    asyncio.run(go())


def test_what_nobody_asked_for_is_no_answer_to_what_is_asked_next() -> None:
    batch = batch_of([[1.0, 2.0, 3.0]] * 2)
    expected = RequestWriter("sums", HOST, templates()).request(batch).expected

    async def go() -> None:
        wire, other = Wire(), answer_of(2).replace(b"\0\0\0\0\0\0\xe0?", b"\0\0\0\0\0\0\0@")
        assert other != answer_of(2)
        for unasked in ((answer_of(2) + other,), (answer_of(2), other), (answer_of(2), other[:40], other[40:])):
            wire.heard.clear()
            wire.ask(expected)
            wire.feed(*unasked)
            assert [told(answer, batch)[0][2] for answer in wire.heard] == [[0.5, 1.5]]
        wire.ask(expected)
        wire.feed(answer_of(2))
        assert told(wire.heard[-1], batch)[0][2] == [0.5, 1.5]
        assert not wire.closed

    asyncio.run(go())


def _matrix(datatype: str) -> Signature:
    return Signature("matrix", (TensorSpec("input", datatype, (-1, 3)),), SIGNATURE.outputs)


NUMBERS = np.arange(12).reshape(4, 3)
ARRAYS: dict[str, tuple[str, Callable[[], Any]]] = {
    "lists": ("FP64", lambda: [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
    "other byte order": ("FP64", lambda: NUMBERS.astype(">f8")),
    "columns first": ("FP32", lambda: np.asfortranarray(NUMBERS.astype("<f4"))),
    "every other row": ("FP64", lambda: np.repeat(NUMBERS.astype("<f8"), 2, axis=0)[::2]),
    "backwards": ("INT32", lambda: NUMBERS.astype("<i4")[::-1, ::-1]),
    "halves": ("FP16", lambda: NUMBERS.astype("<f2")),
    "integers": ("INT64", lambda: NUMBERS),
    "bytes": ("UINT8", lambda: NUMBERS.astype("u1")),
    "NaN": ("FP64", lambda: np.array([[np.nan, np.inf, -0.0]])),
    "as many as are known": ("FP32", lambda: np.ones((ROWS_MAX, 3), "<f4")),
    "more": ("FP32", lambda: np.ones((ROWS_MAX + 1, 3), "<f4")),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_a_batch_goes_out_as_the_same_tensor_in_both_forms(name: str) -> None:
    datatype, make = ARRAYS[name]
    signature = _matrix(datatype)
    known = RequestWriter("sums", HOST, templates(signature=signature)).request(batch_of(make(), signature))
    ordinary = RequestWriter("sums", "another:8000", templates(signature=signature)).request(
        batch_of(make(), signature)
    )
    assert (known.expected is None) == (name == "more")
    assert ordinary.expected is None
    sent = [_tensor(b"".join(request.parts)) for request in (known, ordinary)]
    np.testing.assert_array_equal(sent[0], sent[1], strict=True)
    np.testing.assert_array_equal(sent[0], np.asarray(make(), dtype=signature_dtype(datatype)), strict=True)


def _tensor(request: bytes) -> Any:
    head, _, body = request.partition(b"\r\n\r\n")
    lengths = dict(line.split(b": ") for line in head.split(b"\r\n")[1:])
    assert len(body) == int(lengths[b"content-length"])
    return decode_request(body, int(lengths[b"inference-header-content-length"])).tensors["input"]


def signature_dtype(datatype: str) -> Any:
    return {"FP": "<f", "IN": "<i", "UI": "<u"}[datatype[:2]] + str(int(datatype.lstrip("FPUINT")) // 8)


def test_a_batch_with_params_or_several_wanted_outputs_goes_the_ordinary_way() -> None:
    writer = RequestWriter("sums", HOST, templates())
    batch = batch_of([[1.0, 2.0, 3.0]])
    assert writer.request(batch).expected is not None
    batch.wanted = frozenset({"prediction"})
    alone = writer.request(batch)
    assert alone.template is not None
    assert alone.template.wanted == batch.wanted
    batch.wanted = frozenset({"prediction", "probabilities"})
    assert writer.request(batch).expected is None
    batch.wanted, batch.params = None, "{}"
    assert writer.request(batch).expected is None


def test_outputs_of_a_known_answer_are_those_a_parser_reads() -> None:
    reply = answer_of(3)
    body = reply.partition(b"\r\n\r\n")[2]
    length = int(reply.split(b"inference-header-content-length: ")[1].split(b"\r\n")[0])
    parsed, known = decode_response(body, length), Outputs(TEMPLATE.outputs(reply, 3)).tensors
    assert list(parsed) == list(known)
    for name, array in parsed.items():
        np.testing.assert_array_equal(known[name], array, strict=True)

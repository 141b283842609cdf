"""One target against servers that behave as they should not: real sockets, a server that says what it is told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from support.gateway_replica import SIGNATURE
from tidegate import clock
from tidegate.dataplane.base import stepwise
from tidegate.dataplane.base.tensors import STRINGS_MAX, to_raw
from tidegate.dataplane.batching.batcher import Batcher
from tidegate.dataplane.calls.batch import Batch
from tidegate.dataplane.calls.call import Call, Destination, Identity
from tidegate.dataplane.calls.outputs import ModelFailed, Outputs, TargetLost, TargetUnreached, TargetUnread
from tidegate.errors import DeadlineExceeded, Internal, NoReadyReplica, Overloaded, TidegateError, UnfitInput
from tidegate.gateway.upstream.dial import UpstreamAddress
from tidegate.gateway.upstream.target import UpstreamHooks, UpstreamTarget

Answers = Callable[[int, str, bytes], bytes | None]
"""(number of the request on this server, its path, its body) to raw bytes; None: close without an answer."""

READY = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def answer(status: int, body: bytes, *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def outputs_of(values: list[float], **more: Any) -> bytes:
    raw = np.array(values).tobytes()
    tensor = {"name": "prediction", "shape": [len(values)], "datatype": "FP64"}
    header = json.dumps({"outputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}, **more}]}).encode()
    return answer(200, header + raw, f"Inference-Header-Content-Length: {len(header)}")


class Server:
    """Answers readiness, and hands inference requests to `answers`. `connections` counts them.

    Cleared, `ready` and `reading` keep readiness without an answer, and requests unread.
    """

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.ready, self.reading = asyncio.Event(), asyncio.Event()
        self.ready.set()
        self.reading.set()
        self.writers: list[asyncio.StreamWriter] = []
        self.connections = self.ended = 0
        self.requests: list[bytes] = []
        self._server: asyncio.Server | None = None

    async def start(self, path: Path | None = None) -> str:
        if path is not None:
            self._server = await asyncio.start_unix_server(self._serve, path)
            return f"unix:{path}"
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"tcp:127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    def die(self) -> None:
        """As a process that is killed: nobody listens any more, and every connection is closed."""
        self.close()
        for writer in self.writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split()[1].decode()
                if path == "/v2/health/ready":
                    await self.ready.wait()
                    writer.write(READY)
                    if not self.reading.is_set():
                        cast("asyncio.Transport", writer.transport).pause_reading()
                    continue
                length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-l"))
                body = await reader.readexactly(length)
                self.requests.append(body)
                reply = self.answers(len(self.requests), path, body)
                if reply is None:
                    return
                writer.write(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.ended += 1
            writer.close()


class Sink:
    connection: object = None

    def answer(self, call: Call, outputs: Outputs, first_row: int) -> None: ...

    def fail(self, call: Call, error: TidegateError) -> None: ...


def a_batch(rows: int = 2) -> Batch:
    where = Destination(Identity("sums", "sums", "1", "1"), SIGNATURE, [1, 2, 3], Batcher.__new__(Batcher))
    call = Call(Sink(), where, "id", rows)
    call.packed = [[1.0, 2.0, 3.0]] * rows
    batch = Batch(where, [call], rows)
    batch.sent_s = clock.monotonic()
    return batch


class Tried:
    """A target and what became of the batches sent to it."""

    def __init__(self, address: str, answer_timeout_s: float) -> None:
        self.ups = self.downs = 0
        where = UpstreamAddress("r-1", address, "sums")
        loop = asyncio.get_running_loop()
        self.target = UpstreamTarget(
            where, UpstreamHooks(self._up, self._down), loop, answer_timeout_s, clock.monotonic
        )

    def _up(self, _: UpstreamTarget) -> None:
        self.ups += 1

    def _down(self, _: UpstreamTarget) -> None:
        self.downs += 1

    async def until(self, look: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not look():
                await asyncio.sleep(0.005)

    async def send(self, batch: Batch) -> Outputs | TidegateError:
        heard: asyncio.Future[Outputs | TidegateError] = asyncio.get_running_loop().create_future()
        self.target.send(batch, lambda target, sent, result: heard.set_result(result))
        async with asyncio.timeout(5):
            return await heard


def run(
    answers: Answers,
    story: Callable[[Tried, Server], Awaitable[None]],
    *,
    answer_timeout_s: float = 5.0,
    path: Path | None = None,
    reading: bool = True,
) -> None:
    async def main() -> None:
        server = Server(answers)
        if not reading:
            server.reading.clear()
        tried = Tried(await server.start(path), answer_timeout_s)
        tried.target.start()
        await tried.until(lambda: tried.target.up)
        try:
            await story(tried, server)
        finally:
            tried.target.retire()
            server.close()
            await asyncio.sleep(0.01)

    asyncio.run(main())


def test_a_batch_goes_out_as_binary_v2_and_its_outputs_come_back() -> None:
    async def story(tried: Tried, server: Server) -> None:
        result = await tried.send(a_batch())
        assert isinstance(result, Outputs)
        assert result.tensors["prediction"].tolist() == [6.0, 6.0]
        header, raw = server.requests[0][:-48], server.requests[0][-48:]
        assert json.loads(header) == {
            "inputs": [{"name": "input", "shape": [2, 3], "datatype": "FP64", "parameters": {"binary_data_size": 48}}],
            "parameters": {"binary_data_output": True},
        }
        assert np.frombuffer(raw).tolist() == [1.0, 2.0, 3.0] * 2

    run(lambda n, path, body: outputs_of([6.0, 6.0]), story)


@pytest.mark.parametrize(
    ("reply", "kind", "says"),
    [
        (answer(422, b'{"error":"too hot","code":"unfit_input"}'), UnfitInput, "too hot"),
        (answer(400, b'{"error":"foreign"}'), UnfitInput, "foreign"),
        (answer(500, b'{"error":"it broke","code":"model_failed"}'), ModelFailed, "it broke"),
        (answer(429, b'{"error":"busy"}', "Retry-After: 3"), Overloaded, "busy"),
        (answer(503, b"plain text"), NoReadyReplica, "try again"),
        (answer(404, b'{"error":"no such model"}'), Internal, "404: no such model"),
        (answer(200, b"this is no JSON"), ModelFailed, "cannot be read"),
        (answer(200, b'{"outputs":[]}'), ModelFailed, "no outputs"),
        (outputs_of([1.0]), ModelFailed, "2 rows"),
        (outputs_of([1.0, 2.0], shape=[7]), ModelFailed, "cannot be read"),
        (outputs_of([1.0, 2.0], datatype="FP31"), ModelFailed, "cannot be read"),
    ],
)
def test_every_other_answer_becomes_an_error_that_says_what_happened(
    reply: bytes, kind: type[TidegateError], says: str
) -> None:
    async def story(tried: Tried, server: Server) -> None:
        result = await tried.send(a_batch())
        assert type(result) is kind
        assert says in result.message
        assert (result.retry_after_s == 3.0) == (kind is Overloaded)
        assert tried.downs == 0  # the replica lives: it is only this batch that failed

    run(lambda n, path, body: reply, story)


@pytest.mark.parametrize("status", [401, 403])
def test_a_batch_whose_key_is_refused_goes_to_another_target_and_this_one_is_left_alone(status: int) -> None:
    async def story(tried: Tried, server: Server) -> None:
        result = await tried.send(a_batch())
        assert type(result) is TargetUnreached
        assert (len(server.requests), tried.downs) == (1, 1)

    run(lambda n, path, body: answer(status, b'{"error":"who are you"}'), story)


def test_a_chunked_answer_in_many_pieces() -> None:
    header = json.dumps({"outputs": [{"name": "prediction", "shape": [2], "datatype": "FP64", "data": [1, 2]}]})
    chunks = "".join(f"{len(part):x}\r\n{part}\r\n" for part in (header[:9], header[9:])) + "0\r\n\r\n"
    reply = ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks).encode()

    async def story(tried: Tried, server: Server) -> None:
        for _ in range(3):
            result = await tried.send(a_batch())
            assert isinstance(result, Outputs)
            assert result.tensors["prediction"].tolist() == [1.0, 2.0]
        assert server.connections == 1

    run(lambda n, path, body: reply, story)


def test_a_connection_closed_without_an_answer_is_tried_once_more() -> None:
    async def story(tried: Tried, server: Server) -> None:
        assert isinstance(await tried.send(a_batch()), Outputs)
        assert (len(server.requests), server.connections, tried.downs) == (2, 2, 0)

    run(lambda n, path, body: None if n == 1 else outputs_of([6.0, 6.0]), story)


def test_a_replica_that_closes_on_every_batch_is_lost_after_the_second() -> None:
    async def story(tried: Tried, server: Server) -> None:
        result = await tried.send(a_batch())
        assert isinstance(result, TargetLost)
        assert (len(server.requests), tried.downs) == (2, 1)
        await tried.until(lambda: tried.ups == 2)  # it says that it is ready, so it is tried again later

    run(lambda n, path, body: None, story)


def nothing_comes(number: int, path: str, body: bytes) -> bytes:
    raise AssertionError("this server reads no batch")


@pytest.mark.parametrize("turns", range(8))
def test_a_batch_sent_while_its_replica_dies_is_unreached(turns: int, tmp_path: Path) -> None:
    async def story(tried: Tried, server: Server) -> None:
        server.die()
        (tmp_path / "r.sock").unlink()
        for _ in range(turns):  # so that the batch meets each moment between the death and its discovery
            await asyncio.sleep(0)
        if tried.target.up:
            assert isinstance(await tried.send(a_batch()), TargetUnreached)
        await tried.until(lambda: tried.downs == 1)

    run(nothing_comes, story, path=tmp_path / "r.sock")


def test_a_batch_that_its_replica_did_not_read_is_unreached(tmp_path: Path) -> None:
    async def story(tried: Tried, server: Server) -> None:
        sending = asyncio.ensure_future(tried.send(a_batch()))
        await tried.until(lambda: tried.target._written)
        await asyncio.sleep(0)
        server.die()
        assert isinstance(await sending, TargetUnread)
        assert tried.downs == 1

    run(nothing_comes, story, path=tmp_path / "r.sock", reading=False)


@pytest.mark.parametrize(("rows", "expected"), [(2, TargetUnreached), (10_000, TargetUnread)])
def test_a_broken_pipe_says_that_nothing_came_of_what_is_written_at_once(
    rows: int, expected: type[TargetUnreached], tmp_path: Path
) -> None:
    async def story(tried: Tried, server: Server) -> None:
        sending = asyncio.ensure_future(tried.send(a_batch(rows)))
        await tried.until(lambda: tried.target._written)
        server.close()
        connection = tried.target._connection
        assert connection is not None
        connection.connection_lost(BrokenPipeError())
        (tmp_path / "r.sock").unlink()
        assert type(await sending) is expected

    run(nothing_comes, story, path=tmp_path / "r.sock", reading=False)


def test_a_batch_that_its_replica_read_is_lost(tmp_path: Path) -> None:
    async def story(tried: Tried, server: Server) -> None:
        sending = asyncio.ensure_future(tried.send(a_batch()))
        await tried.until(lambda: len(server.requests) == 1)
        server.die()
        assert isinstance(await sending, TargetLost)

    run(lambda n, path, body: b"", story, path=tmp_path / "r.sock")


def test_a_batch_waits_for_no_replica_that_is_long_in_being_ready_again() -> None:
    async def story(tried: Tried, server: Server) -> None:
        server.ready.clear()
        server.writers[0].transport.abort()
        await tried.until(lambda: server.connections == 2)
        assert isinstance(await tried.send(a_batch()), TargetUnreached)
        server.ready.set()
        await tried.until(lambda: tried.ups == 2)
        assert isinstance(await tried.send(a_batch()), Outputs)

    run(lambda n, path, body: outputs_of([6.0, 6.0]), story)


def test_what_speaks_no_http_is_lost() -> None:
    async def story(tried: Tried, server: Server) -> None:
        assert isinstance(await tried.send(a_batch()), TargetLost)

    run(lambda n, path, body: b"SSH-2.0-OpenSSH_9.6\r\n", story)


def test_an_answer_that_takes_too_long_is_given_up_and_the_connection_cut() -> None:
    async def story(tried: Tried, server: Server) -> None:
        assert isinstance(await tried.send(a_batch()), DeadlineExceeded)
        assert tried.downs == 1
        await tried.until(lambda: tried.ups == 2)
        assert server.connections == 2
        assert isinstance(await tried.send(a_batch()), Outputs)

    run(lambda n, path, body: b"" if n == 1 else outputs_of([6.0, 6.0]), story, answer_timeout_s=1.0)


def test_a_server_that_keeps_no_connection_alive_still_serves() -> None:
    reply = outputs_of([6.0, 6.0]).replace(b"\r\n", b"\r\nconnection: close\r\n", 1)

    async def story(tried: Tried, server: Server) -> None:
        for _ in range(4):
            assert isinstance(await tried.send(a_batch()), Outputs)
        assert tried.downs == 0

    run(lambda n, path, body: reply, story)


def test_retiring_answers_what_is_in_flight() -> None:
    async def story(tried: Tried, server: Server) -> None:
        sending = asyncio.ensure_future(tried.send(a_batch()))
        await asyncio.sleep(0)
        tried.target.retire()
        assert isinstance(await sending, Outputs)

    run(lambda n, path, body: outputs_of([6.0, 6.0]), story)


def test_a_target_retired_while_it_asks_for_readiness_leaves_no_connection_behind() -> None:
    async def main() -> None:
        server = Server(nothing_comes)
        server.ready.clear()
        tried = Tried(await server.start(), 1.0)
        tried.target.start()
        await tried.until(lambda: server.connections == 1)
        tried.target.retire()
        server.ready.set()
        await tried.until(lambda: server.ended == 1)
        server.close()

    asyncio.run(main())


def test_an_unreachable_replica_is_tried_and_is_not_offered() -> None:
    async def main() -> None:
        tried = Tried("unix:/nowhere/at/all.sock", 1.0)
        tried.target.start()
        async with asyncio.timeout(5):
            await tried.target.tried.wait()
        assert not tried.target.up
        assert tried.ups == 0
        tried.target.retire()
        await asyncio.sleep(0)

    asyncio.run(main())


def test_a_link_in_the_place_of_a_replica_s_socket_is_not_followed(tmp_path: Path) -> None:
    async def main() -> None:
        server = Server(nothing_comes)
        await server.start(tmp_path / "other.sock")
        (tmp_path / "r.sock").symlink_to(tmp_path / "other.sock")
        tried = Tried(f"unix:{tmp_path / 'r.sock'}", 1.0)
        tried.target.start()
        async with asyncio.timeout(5):
            await tried.target.tried.wait()
        assert (server.connections, tried.target.up) == (0, False)
        tried.target.retire()
        server.close()

    asyncio.run(main())


def test_many_texts_are_written_and_read_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else the loop has to do is done in between, and the texts come as they are."""
    monkeypatch.setattr(stepwise, "STEP_S", 0.0)
    texts = np.empty(40_000, dtype=object)
    texts[:] = [f"text {number}" for number in range(40_000)]
    turns = 0

    async def story(tried: Tried, server: Server) -> None:
        batch = a_batch()
        batch.inputs = {"x": texts}
        batch.rows = len(texts)

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += tried.target._batch is not None and not tried.target._written

        beside = asyncio.ensure_future(others())
        result = await tried.send(batch)
        beside.cancel()
        assert isinstance(result, Outputs)
        assert result.tensors["prediction"].tolist() == texts.tolist()
        assert to_raw(texts, "BYTES") in server.requests[0]

    def answers(number: int, path: str, body: bytes) -> bytes:
        raw = to_raw(texts, "BYTES")
        tensor = {"name": "prediction", "shape": [len(texts)], "datatype": "BYTES"}
        header = json.dumps({"outputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}]}).encode()
        return answer(200, header + raw, f"Inference-Header-Content-Length: {len(header)}")

    run(answers, story)
    assert turns > 3


def test_an_answer_of_more_texts_than_are_read_is_a_failure_of_the_model() -> None:
    count = STRINGS_MAX + 1
    tensor = {"name": "prediction", "shape": [count], "datatype": "BYTES", "parameters": {"binary_data_size": 4}}
    header = json.dumps({"outputs": [tensor]}).encode()
    body = answer(200, header + bytes(4), f"Inference-Header-Content-Length: {len(header)}")

    async def story(tried: Tried, server: Server) -> None:
        result = await tried.send(a_batch())
        assert isinstance(result, ModelFailed)
        assert str(count) in result.message

    run(lambda n, path, sent: body, story)

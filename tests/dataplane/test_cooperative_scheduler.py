"""Large work takes turns with everything else on the loop."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing

from support.http_bytes import Connection, post
from support.linear import running_process
from support.sums import Kept, sums_replica
from tidegate.dataplane.base.cooperative_scheduler import LARGE_BYTES_MIN, CooperativeScheduler
from tidegate.dataplane.protocols.pieces import infer_in_pieces


def _noting(done: list[str], *pieces: str, wanted: bool = True) -> Iterator[bool]:
    for piece in pieces:
        done.append(piece)
        if not wanted:
            return
        yield piece is not pieces[-1]


def test_each_turn_of_the_loop_does_one_piece_and_what_came_meanwhile_goes_in_between() -> None:
    async def go() -> list[str]:
        loop, scheduler, done = asyncio.get_running_loop(), CooperativeScheduler(), list[str]()
        scheduler.take(loop, _noting(done, "a1", "a2"))
        for name in "bc":
            scheduler.take(loop, _noting(done, name))
        for _ in range(5):
            await asyncio.sleep(0)
            done.append("small")
        scheduler.take(loop, _noting(done, "d"))
        await asyncio.sleep(0)
        return done

    assert asyncio.run(go()) == ["a1", "small", "b", "small", "c", "small", "a2", "small", "small", "d"]


def test_work_that_raises_keeps_nobody_else_from_his_turn() -> None:
    async def go() -> tuple[list[str], list[str]]:
        loop, scheduler, done, told = asyncio.get_running_loop(), CooperativeScheduler(), list[str](), list[str]()
        loop.set_exception_handler(lambda _, context: told.append(str(context["exception"])))

        def fail() -> Iterator[bool]:
            yield True
            raise ValueError("no")

        scheduler.take(loop, fail())
        scheduler.take(loop, _noting(done, "a"))
        for _ in range(4):
            await asyncio.sleep(0)
        scheduler.take(loop, _noting(done, "b"))
        await asyncio.sleep(0)
        return done, told

    assert asyncio.run(go()) == (["a", "b"], ["no"])


def test_what_nobody_waits_for_any_more_takes_no_turn() -> None:
    async def go() -> list[str]:
        loop, scheduler, done = asyncio.get_running_loop(), CooperativeScheduler(), list[str]()
        for name in "abc":
            scheduler.take(loop, _noting(done, f"{name} gone", wanted=False))
        scheduler.take(loop, _noting(done, "d"))
        scheduler.take(loop, _noting(done, "e gone", wanted=False))
        await asyncio.sleep(0)
        done.append("small")
        await asyncio.sleep(0)
        scheduler.take(loop, _noting(done, "f"))
        await asyncio.sleep(0)
        return done

    assert asyncio.run(go()) == ["a gone", "b gone", "c gone", "d", "small", "e gone", "f"]


ROWS = 12_000


def _large(value: float, *headers: str) -> bytes:
    """About 400 KB of JSON, which takes some milliseconds to read."""
    return post("/predict", json.dumps({"features": [[value, 1.2345678, 2.3456789]] * ROWS}), *headers)


def test_large_requests_in_their_turns() -> None:
    """They are answered in order, whoever goes meanwhile."""
    assert len(_large(1)) > LARGE_BYTES_MIN
    limits = {"TIDEGATE_JSON_BYTES_MAX": str(8 << 20), "TIDEGATE_REQUEST_BYTES_MAX": str(8 << 20)}
    limits["TIDEGATE_QUEUE_ROWS_MAX"] = str(100 * ROWS)
    with running_process(**limits) as (port, _):
        pipelined = Connection(port)
        pipelined.send(_large(1) + post("/predict", {"features": [1, 2, 3]}) + _large(2))
        for _ in range(4):
            gone = Connection(port)
            gone.send(_large(3))
            gone.close()
        many = [Connection(port) for _ in range(6)]
        for connection in many:
            connection.send(_large(4, "x-tidegate-timeout-ms: 30000"))
        firsts = [pipelined.read().json["prediction"][0] for _ in range(3)]
        assert [round(value, 3) for value in firsts] == [4.58, 6, 5.58]
        assert all(len(connection.read().json["prediction"]) == ROWS for connection in many)
        assert _answers(port)
        for connection in (pipelined, *many):
            connection.close()


def _answers(port: int) -> bool:
    with closing(Connection(port)) as connection:
        connection.send(post("/predict", {"features": [1, 2, 3]}))
        return connection.read().status == 200


def test_the_time_that_a_request_waited_for_its_turn_is_part_of_its_deadline() -> None:
    async def go() -> list[int]:
        engine, hooks = await sums_replica()
        statuses = []
        for waited_s in (0.0, engine.limits.timeout_s + 0.1):
            exchange = Kept(engine, "/predict", b'{"features": [1, 2, 3]}')
            assert list(infer_in_pieces(exchange, engine.clock() - waited_s)) == [False]
            statuses.append((await asyncio.wait_for(exchange.sent, 10))[0])
        assert hooks.on_stop is not None
        await hooks.on_stop()
        return statuses

    assert asyncio.run(go()) == [200, 504]

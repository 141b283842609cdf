"""What the cache does with calls whose client, version or Redis goes away while they are looked up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from support.gateway_replica import SIGNATURE
from tidegate.dataplane.calls.call import Call, Destination, Identity
from tidegate.dataplane.calls.outputs import Outputs
from tidegate.errors import NoReadyReplica, TidegateError
from tidegate.gateway.shared.response_cache import LOOKUP_KEYS_MAX, WAITING_MAX, CachedAdmission, ResponseCache, Visited
from tidegate.wire.gateways.snapshot import RoutedEndpoint, Variant

VARIANT = Variant("1", "1", 100.0, "sums", "digest", SIGNATURE, [1, 2, 3], ())


@dataclass
class Sink:
    """What a client got."""

    connection: object = None
    answers: list[float] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    errors: list[TidegateError] = field(default_factory=list)

    def answer(self, call: Call, outputs: Outputs, first_row: int) -> None:
        self.answers.append(float(outputs.tensors["prediction"][first_row]))
        self.heads.append(call.destination.head)

    def fail(self, call: Call, error: TidegateError) -> None:
        self.errors.append(error)


class Batcher:
    """Takes calls; `error` is what it raises instead."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.error: TidegateError | None = None
        self.accepts = True

    def submit(self, call: Call) -> None:
        if self.error is not None:
            raise self.error
        self.calls.append(call)


class Memory:
    """A link whose Redis is a dict; while `gate` is closed it does not answer."""

    prefix = "tidegate"

    def __init__(self) -> None:
        self.up = True
        self.held: dict[str, bytes] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[int] = []

    async def ask(self, command: Callable[[Any], Awaitable[Any]], timeout_s: float) -> Any:
        await self.gate.wait()
        return await command(self) if self.up else None

    async def mget(self, keys: list[str]) -> list[bytes | None]:
        self.asked.append(len(keys))
        return [self.held.get(key) for key in keys]

    def pipeline(self, transaction: bool) -> Memory:
        return self

    async def __aenter__(self) -> Memory:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def set(self, key: str, written: bytes, px: int) -> None:
        assert px == 60_000
        self.held[key] = written

    async def execute(self) -> None: ...


class Counts:
    def __init__(self) -> None:
        self.hits = self.misses = 0
        self.errors: list[TidegateError] = []

    def cached(self, call: Call, outputs: Outputs, now_s: float) -> None:
        assert not call.done  # it is recorded before it leaves
        self.hits += 1

    def missed(self, call: Call) -> None:
        self.misses += 1

    def call_failed(self, call: Call, error: TidegateError, now_s: float) -> None:
        self.errors.append(error)


class Scene:
    """One version behind a cache."""

    def __init__(self) -> None:
        self.link, self.batcher, self.counts = Memory(), Batcher(), Counts()
        self.cache = ResponseCache(self.link, self.counts, lambda: 1000.0)  # type: ignore[arg-type]  # stand-ins
        self.pool = Visited(self.batcher, set())
        endpoint = RoutedEndpoint("sums", "salt", (VARIANT,), cache_ttl_s=60.0)
        admission = CachedAdmission(self.pool, self.cache, endpoint, VARIANT)
        self.destination = Destination(Identity("sums", "sums", "1", "1"), SIGNATURE, [1, 2, 3], admission)

    def call(self, *row: float) -> tuple[Call, Sink]:
        sink = Sink()
        call = Call(sink, self.destination, "id", 1)
        call.packed = [list(row)]
        self.destination.batcher.submit(call)
        return call, sink

    def compute(self) -> None:
        """The version answers what it got."""
        calls, self.batcher.calls = self.batcher.calls, []
        for call in calls:
            sums = np.asarray(call.packed).sum(axis=1)
            call.answer(Outputs({"prediction": sums, "probabilities": np.ones((1, 2))}), 0)

    async def settled(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


def play(act: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        await act(Scene())

    asyncio.run(run())


def test_variants_of_a_version_share_kept_answers_and_are_named_by_their_own() -> None:
    async def act(scene: Scene) -> None:
        scene.call(1, 2, 3)
        await scene.settled()
        scene.compute()
        await scene.settled()
        for name, version, found in (("treatment", "1", [6.0]), ("other", "2", [])):
            arm = msgspec.structs.replace(VARIANT, name=name, version=version)
            admission = CachedAdmission(
                scene.pool, scene.cache, RoutedEndpoint("sums", "salt", (arm,), cache_ttl_s=60.0), arm
            )
            sink = Sink()
            call = Call(
                sink, Destination(Identity("sums", "sums", version, name), SIGNATURE, [1, 2, 3], admission), "id", 1
            )
            call.packed = [[1.0, 2.0, 3.0]]
            admission.submit(call)
            await scene.settled()
            assert sink.answers == found
            assert all(b"x-tidegate-variant: treatment" in head for head in sink.heads)

    play(act)


def test_a_call_is_computed_once_and_found_from_then_on() -> None:
    async def act(scene: Scene) -> None:
        _, first = scene.call(1, 2, 3)
        assert len(scene.pool.visitors) == 1  # its pool may not close yet
        await scene.settled()
        assert scene.pool.visitors == set()
        scene.compute()
        await scene.settled()
        _, second = scene.call(1.0, 2.0, 3.0)
        await scene.settled()
        assert (first.answers, second.answers) == ([6.0], [6.0])
        assert b"x-tidegate-cache: hit" not in first.heads[0]
        assert second.heads[0].startswith(b"x-tidegate-cache: hit\r\n")
        assert scene.batcher.calls == []
        assert (scene.counts.hits, scene.counts.misses) == (1, 1)

    play(act)


def test_all_calls_of_one_turn_share_a_command_and_none_is_lost() -> None:
    async def act(scene: Scene) -> None:
        count = 3 * LOOKUP_KEYS_MAX + 5
        for number in range(count):
            scene.call(number, 0, 0)
        await scene.settled()
        assert scene.link.asked == [LOOKUP_KEYS_MAX] * 3 + [5]
        assert len(scene.batcher.calls) == count

    play(act)


def test_a_failure_is_passed_on_and_not_kept() -> None:
    async def act(scene: Scene) -> None:
        call, sink = scene.call(1, 2, 3)
        await scene.settled()
        call.fail(NoReadyReplica())
        await scene.settled()
        assert len(sink.errors) == 1
        assert scene.link.held == {}

    play(act)


def test_a_version_that_cannot_take_a_call_after_all_fails_it_and_it_is_counted() -> None:
    async def act(scene: Scene) -> None:
        scene.batcher.error = NoReadyReplica()
        _, sink = scene.call(1, 2, 3)
        await scene.settled()
        assert sink.errors == scene.counts.errors == [scene.batcher.error]
        assert scene.pool.visitors == set()

    play(act)


def test_a_call_that_nobody_waits_for_any_more_is_not_computed() -> None:
    async def act(scene: Scene) -> None:
        scene.link.gate.clear()
        call, sink = scene.call(1, 2, 3)
        await scene.settled()
        call.cancel()
        scene.link.gate.set()
        await scene.settled()
        assert scene.batcher.calls == []
        assert (sink.answers, sink.errors, scene.pool.visitors) == ([], [], set())

    play(act)


def test_without_redis_every_call_goes_its_usual_way_at_once_and_those_on_their_way_too() -> None:
    async def act(scene: Scene) -> None:
        scene.link.gate.clear()
        for number in range(LOOKUP_KEYS_MAX * 6):  # more than are asked for at a time
            scene.call(number, 1, 1)
        await scene.settled()
        assert scene.batcher.calls == []
        scene.link.up = False
        _, late = scene.call(-1, 1, 1)
        assert len(scene.batcher.calls) == 1  # it did not even wait for its turn
        scene.link.gate.set()
        await scene.settled()
        assert len(scene.batcher.calls) == LOOKUP_KEYS_MAX * 6 + 1
        scene.compute()
        assert late.answers == [1.0]
        assert scene.link.held == {}
        assert scene.cache.bypassed == LOOKUP_KEYS_MAX * 6 + 1
        assert scene.counts.misses == 0

    play(act)


def test_what_waits_for_a_slow_redis_is_bounded() -> None:
    async def act(scene: Scene) -> None:
        scene.link.gate.clear()
        for number in range(4 * LOOKUP_KEYS_MAX):
            scene.call(number, 2, 2)
        await scene.settled()  # these are asked for
        for number in range(WAITING_MAX + 10):
            scene.call(number, 3, 3)
        assert len(scene.batcher.calls) == scene.cache.bypassed == 10
        scene.link.gate.set()
        await scene.settled()
        assert len(scene.batcher.calls) == 4 * LOOKUP_KEYS_MAX + WAITING_MAX + 10

    play(act)

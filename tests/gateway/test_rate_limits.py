"""The arithmetic of limits, without Redis and with a clock of the test's own."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tidegate.errors import RateLimited
from tidegate.gateway.shared.rate_limits import CLIENTS_MAX, Bucket, LimitSync, RateLimits, client_of
from tidegate.wire.gateways.snapshot import RoutedEndpoint, Snapshot

KEY = {b"authorization": b"Bearer sesame"}


class Time:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def limits(time: Time, own_per_s: float = 0.0, default_per_s: float = 0.0, burst_s: float = 1.0) -> RateLimits:
    made = RateLimits(default_per_s, burst_s, time, shared=True)
    made.adopt(
        Snapshot(1, (RoutedEndpoint("churn", "salt", (), rate_limit_per_s=own_per_s), RoutedEndpoint("other", "s", ())))
    )
    return made


def admitted(limit: RateLimits, count: int, headers: dict[bytes, bytes] = KEY, endpoint: str = "churn") -> int:
    passed = 0
    for _ in range(count):
        try:
            limit.check(endpoint, headers)
            passed += 1
        except RateLimited:
            pass
    return passed


def test_a_client_has_its_burst_and_then_its_rate() -> None:
    time = Time()
    limit = limits(time, own_per_s=10.0)
    assert admitted(limit, 50) == 10
    time.now_s += 0.55
    assert admitted(limit, 50) == 5
    time.now_s += 3600
    assert admitted(limit, 50) == 10


def test_what_names_no_endpoint_has_the_largest_rate_of_any_and_none_where_none_is_limited() -> None:
    time = Time()
    limit = limits(time, own_per_s=10.0)
    assert admitted(limit, 50, endpoint="") == 10
    assert admitted(limit, 50) == 10
    time.now_s += 0.5
    limit.adopt(Snapshot(2, (RoutedEndpoint("churn", "salt", (), rate_limit_per_s=10.0),)))
    assert admitted(limit, 50, endpoint="") == 5  # an unchanged limit keeps what clients have left
    assert admitted(limits(time), 50, endpoint="") == 50


def test_who_is_refused_is_told_when_to_come_back() -> None:
    time = Time()
    limit = limits(time, own_per_s=0.5)
    assert admitted(limit, 5) == 1  # a burst is never less than one request
    with pytest.raises(RateLimited, match=r"0\.5 requests a second") as refused:
        limit.check("churn", KEY)
    assert refused.value.http_status == 429
    assert refused.value.retry_after_s == 2
    time.now_s += 2.0
    assert admitted(limit, 5) == 1


def test_each_client_and_each_endpoint_has_a_bucket_of_its_own() -> None:
    limit = limits(Time(), own_per_s=3.0, default_per_s=2.0)
    clients = [KEY, {b"authorization": b"Bearer other"}, {b"x-tidegate-key": b"user-1"}, {b"x-tidegate-key": b"u2"}, {}]
    assert [admitted(limit, 9, headers) for headers in clients] == [3] * 5
    assert [admitted(limit, 9, headers) for headers in clients] == [0] * 5
    assert [admitted(limit, 9, headers, "other") for headers in clients] == [2] * 5


def test_a_key_is_the_client_however_its_header_is_spelt() -> None:
    assert client_of(KEY) == client_of({b"authorization": b"bearer  sesame ", b"x-tidegate-key": b"user-1"})
    assert b"sesame" not in client_of(KEY)


def test_without_a_limit_nothing_is_asked() -> None:
    assert not limits(Time()).active
    assert limits(Time(), default_per_s=1.0).active
    limit = limits(Time(), own_per_s=1.0)
    assert admitted(limit, 100, endpoint="other") == 100


def test_a_new_snapshot_gives_nobody_a_new_burst_unless_the_limit_changed() -> None:
    time = Time()
    limit = limits(time, own_per_s=5.0)
    assert admitted(limit, 9) == 5
    limit.adopt(Snapshot(2, (RoutedEndpoint("churn", "salt", (), reason="another", rate_limit_per_s=5.0),)))
    assert admitted(limit, 9) == 0
    limit.adopt(Snapshot(3, (RoutedEndpoint("churn", "salt", (), rate_limit_per_s=7.0),)))
    assert admitted(limit, 9) == 7
    limit.adopt(Snapshot(4, (RoutedEndpoint("churn", "salt", ()),)))
    assert not limit.active


def test_more_clients_than_are_told_apart_share_a_bucket_and_the_known_keep_theirs() -> None:
    time = Time()
    limit = limits(time, own_per_s=2.0)
    for number in range(CLIENTS_MAX):
        assert admitted(limit, 1, {b"x-tidegate-key": b"%d" % number}) == 1
    strangers = sum(admitted(limit, 1, {b"x-tidegate-key": b"stranger %d" % number}) for number in range(50))
    assert strangers == 2
    assert admitted(limit, 5, {b"x-tidegate-key": b"7"}) == 1
    time.now_s += 200.0  # nobody asked for the crowd's buckets since: they are forgotten
    assert sum(admitted(limit, 1, {b"x-tidegate-key": b"later %d" % number}) for number in range(50)) == 50


def test_a_slow_clients_bucket_is_not_forgotten_before_it_is_full() -> None:
    time = Time()
    limit = limits(time, own_per_s=0.01)  # one in 100 s
    passed = 0
    for _ in range(60):
        passed += admitted(limit, 1)
        time.now_s += 61.0
    assert passed <= 1 + 60 * 0.61


class OneRedis:
    """The link of several gateways to one bucket; runs no script, but does its sums."""

    prefix = "tidegate"
    up = True

    def __init__(self, time: Time, rate_per_s: float, burst: float) -> None:
        self._time, self._rate_per_s, self._burst = time, rate_per_s, burst
        self._level, self._at_s = burst, time()
        self.told: list[float] = []

    async def ask(self, command: Callable[[Any], Awaitable[Any]], timeout_s: float) -> list[bytes] | None:
        if not self.up:
            return None
        return [bytes(level) for level in await command(self)]

    async def evalsha(self, sha: str, count: int, *told: str) -> list[bytes]:
        assert count == 1
        taken = float(told[1])
        filled = self._level + (self._time() - self._at_s) * self._rate_per_s
        self._level, self._at_s = min(self._burst, filled) - taken, self._time()
        self.told.append(taken)
        return [b"%.6f" % self._level]


def test_gateways_together_admit_the_rate_and_no_more_than_the_stated_burst_beyond() -> None:
    """Five gateways, a tenth of a second between exchanges, a client that asks each of them all the time."""
    time, rate_per_s, burst, gateways = Time(), 20.0, 20.0, 5
    shared = OneRedis(time, rate_per_s, burst)
    made = [limits(time, own_per_s=rate_per_s) for _ in range(gateways)]
    syncs = [LimitSync(shared, limit, time) for limit in made]  # type: ignore[arg-type]  # a stand-in for the link

    async def run() -> list[int]:
        passed = []
        for _ in range(600):
            passed.append(sum(admitted(limit, 10) for limit in made))
            time.now_s += 0.1
            for sync in syncs:
                await sync.step()
        return passed

    passed = asyncio.run(run())
    stated = burst + (gateways - 1) * (burst + rate_per_s * 0.1)
    for first in range(0, 600, 50):
        assert sum(passed[: first + 50]) <= stated + rate_per_s * (first + 50) * 0.1
    late = sum(passed[200:]) / 40.0
    assert rate_per_s * 0.9 <= late <= rate_per_s * 1.05  # the debt of the beginning is paid back by then


def test_what_was_taken_without_redis_is_nobodys_debt_afterwards() -> None:
    time = Time()
    shared = OneRedis(time, 10.0, 10.0)
    limit = limits(time, own_per_s=10.0)
    sync = LimitSync(shared, limit, time)  # type: ignore[arg-type]  # a stand-in for the link
    shared.up = False
    assert admitted(limit, 50) == 10
    asyncio.run(sync.step())
    shared.up = True
    time.now_s += 0.5
    assert admitted(limit, 50) == 5
    asyncio.run(sync.step())
    assert shared.told == [5.0]


def test_without_redis_clients_that_stay_away_are_forgotten() -> None:
    time = Time()
    limit = RateLimits(10.0, 1.0, time)
    limit.adopt(Snapshot(1, (RoutedEndpoint("churn", "salt", ()),)))
    for round_of in range(3):
        for number in range(500):
            limit.check("churn", {b"authorization": b"Bearer %d-%d" % (round_of, number)})
        time.now_s += 1000
    limit.check("churn", KEY)
    limit.check("churn", KEY)
    alive = [one for one in gc.get_objects() if isinstance(one, Bucket) and one.limit in limit._limits.values()]
    assert len(alive) <= 501

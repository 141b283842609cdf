from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from support.services.redis import RedisServer
from support.wait import until
from tidegate.adapters.redis_push import RedisPush
from tidegate.errors import InvalidArgument, StoreUnavailable
from tidegate.loops.metrics import LoopMetrics
from tidegate.loops.runner import Loop, Runner


class Listener:
    """Hears what is published on the channel."""

    def __init__(self, server: RedisServer) -> None:
        self._client = server.client()
        self._heard = self._client.pubsub()  # type: ignore[no-untyped-call]
        self._heard.subscribe("mine:snapshots")
        until(lambda: self._heard.get_message(timeout=0.1), what="the subscription")

    def hears(self, revision: int) -> None:
        until(lambda: self._next() == revision, what=f"revision {revision}")

    def _next(self) -> int | None:
        message = self._heard.get_message(timeout=0.1)
        return int(message["data"]) if message and message["type"] == "message" else None

    def close(self) -> None:
        self._heard.close()
        self._client.close()


def run(push: RedisPush) -> Runner:
    """Its loop, running."""
    runner = Runner([Loop("snapshot hints", push.step, push.wake, close=push.close)], LoopMetrics(CollectorRegistry()))
    runner.start()
    return runner


@pytest.fixture
def listener(own_redis: RedisServer) -> Iterator[Listener]:
    made = Listener(own_redis)
    yield made
    made.close()


def test_each_new_revision_is_told_and_the_newest_alone_after_redis_was_away(
    own_redis: RedisServer, listener: Listener
) -> None:
    revision = 7
    away = False

    def newest() -> int:
        if away:
            raise StoreUnavailable
        return revision

    push = RedisPush(own_redis.url, "mine", newest)
    assert not push.connected
    runner = run(push)
    try:
        listener.hears(7)
        revision = 8
        push.notify()
        listener.hears(8)
        assert (push.connected, push.failures) == (True, 0)
        assert push.view().status == "ready"
        away = True  # the database: nothing to tell until it is back
        push.notify()
        revision, away = 9, False
        listener.hears(9)
        listener.close()
        own_redis.kill()
        revision = 10
        push.notify()
        until(lambda: push.failures > 0, what="the failure")
        assert not push.connected
        assert push.view().status == "unavailable"
        own_redis.start()
        until(lambda: push.connected, what="the connection")
    finally:
        runner.stop(20)
    assert not push.connected


def test_that_redis_went_away_is_noticed_without_news(own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.adapters.redis_push.LOOK_S", 0.1)
    push = RedisPush(own_redis.url, "mine", lambda: 1)
    assert push.view().status == "unknown"
    runner = run(push)
    try:
        until(lambda: push.view().status == "ready", what="the first word")
        own_redis.kill()
        until(lambda: push.view().status == "unavailable", what="the noticing")
        assert "start it, or correct REDIS_URL" in push.view().reason
        own_redis.start()
        until(lambda: push.view().status == "ready", what="its return")
    finally:
        runner.stop(20)


def test_an_option_that_means_nothing_is_refused_at_once_and_the_password_is_not_told() -> None:
    with pytest.raises(InvalidArgument, match="socket_timeout") as refused:
        RedisPush("redis://:hush@127.0.0.1:1/0?socket_timeout=soon", "mine", lambda: 1)
    assert "hush" not in str(refused.value)


def test_an_option_that_does_not_exist_is_refused_at_once_and_the_password_is_not_told() -> None:
    with pytest.raises(InvalidArgument, match="no_such_option") as refused:
        RedisPush("redis://:hush@127.0.0.1:1/0?no_such_option=1", "mine", lambda: 1)
    assert "hush" not in refused.value.message
    assert refused.value.exit_code == 2


def test_it_ends_soon_also_when_redis_hangs(own_redis: RedisServer) -> None:
    push = RedisPush(own_redis.url, "mine", lambda: 1)
    own_redis.pause()
    try:
        runner = run(push)
        until(lambda: push.failures > 0, what="the first attempt's end")
        runner.stop(20)
    finally:
        own_redis.resume()
    with own_redis.client() as client:
        assert client.ping()

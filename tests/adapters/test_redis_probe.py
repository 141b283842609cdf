from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from support.services.redis import RedisServer
from support.wait import until
from tidegate.adapters.redis_probe import RedisProbe
from tidegate.errors import InvalidArgument
from tidegate.loops.metrics import LoopMetrics
from tidegate.loops.runner import Loop, Runner


def run(probe: RedisProbe) -> Runner:
    """Its loop, running."""
    runner = Runner([Loop("redis", probe.step, close=probe.close)], LoopMetrics(CollectorRegistry()))
    runner.start()
    return runner


def test_that_redis_went_away_is_noticed_and_that_it_is_back(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.adapters.redis_probe.LOOK_S", 0.1)
    probe = RedisProbe(own_redis.url)
    assert (probe.view().status, probe.connected) == ("unknown", False)
    runner = run(probe)
    try:
        until(lambda: probe.view().status == "ready", what="the first answer")
        assert (probe.connected, probe.failures) == (True, 0)
        own_redis.kill()
        until(lambda: probe.view().status == "unavailable", what="the noticing")
        assert not probe.connected
        assert probe.failures > 0
        assert "start it, or correct REDIS_URL" in probe.view().reason
        own_redis.start()
        until(lambda: probe.view().status == "ready", what="its return")
    finally:
        runner.stop(20)
    assert not probe.connected


def test_an_option_that_means_nothing_is_refused_at_once_and_the_password_is_not_told() -> None:
    with pytest.raises(InvalidArgument, match="socket_timeout") as refused:
        RedisProbe("redis://:hush@127.0.0.1:1/0?socket_timeout=soon")
    assert "hush" not in str(refused.value)


def test_an_option_that_does_not_exist_is_refused_at_once_and_the_password_is_not_told() -> None:
    with pytest.raises(InvalidArgument, match="no_such_option") as refused:
        RedisProbe("redis://:hush@127.0.0.1:1/0?no_such_option=1")
    assert "hush" not in refused.value.message
    assert refused.value.exit_code == 2


def test_it_ends_soon_also_when_redis_hangs(own_redis: RedisServer) -> None:
    probe = RedisProbe(own_redis.url)
    own_redis.pause()
    try:
        runner = run(probe)
        until(lambda: probe.failures > 0, what="the first attempt's end")
        runner.stop(20)
    finally:
        own_redis.resume()
    with own_redis.client() as client:
        assert client.ping()

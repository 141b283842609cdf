"""A gateway's link to a real Redis that hangs, refuses and comes back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from support.services.redis import PASSWORD, RedisServer
from tidegate import clock
from tidegate.errors import InvalidArgument
from tidegate.gateway.shared.redis_link import RedisLink, connect


async def until(look: Callable[[], bool], what: str, timeout_s: float = 15.0) -> None:
    deadline_s = clock.monotonic() + timeout_s
    while not look():
        assert clock.monotonic() < deadline_s, what
        await asyncio.sleep(0.02)


def run(url: str, scene: Callable[[RedisLink], Awaitable[None]]) -> None:
    """Play a scene with a link that has been started."""

    async def play() -> None:
        link = RedisLink(url, "link", clock.monotonic)
        link.start()
        try:
            await scene(link)
        finally:
            await link.stop()

    asyncio.run(play())


def get(key: str) -> Callable[[Any], Awaitable[Any]]:
    return lambda client: client.get(key)


def test_no_answer_is_taken_for_another_ones_after_redis_hung(own_redis: RedisServer) -> None:
    async def scene(link: RedisLink) -> None:
        await until(lambda: link.up, "the connection")
        for number in range(50):
            await link.ask(lambda client: client.set(f"k{number}", f"v{number}"), 5.0)  # noqa: B023
        own_redis.pause()
        lost = await asyncio.gather(*(link.ask(get(f"k{number}"), 0.2) for number in range(8)))
        assert lost == [None] * 8
        assert not link.up
        own_redis.resume()
        await until(lambda: link.up, "the connection")
        for _ in range(3):
            found = await asyncio.gather(*(link.ask(get(f"k{number}"), 5.0) for number in range(8)))
            assert found == [f"v{number}".encode() for number in range(8)]
        own_redis.kill()
        assert await link.ask(get("k1"), 5.0) is None
        assert not link.up
        own_redis.start()
        await until(lambda: link.up, "the connection")
        again = (link.ask(lambda client: client.set("k", "v"), 5.0) for _ in range(8))
        assert await asyncio.gather(*again) == [True] * 8  # none of them on a connection that died with the server

    try:
        run(own_redis.url, scene)
    finally:
        if own_redis.running:
            own_redis.resume()


def test_a_redis_that_refuses_to_write_is_there_all_the_same(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(link: RedisLink) -> None:
        await until(lambda: link.up, "the connection")
        assert await link.ask(lambda client: client.set("kept", "1"), 5.0)
        await link.ask(lambda client: client.config_set("maxmemory", "1"), 5.0)
        assert await link.ask(lambda client: client.set("more", "1"), 5.0) is None
        assert await link.ask(lambda client: client.set("more", "1"), 5.0) is None
        assert await link.ask(get("kept"), 5.0) == b"1"
        assert link.up
        assert link.failures == 2

    with caplog.at_level(logging.INFO):
        run(own_redis.url, scene)
    assert [one.levelname for one in caplog.records if "refuses a command" in one.getMessage()] == ["WARNING"]


def test_a_wrong_password_is_told_once_and_never_repeated(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(link: RedisLink) -> None:
        await until(lambda: link.failures >= 3, "some attempts")
        assert not link.up

    with caplog.at_level(logging.INFO):
        run(own_redis.url.replace(PASSWORD, "not-it"), scene)
    told = [one.getMessage() for one in caplog.records]
    assert len(told) == 1
    assert "is not used" in told[0]
    assert "not-it" not in told[0]


@pytest.mark.parametrize("option", ["socket_timeout=soon", "db=first"])
def test_an_option_that_means_nothing_is_refused_at_once(option: str) -> None:
    with pytest.raises(InvalidArgument, match=option.partition("=")[0]):
        connect(f"redis://:hush@127.0.0.1:6379?{option}")


def test_a_demand_for_certificates_that_means_nothing_is_refused_at_once() -> None:
    with pytest.raises(InvalidArgument, match="perhaps"):
        connect("rediss://:hush@127.0.0.1:6379/0?ssl_cert_reqs=perhaps")


def test_an_option_that_does_not_exist_is_refused_at_once() -> None:
    with pytest.raises(InvalidArgument, match="no_such_option"):
        connect("redis://:hush@127.0.0.1:6379/0?no_such_option=1")

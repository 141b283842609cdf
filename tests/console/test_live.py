"""Streams of open pages: one sample for all who look, the newest to each, an end for those who may not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from itertools import count

import httpx
import pytest
from starlette.types import Message

from support.control import ME, add_version
from tidegate.client.transport.in_process import Caller
from tidegate.console import live
from tidegate.console.live import Live
from tidegate.errors import Overloaded, StoreUnavailable, Unauthenticated
from tidegate.wire import rest
from tidegate.wiring import Container

WITHIN_S = 20.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.02)


class Browser:
    """One open page: what it was sent. `reads` holds it up while it is not set."""

    def __init__(self) -> None:
        self.body = b""
        self.ended = False
        self.reads, self.leaves = asyncio.Event(), asyncio.Event()
        self.reads.set()

    async def receive(self) -> Message:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        if message["type"] == "http.response.body":
            self.body += message["body"]
            self.ended = not message["more_body"]

    @property
    def parts(self) -> list[str]:
        """Every part that came, in order."""
        events = [event.split("\n") for event in self.body.decode().split("\n\n")]
        return ["\n".join(line[6:] for line in lines) for lines in events if lines[0].startswith("data: ")]

    @property
    def beats(self) -> list[dict[str, str]]:
        return [json.loads(line[6:]) for line in self.body.decode().split("\n") if line.startswith('data: {"at"')]


async def comes(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not fact():
            await asyncio.sleep(0.005)


def looked_at(pages: Live, browsers: list[Browser], then: Callable[[], Awaitable[None]]) -> None:
    """Open the same page in each, do `then`, and leave."""

    async def run() -> None:
        streams = [
            asyncio.ensure_future(pages.stream("/", Caller(cookie=str(place)), one.receive, one.send))
            for place, one in enumerate(browsers)
        ]
        try:
            await then()
        finally:
            for one in browsers:
                one.reads.set()
                one.leaves.set()
            await asyncio.wait_for(asyncio.gather(*streams), WITHIN_S)

    asyncio.run(run())


def test_all_who_look_at_a_page_share_one_sample() -> None:
    numbers = count(1)
    browsers = [Browser() for _ in range(20)]

    def sample(_key: str, _caller: Caller) -> Mapping[str, str]:
        return {"live_a": f"sample {next(numbers)}", "live_b": "the same"}

    async def then() -> None:
        await comes(lambda: all(len(one.parts) >= 5 for one in browsers))

    looked_at(Live(sample, 20), browsers, then)
    assert next(numbers) < 5 * 20
    for one in browsers:
        assert one.parts[0].count("<hx-partial") == 2
        assert all("the same" not in part for part in one.parts[1:]), "what did not change is not sent again"
        assert '<hx-partial hx-target="#live_a" hx-swap="innerMorph">sample' in one.parts[1]


def test_whoever_reads_slowly_gets_the_newest_and_nothing_piles_up() -> None:
    numbers = count(1)
    quick, slow = Browser(), Browser()

    def sample(_key: str, _caller: Caller) -> Mapping[str, str]:
        return {"live_a": f"sample {next(numbers)}"}

    async def then() -> None:
        await comes(lambda: len(slow.parts) >= 1)
        slow.reads.clear()
        had = len(quick.parts)
        await comes(lambda: len(quick.parts) >= had + 20)
        had = len(slow.parts)
        slow.reads.set()
        await comes(lambda: len(slow.parts) >= had + 3)

    looked_at(Live(sample, 2), [quick, slow], then)
    assert len(slow.parts) <= len(quick.parts) - 15


def test_so_many_pages_are_kept_fresh_and_no_more() -> None:
    first, second = Browser(), Browser()
    pages = Live(lambda _key, _caller: {}, 1)

    async def then() -> None:
        await comes(lambda: bool(first.beats))
        with pytest.raises(Overloaded) as refused:
            await pages.stream("/", Caller(), second.receive, second.send)
        assert refused.value.retry_after_s

    looked_at(pages, [first], then)
    looked_at(pages, [second], lambda: comes(lambda: bool(second.beats)))


def test_a_session_that_ends_ends_its_stream_alone() -> None:
    ended = Browser()
    other = Browser()

    def sample(_key: str, caller: Caller) -> Mapping[str, str]:
        if caller.cookie == "0":
            raise Unauthenticated("no session, or one that has ended")
        return {"live_a": "still there"}

    async def then() -> None:
        await comes(lambda: ended.ended and len(other.parts) >= 1)

    looked_at(Live(sample, 2), [ended, other], then)
    assert "still there" not in "".join(ended.parts)


def test_what_stands_in_the_way_is_said_and_the_stream_goes_on() -> None:
    away = True
    browser = Browser()

    def sample(_key: str, _caller: Caller) -> Mapping[str, str]:
        if away:
            raise StoreUnavailable("the database is away")
        return {"live_a": "back"}

    async def then() -> None:
        nonlocal away
        await comes(lambda: any(beat["fault"] == "the database is away" for beat in browser.beats))
        away = False
        await comes(lambda: bool(browser.parts) and browser.beats[-1]["fault"] == "")

    looked_at(Live(sample, 1), [browser], then)


def test_streams_end_when_the_console_is_closed() -> None:
    browser = Browser()
    pages = Live(lambda _key, _caller: {}, 1)

    async def then() -> None:
        await comes(lambda: bool(browser.beats))
        pages.close()
        await comes(lambda: browser.ended)
        with pytest.raises(Overloaded):
            await pages.stream("/", Caller(), browser.receive, browser.send)

    looked_at(pages, [browser], then)


def test_a_page_is_told_what_changed(browser: httpx.Client, container: Container) -> None:
    for number in ("1", "2"):
        add_version(container, "watched", number)
    container.endpoints.deploy("watched", rest.DeployRequest("watched", "1"), ME)
    body, changed = "", False
    with browser.stream("GET", "/live", params={"of": "/endpoints/watched"}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for text in answer.iter_text():
            body += text
            if "live_history" in body and not changed:
                container.endpoints.set_traffic("watched", rest.TrafficRequest({"2": 100}), ME)
                changed = True
            if "v2 100 %" in body:
                break
    assert "live_status" in body


@pytest.mark.parametrize("of", ["/nowhere", "/deploy", "/endpoints/none", "x" * 5000])
def test_a_stream_of_what_there_is_not_says_so(browser: httpx.Client, of: str) -> None:
    with browser.stream("GET", "/live", params={"of": of}) as answer:
        first = next(answer.iter_text())
    beat = json.loads(first.partition("data: ")[2].partition("\n")[0])
    assert beat["fault"]

"""The console as an application, without a platform behind it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, cast

import httpx

from support.console_pages import left_out, pages_of
from tidegate.client.transport.in_process import InProcess
from tidegate.console.app import Console
from tidegate.console.asking import Ask, ConsolePlatform, PageRoute, Shown
from tidegate.console.pages import ROUTES


class _Said:
    """What an error page says of an error, and who asked for it."""

    code = "none"

    def __init__(self) -> None:
        self.threads: set[threading.Thread] = set()

    @property
    def message(self) -> str:
        self.threads.add(threading.current_thread())
        return "this was said"


def test_a_page_is_made_in_a_thread_and_not_in_the_loop_of_the_server() -> None:
    said = _Said()

    def handler(_ask: Ask) -> Shown:
        return Shown("error.html", {"error": said, "title": "Title", "status": 200})

    platform = ConsolePlatform(InProcess(cast(Any, None)), "http://127.0.0.1:1")
    console = Console(platform, 1, [PageRoute("GET", "/", handler)])

    async def asked() -> str:
        transport = httpx.ASGITransport(app=cast(Any, console))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as browser:
            return (await browser.get("/")).text

    assert "this was said" in asyncio.run(asked())
    assert said.threads
    assert threading.current_thread() not in said.threads


def test_tests_that_go_through_all_pages_leave_none_out() -> None:
    routes = [route.path for route in ROUTES if route.method == "GET"]
    assert left_out(routes, pages_of("churn")) == []
    assert left_out([*routes, "/somewhere/{else}"], pages_of("churn")) == ["/somewhere/{else}"]

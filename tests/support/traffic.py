"""Clients of an endpoint that go on asking while a test changes what is behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from support.platform import Platform


def one_number(number: int) -> list[float]:
    """A row of one column."""
    return [2.0 + number % 1000]


class Traffic:
    """Clients that ask again and again, each request by another key, and count what they got."""

    def __init__(
        self, platform: Platform, endpoint: str, deadline_s: float = 2.0, row: Callable[[int], list[float]] = one_number
    ) -> None:
        self._url = f"{platform.gateway_url}/predict/{endpoint}"
        self._deadline_s = deadline_s
        self._row = row
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.asked = 0
        self.failed = 0
        self.unanswered: list[str] = []

    def _run(self, first: int) -> None:
        number = first
        with httpx.Client(timeout=30, trust_env=False) as client:
            while not self._stop.is_set():
                number += 10
                self._ask(client, number)

    def _ask(self, client: httpx.Client, number: int) -> None:
        headers = {"X-Tidegate-Key": f"u{number}", "X-Tidegate-Timeout-Ms": f"{self._deadline_s * 1000:.0f}"}
        try:
            answer = client.post(self._url, json={"features": self._row(number)}, headers=headers)
        except httpx.HTTPError as error:
            with self._lock:
                self.unanswered.append(repr(error))
            return
        with self._lock:
            self.asked += 1
            self.failed += answer.status_code != 200

    @contextmanager
    def running(self, clients: int = 6) -> Iterator[Traffic]:
        threads = [threading.Thread(target=self._run, args=(first,)) for first in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

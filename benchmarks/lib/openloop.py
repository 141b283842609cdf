"""An open-loop load: requests leave at times drawn beforehand, whether or not earlier ones were answered.

Latency counts from the scheduled time, so that a stall of the server shows in full (no coordinated omission). The
number of requests, of connections and the time each may take are bounded.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

CONNECTIONS_MAX = 128
TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Request:
    """A whole HTTP request, and what tells whether an answer's body is right (None) or what is wrong with it."""

    group: str
    payload: bytes
    check: Callable[[bytes], str | None]


@dataclass(frozen=True)
class Outcome:
    """How one request went; `fault` is None for a right answer in time."""

    group: str
    latency_s: float
    fault: str | None


def http_request(url: str, body: bytes) -> bytes:
    """The bytes of a JSON POST."""
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def schedule(count: int, seconds: float, seed: int = 0) -> list[float]:
    """`count` arrival times over `seconds`, as independent clients make them (a Poisson process of known count)."""
    rng = random.Random(seed)
    return sorted(rng.random() * seconds for _ in range(count))


async def run(address: tuple[str, int], plan: Sequence[tuple[float, Request]]) -> list[Outcome]:
    """Send each request at its time (seconds from now) and wait for all answers."""
    connections = _Connections(address)
    begin = time.perf_counter() + 0.1
    tasks = []
    for at, request in plan:
        await asyncio.sleep(max(0.0, begin + at - time.perf_counter()))
        tasks.append(asyncio.create_task(_one(connections, request, begin + at)))
    outcomes = await asyncio.gather(*tasks)
    connections.close()
    return list(outcomes)


async def _one(connections: _Connections, request: Request, scheduled: float) -> Outcome:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            status, body = await connections.ask(request.payload)
        latency_s = time.perf_counter() - scheduled
        fault = request.check(body) if status == 200 else f"status {status}: {body[:200]!r}"
    except (OSError, asyncio.IncompleteReadError, ValueError, TimeoutError) as error:
        latency_s, fault = time.perf_counter() - scheduled, f"{type(error).__name__}: {error}"
    return Outcome(request.group, latency_s, fault)


class _Connections:
    """Kept-alive connections, each used by one request at a time; a broken one is dropped, never used again."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._room = asyncio.Semaphore(CONNECTIONS_MAX)

    async def ask(self, payload: bytes) -> tuple[int, bytes]:
        """Status and body."""
        async with self._room:
            reader, writer = self._idle_connection() or await asyncio.open_connection(*self._address)
            try:
                writer.write(payload)
                answer = await _read_answer(reader)
            except BaseException:
                writer.close()
                raise
            self._idle.append((reader, writer))
            return answer

    def _idle_connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """One that the server has not closed meanwhile, as any HTTP client checks before it sends on it."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return None

    def close(self) -> None:
        """Close what is idle; nothing else is left once all requests are done."""
        for _, writer in self._idle:
            writer.close()


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    lengths = [int(line[15:]) for line in lines if line.lower().startswith(b"content-length:")]
    if not lengths:
        raise ValueError(f"an answer without Content-Length: {head!r}")
    return int(lines[0].split(b" ", 2)[1]), await reader.readexactly(lengths[0])

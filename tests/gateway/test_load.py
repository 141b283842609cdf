"""How much there is to do, by version: what a gateway tells the control plane each second."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.batcher_bench import Bench, run, turn
from support.gateway_bed import TOKEN, Bed, Gateway, Publisher
from support.wait import until
from tidegate.dataplane.calls.failure import FailedRequest
from tidegate.dataplane.calls.guarded import Guarded
from tidegate.dataplane.pipeline.metrics import Metrics
from tidegate.errors import Overloaded
from tidegate.gateway.control import load
from tidegate.gateway.control.follower import LOAD_VERSIONS_MAX, ControlPlane
from tidegate.gateway.control.load import growth, totals
from tidegate.wire.gateways.decision import AssignmentContext

PLACE = ("e", "1")


class Counted:
    """A batcher whose calls a gateway's metrics count; `second` is what is told of the time since the last one."""

    def __init__(self) -> None:
        self.bench, self.metrics = Bench(), Metrics()
        self.bench.batcher._observer = Guarded(self.metrics)
        self.bench.batcher.add_target(self.bench.target)
        self.before = self.read()

    def read(self) -> dict[tuple[str, str], Any]:
        now = self.bench.time.now
        waited = [now - call.started_s for call in self.bench.batcher.outstanding_calls if not call.done]
        return totals(self.metrics.series(), {PLACE: sum(waited)} if waited else {})

    def second(self, seconds: float = 1.0) -> dict[str, Any]:
        self.bench.time.now += seconds
        now = self.read()
        told = growth(self.before, now)
        self.before = now
        return told[0] if told else {"in_progress_s": 0.0, "requests": 0}


def test_requests_that_last_for_seconds_are_in_progress_in_each_of_them() -> None:
    async def scenario() -> None:
        counted = Counted()
        bench = counted.bench
        bench.submit("a", 1.0)
        bench.submit("b", 2.0)
        await turn()
        assert counted.second()["in_progress_s"] == pytest.approx(2.0)
        assert counted.second(0.5)["in_progress_s"] == pytest.approx(1.0)
        bench.time.now += 0.5
        bench.target.answer()
        await turn()
        told = counted.second(0.5)
        assert told["in_progress_s"] == pytest.approx(1.0)  # two for half of the second
        assert told["requests"] == 2
        assert sum(told["durations"]) == 2
        assert counted.second()["in_progress_s"] == 0.0

    run(scenario)


def test_what_a_client_gave_up_was_in_progress_until_then() -> None:
    async def scenario() -> None:
        counted = Counted()
        bench = counted.bench
        call = bench.submit("a", 1.0)
        await turn()
        assert counted.second()["in_progress_s"] == pytest.approx(1.0)
        bench.time.now += 0.25
        call.cancel()
        counted.metrics.abandoned(call, bench.time.now)
        assert counted.second(0.75)["in_progress_s"] == pytest.approx(0.25)
        assert counted.second()["in_progress_s"] == 0.0

    run(scenario)


def test_refused_requests_are_errors_of_no_version() -> None:
    metrics = Metrics()
    metrics.refused(FailedRequest(AssignmentContext("e", "id"), None, Overloaded("full"), 0.0, 0.0))
    assert growth({}, totals(metrics.series(), {})) == [
        {"endpoint": "e", "version": "", "in_progress_s": 0.0, "requests": 1, "errors": 0, "durations": [0] * 17}
    ]


def test_totals_that_could_not_be_read_once_are_in_the_next_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "REPORT_EVERY_S", 0.0)
    monkeypatch.setattr(asyncio, "to_thread", _at_once)
    seconds, sent = iter(range(1000)), list[tuple[float, list[dict[str, Any]]]]()

    def read(now_s: float) -> dict[tuple[str, str], Any]:
        if now_s in (0, 3):
            raise RuntimeError("dictionary changed size during iteration")
        return {PLACE: (0.0, int(now_s), 0, (0,) * 17)}

    async def scenario() -> None:
        told = asyncio.Event()

        def send(span_s: float, versions: list[dict[str, Any]]) -> None:
            sent.append((span_s, versions))
            if len(sent) == 3:
                told.set()

        reports = load.LoadReports(read, send, lambda: float(next(seconds)))
        reports.start()
        async with asyncio.timeout(30):
            await told.wait()
        reports.stop()

    run(scenario)
    assert [(span_s, versions[0]["requests"]) for span_s, versions in sent[:3]] == [(1.0, 1), (2.0, 2), (1.0, 1)]


async def _at_once(call: Callable[..., None], *arguments: object) -> None:
    call(*arguments)


def _sums(bed: Bed, version: str = "1") -> tuple[int, int]:
    """Requests and errors, over all reports of this version."""
    told = [one for report in list(bed.publisher.load) for one in report["versions"] if one["version"] == version]
    return sum(one["requests"] for one in told), sum(one["errors"] for one in told)


def _hang(gateway: Gateway, seconds: float) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    body = json.dumps({"features": [111, seconds, 0]})
    connection.request("POST", "/predict/sums", body, {"Content-Type": "application/json"})
    return connection


def test_each_second_is_told_by_version_and_a_waiting_request_before_it_ends(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    until(lambda: len(bed.publisher.load) > 0, what="the first report, of nothing")
    assert [gateway.ask([1, 2, 3]).status for _ in range(20)] == [200] * 20
    assert gateway.ask([222, 0, 0]).status == 500
    until(lambda: _sums(bed) == (21, 1), what="all that ended")
    bed.publisher.load.clear()
    connection = _hang(gateway, 2.0)

    def waits() -> bool:
        told = [one for report in list(bed.publisher.load) for one in report["versions"]]
        return any(one["in_progress_s"] > 0 and one["requests"] == 0 for one in told)

    until(waits, what="a report of a request that is in progress")
    assert connection.getresponse().status == 200
    connection.close()
    until(lambda: _sums(bed) == (1, 0), what="its end")


def test_a_client_that_went_away_is_in_progress_no_more(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    connection = _hang(gateway, 3.0)
    until(lambda: any(report["versions"] for report in list(bed.publisher.load)), what="its being in progress")
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()  # with a reset: one that only closes its side may still wait for the answer
    until(lambda: bed.publisher.load[-1]["versions"] == [], what="a second without")
    assert _sums(bed) == (0, 0)


def test_without_a_control_plane_only_samples_are_lost(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    until(lambda: len(bed.publisher.load) > 0, what="a report")
    bed.publisher.stop()
    until(lambda: "not told of the load" in bed.log(), what="its log line")
    assert gateway.ask([1, 2, 3]).status == 200
    bed.publisher.load.clear()
    bed.publisher.start()
    until(lambda: len(bed.publisher.load) > 1, what="reports again")
    assert gateway.ask([1, 2, 3]).status == 200
    until(lambda: _sums(bed)[0] > 0, what="what ended since")


def test_a_report_says_that_it_has_no_room_for_every_version(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    publisher = Publisher()
    try:
        source = ControlPlane(publisher.url, tmp_path, "gateway-0")
        for count in (LOAD_VERSIONS_MAX, LOAD_VERSIONS_MAX + 1):
            source.report_load(1.0, [{"endpoint": "churn", "version": str(number)} for number in range(count)])
    finally:
        publisher.stop()
    assert [(len(one["versions"]), one.get("truncated")) for one in publisher.load] == [
        (LOAD_VERSIONS_MAX, None),
        (LOAD_VERSIONS_MAX, True),
    ]

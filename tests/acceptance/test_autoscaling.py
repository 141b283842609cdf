"""Replicas that follow the load of a real platform, up and down again, and no request that fails of it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.platform import Platform
from support.wait import until

SLOW = """
import os
import time


class Model:
    example = [[0.0, 1.0]]

    def predict(self, inputs):
        time.sleep(0.05)
        return [os.getpid() for _ in range(len(inputs))]
"""
WINDOWS = ("--stable-window", "6s", "--panic-window", "3s", "--down-window", "6s")


@pytest.fixture(scope="module")
def slow(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("slow")
    (folder / "model.py").write_text(SLOW)
    platform.done("deploy", str(folder), "--name", "slow", "--allow-pickle")
    yield "slow"
    platform.done("delete", "slow", "--yes")


class Clients:
    """Clients with one request each at a time; `answered` counts by replica, `failed` has what went wrong."""

    def __init__(self, platform: Platform, endpoint: str) -> None:
        self._url = f"{platform.gateway_url}/predict/{endpoint}"
        self.answered: Counter[int] = Counter()
        self.failed: list[str] = []

    @contextmanager
    def calling(self, count: int) -> Iterator[None]:
        ending = threading.Event()
        with ThreadPoolExecutor(count) as pool:
            for _ in range(count):
                pool.submit(self._call, ending)
            try:
                yield
            finally:
                ending.set()

    def _call(self, ending: threading.Event) -> None:
        with httpx.Client(timeout=30) as client:
            while not ending.is_set():
                answer = client.post(self._url, json={"features": [0.0, 1.0]})
                if answer.status_code == 200:
                    self.answered[int(answer.json()["prediction"][0])] += 1
                else:
                    self.failed.append(f"{answer.status_code}: {answer.text}")


def _variants(platform: Platform, endpoint: str) -> dict[str, Any]:
    return {one["version"]: one for one in platform.endpoint(endpoint)["variants"]}


def _replicas(platform: Platform, endpoint: str) -> dict[str, int]:
    """Of the versions that have traffic: one that had it before keeps a replica for a while."""
    variants = [one for one in platform.endpoint(endpoint)["variants"] if one["weight"] > 0]
    return {name: sum(one["replicas"][name] for one in variants) for name in ("desired", "ready")}


def test_load_starts_replicas_that_answer_and_its_end_ends_them(platform: Platform, slow: str) -> None:
    asked = platform.done("scale", slow, "--min", "1", "--max", "2", "--target", "concurrency=1", *WINDOWS)
    assert asked["scaling"] == {
        "min": 1,
        "max": 2,
        "metric": "concurrency",
        "target": 1.0,
        "stable_s": 6.0,
        "panic_s": 3.0,
        "down_s": 6.0,
        "idle_s": None,
        "autoscaler": "tidegate",
    }
    clients = Clients(platform, slow)
    with clients.calling(4):
        until(lambda: len(clients.answered) == 2, 60, "an answer of a second replica")
        (told,) = platform.done("scale", slow, "--explain")
        assert told["desired"] == 2
        assert told["rule"] in ("panic", "max"), told  # a rush that wants no more than the bound, or more
        assert told["samples"]["panic"] > 1
    assert _replicas(platform, slow) == {"desired": 2, "ready": 2}
    status = platform.cli("status", slow).out
    assert "scales from 1 to 2 replicas of each version by concurrency=1" in status
    metrics = platform.api("GET", "/metrics").text
    assert 'tidegate_scale_desired{endpoint="slow",version="1"} 2.0' in metrics
    until(lambda: _replicas(platform, slow) == {"desired": 1, "ready": 1}, 60, "the way back to one")
    assert not clients.failed
    changes = [entry for entry in platform.done("history", slow)["history"] if entry["automated"]]
    assert [entry["actor"] for entry in changes] == ["autoscaler", "autoscaler"]


def test_a_new_version_has_its_replicas_before_the_traffic_of_a_busy_one(
    platform: Platform, slow: str, tmp_path: Path
) -> None:
    (tmp_path / "model.py").write_text(SLOW.replace("0.05", "0.06"))
    platform.done("register", str(tmp_path), "--name", slow, "--allow-pickle")
    platform.done("scale", slow, "--min", "1", "--max", "2", "--target", "concurrency=1", *WINDOWS)
    clients = Clients(platform, slow)
    with clients.calling(4):
        until(lambda: _variants(platform, slow)["1"]["replicas"]["ready"] == 2, 60, "a second replica")
        platform.done("promote", slow, "2", "--no-wait")

        def switched() -> bool:
            now = _variants(platform, slow)
            two = now.get("2", {"weight": 0.0, "replicas": {"ready": 0}})
            assert two["weight"] == 0 or two["replicas"]["ready"] == 2, "it would answer slowly until they are there"
            return bool(two["weight"] == 100)

        until(switched, 60, "the switch")
        until(
            lambda: _variants(platform, slow)["1"]["replicas"] == {"desired": 1, "ready": 1}, 60, "one for a way back"
        )
    assert not clients.failed


def test_what_cannot_be_asked_is_refused_with_its_reason(platform: Platform, slow: str) -> None:
    before = platform.endpoint(slow)["revision"]
    for asked, told in (
        (("--min", "5", "--max", "4"), "the minimum of replicas, 5, is above the maximum, 4"),
        (("--target", "latency_p95=100ms"), "not supported yet"),
        (("--stable-window", "soon"), "--stable-window 'soon' is no span of time"),
    ):
        ran = platform.cli("scale", slow, *asked)
        assert (ran.code, told in ran.err) == (2, True), ran.said
    assert platform.endpoint(slow)["revision"] == before


def test_an_endpoint_sleeps_and_its_next_request_wakes_it(platform: Platform, slow: str) -> None:
    platform.done("scale", slow, "--min", "0", "--max", "1", "--target", "concurrency=4", "--idle", "2s")
    until(lambda: platform.endpoint(slow)["status"] == "asleep", 60, "its sleep")
    until(lambda: _replicas(platform, slow) == {"desired": 0, "ready": 0}, 30, "the end of its replicas")
    assert 'tidegate_endpoint_status{endpoint="slow",status="asleep"} 1.0' in platform.api("GET", "/metrics").text
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: platform.predict(slow, [0.0, 1.0]), range(4)))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert {answer.headers["x-tidegate-cold-start"] for answer in answers} == {"true"}
    assert len({answer.json()["prediction"][0] for answer in answers}) == 1, "one replica"
    assert "x-tidegate-cold-start" not in platform.predict(slow, [0.0, 1.0]).headers
    platform.done("scale", slow, "--replicas", "1")

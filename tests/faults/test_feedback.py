"""Gateway and compactor are killed again and again while feedback comes: what was answered 202 is there, and once."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pyarrow.dataset as ds
import pytest

from support.gateway_bed import Bed, Gateway, stop_hard
from support.platform import clean_env
from support.wait import free_ports, until
from tidegate.capture.compact import compact

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]
ROUNDS, BATCHES_A_ROUND, SENDERS = 20, 40, 4


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    made = Bed(tmp_path / "data")
    try:
        yield made
    finally:
        made.close()


class Senders:
    """Send labels of ids that are each used once, and know which were answered 202."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/feedback"
        self.accepted: list[str] = []
        self.unsure: list[str] = []
        self.batches = 0
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(SENDERS)]

    def _run(self, number: int) -> None:
        count = 0
        with httpx.Client(timeout=30) as client:
            while not self.stop.is_set():
                count += 1
                ids = [f"{number}-{count}-{place}" for place in range(5)]
                body = json.dumps([{"id": one, "label": 1, "endpoint": "sums"} for one in ids])
                status = 0
                with suppress(httpx.TransportError):
                    status = client.post(self.url, content=body).status_code
                with self._lock:
                    (self.accepted if status == 202 else self.unsure).extend(ids)
                    self.batches += status == 202
                if not status:
                    self.stop.wait(0.05)  # until a gateway is back


def test_no_label_is_lost_or_counted_twice(bed: Bed) -> None:
    (port,) = free_ports(1)
    capture = bed.data_dir / "capture"
    chance = random.Random(15)
    gateway = bed.gateway(port=port)
    bed.publish({"1": 1})
    senders = Senders(port)
    for thread in senders.threads:
        thread.start()
    try:
        for _ in range(ROUNDS):
            goal = senders.batches + chance.randrange(1, BATCHES_A_ROUND)
            until(lambda goal=goal: senders.batches >= goal, what="batches that are answered")  # type: ignore[misc]
            before = len(list(capture.rglob("*.parquet")))
            compactor = _compactor(bed.data_dir)
            stop_hard(gateway.process)
            if chance.random() < 0.7:
                until(lambda: compactor.poll() is not None or len(list(capture.rglob("*.parquet"))) > before)  # noqa: B023
                compactor.kill()  # between a file and the cursor, where it had anything to do
            compactor.wait(30)
            gateway = _restarted(bed, port)
    finally:
        senders.stop.set()
        for thread in senders.threads:
            thread.join(60)
    stop_hard(gateway.process)
    assert compact(bed.data_dir / "journal", capture) is not None
    found = Counter(ds.dataset(capture / "feedback", partitioning="hive").to_table(["id"])["id"].to_pylist())
    assert set(senders.accepted) - set(found) == set(), "answered 202 and lost"
    assert [one for one, count in found.items() if count > 1] == []
    assert set(found) <= set(senders.accepted) | set(senders.unsure)
    assert len(senders.accepted) > ROUNDS


def _compactor(data_dir: Path) -> subprocess.Popen[bytes]:
    """One run as a process of its own, which can be killed."""
    argv = [sys.executable, "-m", "tidegate.compactor", "--data-dir", str(data_dir), "--once"]
    return subprocess.Popen(argv, env=clean_env(), stderr=subprocess.DEVNULL)


def _restarted(bed: Bed, port: int) -> Gateway:
    gateway = bed.gateway(port=port)
    bed.wait_until_in_force()
    return gateway

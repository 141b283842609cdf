"""Gateway and compactor killed at random under load: what was answered is in SQL exactly once, meanwhile and after.

One command shows the counts: `pytest tests/faults/test_capture.py -s`.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from support.gateway_bed import Bed, Load, stop_hard
from tidegate import clock
from tidegate.capture.sql import answer
from tidegate.capture.store import CaptureStore
from tidegate.wire.capture.capture import CaptureSelection

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

KILLS = 20
SEED = 15
JOURNAL_BYTES = str(8 << 20)
"""Segments of 1 MiB, so that full ones are sealed and compacted while others are written; and room enough that no
sample is taken because the compactor is dead just now.
"""


class Compactors:
    """One compactor after the other, each killed at a random moment of its life, until told to end."""

    def __init__(self, data_dir: Path) -> None:
        self._argv = [sys.executable, "-m", "tidegate.compactor", "--data-dir", str(data_dir)]
        self._random = random.Random(SEED)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.kills = 0

    def __enter__(self) -> Compactors:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def once(self) -> int:
        return subprocess.run([*self._argv, "--once"], check=False, timeout=120).returncode

    def _run(self) -> None:
        while not self._stop.is_set():
            process = subprocess.Popen(self._argv, stderr=subprocess.DEVNULL, env=os.environ)
            self._stop.wait(self._random.uniform(0.2, 3.0))
            process.kill()
            process.wait()
            self.kills += 1


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    made = Bed(tmp_path / "data")
    yield made
    made.close()


def captured(data_dir: Path) -> Counter[str]:
    """How often each request is in SQL."""
    store = CaptureStore(data_dir / "capture", data_dir / "journal")
    sql = "SELECT id, count(*) AS times FROM predictions GROUP BY id"
    made, truncated = answer(store, CaptureSelection("sums", sql, 0, clock.now() + 60, rows_max=10_000_000))
    assert not truncated
    rows: list[dict[str, Any]] = made.to_pylist()
    return Counter({row["id"]: row["times"] for row in rows})


def wrong(acknowledged: set[str], found: Counter[str]) -> list[str]:
    return [one for one in acknowledged if found[one] != 1]


def test_kill_9_of_gateway_and_compactor_at_random_loses_and_doubles_nothing(bed: Bed) -> None:
    rng, acknowledged = random.Random(SEED), set[str]()
    bed.replica("1")
    with Compactors(bed.data_dir) as compactors:
        for number in range(KILLS):
            gateway = bed.gateway(TIDEGATE_JOURNAL_BYTES_MAX=JOURNAL_BYTES)
            if number == 0:
                bed.publish({"1": 100})
            with Load(gateway) as load:
                load.wait_for(rng.randint(50, 1500))
                meanwhile = set(load.ids)
                assert wrong(meanwhile, captured(bed.data_dir)) == [], "read beside a gateway and a compactor"
                time.sleep(rng.random() / 10)  # a random moment is the point
                stop_hard(gateway.process)
            acknowledged |= load.ids
    assert compactors.once() == 0
    found = captured(bed.data_dir)
    assert wrong(acknowledged, found) == []
    folder = bed.data_dir / "capture" / "predictions"
    foreign = ds.dataset(folder, partitioning="hive").to_table(columns=["id"])["id"].to_pylist()
    assert Counter(foreign) == found, "a reader that is not ours sees the same"
    sys.stdout.write(
        f"\n{KILLS} kills of the gateway, {compactors.kills} of the compactor: {len(acknowledged)} answered requests, "
        f"{len(found)} in SQL, none twice; {len(list(folder.rglob('*.parquet')))} Parquet files\n"
    )

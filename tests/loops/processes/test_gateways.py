"""Looking after gateways when this process has nothing left to look with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from support.descriptors import none_left
from tidegate.adapters.local.processes import ProcessRef
from tidegate.loops.metrics import LoopMetrics
from tidegate.loops.processes.gateways import (
    HEALTH_EVERY_S,
    SILENT_MAX_S,
    GatewayProcess,
    GatewaySettings,
    GatewaySupervisor,
)


class Clock:
    """Time that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def test_a_gateway_that_cannot_be_looked_at_is_left_alone(process: subprocess.Popen[bytes], tmp_path: Path) -> None:
    clock = Clock()
    settings = GatewaySettings(tmp_path, "127.0.0.1", 1, 2, "http://127.0.0.1:3", 1, {})
    supervisor = GatewaySupervisor(settings, LoopMetrics(CollectorRegistry()), clock)
    supervisor._gateways = [GatewayProcess("gateway-0", ProcessRef(process.pid, 0.0), process, answers=True)]
    with none_left():
        for _ in range(int(2 * SILENT_MAX_S / HEALTH_EVERY_S)):
            clock.now += HEALTH_EVERY_S
            supervisor.step()
    assert process.poll() is None
    assert supervisor.running_since() == {"gateway-0": 0.0}

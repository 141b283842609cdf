"""How many connections a process may have, by its limit of open files; and the sweep that times them out."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tidegate.dataplane import serve
from tidegate.dataplane.http.protocol import HotProtocol

ASK = """
import json, resource, sys
from tidegate.dataplane.serve import allow_files
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(json.dumps([allow_files(wanted), resource.getrlimit(resource.RLIMIT_NOFILE)[0]]))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "taken", "files"),
    [
        (256, 4096, 1024, 1024, 3072),  # raised as far as is needed
        (256, 1024, 8192, 512, 1024),  # as far as it may be
        (2048, 4096, 100, 100, 2048),  # enough already
        (64, 64, 8192, 32, 64),
    ],
)
def test_connections_keep_below_the_limit_of_open_files(
    soft: int, hard: int, wanted: int, taken: int, files: int
) -> None:
    argv = [sys.executable, "-c", ASK, str(soft), str(hard), str(wanted)]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(ran.stdout) == [taken, files]


class Swept(HotProtocol):
    """A connection that raises when it is swept, or counts how often it was."""

    def __init__(self, *, broken: bool) -> None:
        self.broken, self.sweeps, self.cut = broken, 0, False
        self.transport: Any = SimpleNamespace(abort=self._abort)

    def _abort(self) -> None:
        self.cut = True

    def sweep(self, now_s: float) -> None:
        self.sweeps += 1
        if self.broken:
            raise ValueError("no such clock")


def test_the_sweep_goes_on_past_a_connection_that_raises_and_past_the_other_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serve, "SWEEP_EVERY_S", 0.001)
    broken, sound = Swept(broken=True), Swept(broken=False)

    def grpc_sweep(now_s: float) -> None:
        raise KeyError("a stream")

    async def go() -> None:
        server: Any = SimpleNamespace(server_state=SimpleNamespace(connections={broken, sound}))
        grpc: Any = SimpleNamespace(sweep=grpc_sweep)
        engine: Any = SimpleNamespace(clock=lambda: 1.0)
        sweeping = asyncio.ensure_future(serve._sweep(server, grpc, engine))
        async with asyncio.timeout(10):
            while sound.sweeps < 3:
                await asyncio.sleep(0.001)
        sweeping.cancel()

    asyncio.run(go())
    assert broken.cut
    assert not sound.cut

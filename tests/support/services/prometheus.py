"""A Prometheus server of a test: with the configuration that the platform wrote, only quicker, on a free port."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import httpx

from support.services import missing
from support.wait import free_ports, until

QUICK = {"scrape_interval: 15s": "scrape_interval: 1s", "evaluation_interval: 15s": "evaluation_interval: 1s"}


def promtool() -> str:
    """The checker that comes with the server."""
    return _program("promtool")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        missing("Prometheus")
    return found


class Prometheus:
    """One server. `stop` and `start` may follow one another; port and data stay."""

    def __init__(self) -> None:
        self._program = _program("prometheus")
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = Path(tempfile.mkdtemp(prefix="tidegate-prometheus-"))
        self._server: subprocess.Popen[bytes] | None = None
        self._config = Path()

    def use(self, written: Path) -> None:
        """Scrape as this file says, which stays where it is: it names others beside it."""
        text = written.read_text()
        for slow, quick in QUICK.items():
            assert slow in text
            text = text.replace(slow, quick)
        self._config = written.with_name("prometheus-for-tests.yml")
        self._config.write_text(text)

    def start(self) -> Prometheus:
        """Start it, and wait until it is ready."""
        argv = [self._program, f"--config.file={self._config}", f"--storage.tsdb.path={self._folder / 'data'}"]
        argv += [f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(argv, stdout=log, stderr=log, cwd=self._folder)
        until(self._ready, what="Prometheus")
        return self

    def _ready(self) -> bool:
        assert self._server is not None
        assert self._server.poll() is None, (self._folder / "log").read_text()
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """In good order; what it scraped is kept."""
        server, self._server = self._server, None
        if server is not None:
            server.terminate()
            server.wait(30)

    def ask(self, query: str) -> list[dict[str, Any]]:
        """What a query gives now: a list of `{"metric": labels, "value": [time, text]}`."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": query}, timeout=30, trust_env=False)
        body = answer.json()
        assert body["status"] == "success", f"{query}: {body}"
        found: list[dict[str, Any]] = body["data"]["result"]
        return found

    def number(self, query: str) -> float | None:
        """The one value a query gives; None where it gives none."""
        found = self.ask(query)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def remove(self) -> None:
        """End it and remove its data."""
        self.stop()
        shutil.rmtree(self._folder)

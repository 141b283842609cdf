"""Probes, asked for real: HTTP and TCP at the pod's address."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]


def ask(probe: Object, ip: str, ports: list[Object]) -> str:
    """Empty when it succeeds, else why not."""
    timeout_s = float(probe["timeoutSeconds"])
    known = {port.get("name"): port["containerPort"] for port in ports}
    try:
        if "httpGet" in probe:
            get = probe["httpGet"]
            port = known.get(get["port"], get["port"])
            connection = http.client.HTTPConnection(get.get("host", ip), port, timeout=timeout_s)
            try:
                headers = {item["name"]: item["value"] for item in get.get("httpHeaders", ())}
                connection.request("GET", get["path"], headers={"User-Agent": "kube-probe/1.36", **headers})
                code = connection.getresponse().status
            finally:
                connection.close()
            return "" if 200 <= code < 400 else f"HTTP probe failed with statuscode: {code}"
        if "tcpSocket" in probe:
            socket.create_connection(
                (ip, known.get(probe["tcpSocket"]["port"], probe["tcpSocket"]["port"])), timeout_s
            ).close()
            return ""
    except (OSError, http.client.HTTPException) as error:
        return f"Get: dial tcp {ip}: {error}"
    return f"the fake asks no probe of {sorted(probe)}"


@dataclass
class Prober:
    """One probe of one container since it was started. `passed` None: neither often enough yet."""

    probe: Object
    kind: str
    ip: str
    ports: list[Object]
    speed: float
    passed: bool | None = None
    last: str = ""
    asked: int = 0
    _good: int = 0
    _bad: int = 0
    _next_at: float = 0.0
    _thread: threading.Thread | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._next_at = time.monotonic() + self.probe.get("initialDelaySeconds", 0) / self.speed

    @property
    def word(self) -> str:
        """As events call it."""
        return self.kind.removesuffix("Probe").capitalize()

    def step(self, now: float) -> None:
        """Ask when it is time, in a thread: a slow answer holds up nothing else."""
        if now < self._next_at or (self._thread is not None and self._thread.is_alive()):
            return
        self._next_at = now + self.probe["periodSeconds"] / self.speed
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        failed = ask(self.probe, self.ip, self.ports)
        self.asked += 1
        with self._lock:
            if failed:
                self._good, self._bad, self.last = 0, self._bad + 1, failed
                if self._bad >= self._failures_max():
                    self.passed = False
            else:
                self._good, self._bad = self._good + 1, 0
                if self._good >= self.probe["successThreshold"]:
                    self.passed = True

    def _failures_max(self) -> float:
        """Sped up, more often is asked before a container is ended: what it may take stays the same."""
        return float(self.probe["failureThreshold"]) * (1.0 if self.kind == "readinessProbe" else self.speed)

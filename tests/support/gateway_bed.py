"""What gateway tests stand on: real gateway and replica processes, and a server that publishes snapshots to them."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from msgspec.structs import replace

from support.gateway_replica import SIGNATURE
from support.platform import clean_env
from support.wait import free_ports, until
from tidegate.system.run_dir import run_dir
from tidegate.wire.gateways.snapshot import RoutedEndpoint, Snapshot, Target, Variant, encode_snapshot
from tidegate.wire.replicas.replica_key import replica_key

REPLICA = Path(__file__).with_name("gateway_replica.py")
TOKEN = "token-of-a-test"


class Publisher:
    """Serves `GET /internal/v1/snapshot` as the control plane does. May be stopped and started again on its port.

    `acknowledged` and `in_use` have what each gateway said with its last poll.
    `losses` counts how often it was told of one, `wanted` has the endpoints that requests were said to wait for,
    `answered` has what each gateway reported last, by version, and `load` the newest reports of it.
    """

    def __init__(self) -> None:
        self.port = free_ports(1)[0]
        self.acknowledged: dict[str, int] = {}
        self.in_use: dict[str, set[str]] = {}
        self.requests = 0
        self.losses = 0
        self.wanted: list[str] = []
        self.answered: dict[str, dict[str, Any]] = {}
        self.load: deque[dict[str, Any]] = deque(maxlen=1000)
        self._changed = threading.Condition()
        self._revision, self._body = 0, b""
        self._server: ThreadingHTTPServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                publisher.answer(self)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if publisher._server is None:  # stopped: connections that were open before are served no more
                    self.close_connection = True
                    return
                known = self.headers["Authorization"] == f"Bearer {TOKEN}" and self.path.startswith("/internal/v1/")
                if known and self.path.endswith("/answered"):
                    publisher.answered[body["gateway"]] = {one["version"]: one for one in body["versions"]}
                elif known and self.path.endswith("/load"):
                    publisher.load.append(body)
                elif known and self.path.endswith("/wanted"):
                    publisher.wanted.append(body["endpoint"])
                else:
                    publisher.losses += known
                self.send_response(204 if known else 401)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        server, self._server = self._server, None
        with self._changed:
            self._changed.notify_all()
        if server is not None:
            server.shutdown()
            server.server_close()

    def publish(self, snapshot: Snapshot) -> None:
        self.publish_bytes(snapshot.revision, encode_snapshot(snapshot))

    def publish_bytes(self, revision: int, body: bytes) -> None:
        with self._changed:
            self._revision, self._body = revision, body
            self._changed.notify_all()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(handler.path).query).items()}
        after = int(query["after"])
        status, body = 401, b"{}"
        if handler.headers["Authorization"] == f"Bearer {TOKEN}":
            with self._changed:
                self.requests += 1
                self.acknowledged[query["gateway"]] = after
                self.in_use[query["gateway"]] = set(filter(None, query.get("in_use", "").split(",")))
                self._changed.notify_all()
                self._changed.wait_for(
                    lambda: self._server is None or self._revision > after,
                    float(query["wait_s"]),
                )
                status, body = (200, self._body) if self._revision > after else (204, b"")
        if self._server is None:
            handler.close_connection = True
            return
        try:
            handler.send_response(status)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
        except ConnectionError:
            handler.close_connection = True


@dataclass
class Replica:
    """One replica process."""

    process: subprocess.Popen[bytes]
    target: Target
    version: str


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Gateway:
    """One gateway process."""

    process: subprocess.Popen[bytes]
    id: str
    port: int
    grpc_port: int = 0

    def ask(self, features: Any, endpoint: str = "sums", headers: dict[str, str] | None = None, **more: Any) -> Reply:
        body = json.dumps({"features": features, **more}).encode()
        return self.request(
            "POST", f"/predict/{endpoint}", body, {"Content-Type": "application/json", **(headers or {})}
        )

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, names, response.read())
        finally:
            connection.close()

    def healthy(self) -> bool:
        try:
            return self.request("GET", "/health").status == 200
        except OSError:
            return False


@dataclass
class Bed:
    """A data directory with its processes. `publish` tells every gateway and waits until it is in force."""

    data_dir: Path
    publisher: Publisher = field(default_factory=Publisher)
    replicas: list[Replica] = field(default_factory=list)
    gateways: list[Gateway] = field(default_factory=list)
    revision: int = 0

    def __post_init__(self) -> None:
        self.data_dir.mkdir(mode=0o700, exist_ok=True)
        (self.data_dir / "token").write_text(TOKEN)
        self.run_dir.mkdir(mode=0o700, exist_ok=True, parents=True)

    @property
    def run_dir(self) -> Path:
        return run_dir(self.data_dir)

    def replica(self, version: str, scale: float | None = None, id: str = "", **env: str) -> Replica:  # noqa: A002
        """Start a replica and wait until it says that it is ready, as the control plane does before it routes to one.

        Its socket is there before: a gateway that is told of it then goes on after a while without that replica.
        One that takes the place of another may be killed, as that was, before it says anything.
        """
        id = id or f"r-{version}-{len(self.replicas)}"  # noqa: A001
        path = self.run_dir / f"{id}.sock"
        scale = float(version) if scale is None else scale
        # -P: or this folder's `platform` would stand in for the standard library's.
        argv = [sys.executable, "-P", str(REPLICA), "--uds", str(path), "--version", version, "--scale", str(scale)]
        process = subprocess.Popen(argv, env=clean_env(**env))
        made = Replica(process, Target(id, f"unix:{path}"), version)
        self.replicas.append(made)
        until(lambda: is_ready(path) or process.poll() is not None, what=f"replica {id}")
        return made

    def replica_with_key(self, version: str, credential: str) -> Replica:
        """Start a replica that listens on a port and asks for the key of this name; returns once it is ready."""
        (port,) = free_ports(1)
        argv = [sys.executable, "-P", str(REPLICA), "--port", str(port), "--key", replica_key(TOKEN, credential)]
        process = subprocess.Popen([*argv, "--version", version, "--scale", version], env=clean_env())
        made = Replica(process, Target(f"r-{port}", f"tcp:127.0.0.1:{port}", credential=credential), version)
        self.replicas.append(made)
        until(lambda: is_ready(port) or process.poll() is not None, what="the replica on a port")
        return made

    def gateway(self, *options: str, id: str = "gateway-0", port: int = 0, **env: str) -> Gateway:  # noqa: A002
        """Start a gateway and wait until it answers."""
        gateway = self.spawn_gateway(*options, id=id, port=port, **env)
        until(gateway.healthy, what="the gateway's health")
        self.gateways.append(gateway)
        return gateway

    def spawn_gateway(self, *options: str, id: str = "gateway-0", port: int = 0, **env: str) -> Gateway:  # noqa: A002
        free_port, grpc_port = free_ports(2)
        port = port or free_port
        argv = [sys.executable, "-m", "tidegate.gateway", "--data-dir", str(self.data_dir), "--id", id]
        argv += ["--port", str(port), "--control-url", self.publisher.url, "--grpc-port", str(grpc_port), *options]
        with (self.data_dir / f"{id}.log").open("ab") as log:
            # On a machine that is busy a write takes longer than 50 ms now and then, and records would be dropped.
            patient = {"TIDEGATE_JOURNAL_WAIT_MS_MAX": "60000"}
            process = subprocess.Popen(argv, env=clean_env(**patient | env), stderr=log)
        return Gateway(process, id, port, grpc_port)

    def log(self, id: str = "gateway-0") -> str:  # noqa: A002
        return (self.data_dir / f"{id}.log").read_text()

    def publish(
        self,
        weights: dict[str, float],
        labels: dict[str, str] | None = None,
        *,
        without: tuple[Replica, ...] = (),
        cache_ttl_s: float = 0.0,
        rate_limit_per_s: float = 0.0,
    ) -> None:
        """Route the endpoint `sums` to the replicas that live, and wait until all gateways do."""
        made = self.endpoint(weights, labels, without=without)
        self.publish_endpoints(replace(made, cache_ttl_s=cache_ttl_s, rate_limit_per_s=rate_limit_per_s))

    def endpoint(
        self,
        weights: dict[str, float],
        labels: dict[str, str] | None = None,
        *,
        name: str = "sums",
        without: tuple[Replica, ...] = (),
    ) -> RoutedEndpoint:
        """An endpoint with these weights."""
        live = [one for one in self.replicas if one not in without]
        variants = tuple(
            Variant(
                name=version,
                version=version,
                weight=weight,
                model="sums",
                digest=version * 8,
                signature=SIGNATURE,
                example=[1.0, 2.0, 3.0],
                targets=tuple(one.target for one in live if one.version == version),
                label=(labels or {}).get(version),
                batchable=True,
            )
            for version, weight in weights.items()
        )
        return RoutedEndpoint(name, "salt" if name == "sums" else f"salt of {name}", variants)

    def publish_endpoints(self, *endpoints: RoutedEndpoint) -> None:
        self.revision += 1
        self.publisher.publish(self.snapshot_of(*endpoints))
        self.wait_until_in_force()

    def snapshot_of(self, *endpoints: RoutedEndpoint) -> Snapshot:
        """With the revision of the moment."""
        return Snapshot(self.revision, endpoints)

    def wait_until_in_force(self) -> None:
        ids = [gateway.id for gateway in self.gateways if gateway.process.poll() is None]
        until(
            lambda: all(self.publisher.acknowledged.get(one) == self.revision for one in ids),
            what=f"revision {self.revision} at {ids}",
        )

    def close(self) -> None:
        """Stop everything that was started, by its own pid, and leave no sockets behind."""
        self.publisher.stop()
        for process in [*(one.process for one in self.gateways), *(one.process for one in self.replicas)]:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(10)
        shutil.rmtree(self.run_dir, ignore_errors=True)


class Load:
    """Requests on several keep-alive connections at once until stopped; counts answers by status."""

    def __init__(self, gateway: Gateway, connections: int = 8) -> None:
        self.statuses: dict[int, int] = {}
        self.versions: dict[str, int] = {}
        self.ids: set[str] = set()
        self.troubles: list[str] = []
        self._port = gateway.port
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(connections)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.wait_for(50)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(35)

    @property
    def total(self) -> int:
        return sum(self.statuses.values())

    @property
    def failures(self) -> int:
        return self.total - self.statuses.get(200, 0) + len(self.troubles)

    def wait_for(self, more: int) -> None:
        """Until so many further answers have come."""
        goal = self.total + more
        until(lambda: self.total >= goal or self.troubles, what=f"{more} answers")

    def _run(self, number: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)) as connection:
            self._ask_on(connection, number)

    def _ask_on(self, connection: http.client.HTTPConnection, number: int) -> None:
        count = 0
        while not self._stop.is_set():
            count += 1
            body = json.dumps({"features": [number, count, 0]}).encode()
            try:
                connection.request("POST", "/predict/sums", body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException) as error:
                if not self._stop.is_set():
                    self.troubles.append(repr(error))
                return
            self._note(response.status, answer, number + count)

    def _note(self, status: int, answer: dict[str, Any], total: int) -> None:
        with self._lock:
            self.statuses[status] = self.statuses.get(status, 0) + 1
            if status != 200:
                self.troubles.append(str(answer))
                return
            version = answer["model_version"]
            self.versions[version] = self.versions.get(version, 0) + 1
            self.ids.add(answer["id"])
            if answer["prediction"] != [total * float(version)]:
                self.troubles.append(f"wrong answer {answer} for a sum of {total}")


def is_ready(where: Path | int) -> bool:
    """A replica behind a Unix socket or on a port."""
    with closing(socket.socket(socket.AF_UNIX if isinstance(where, Path) else socket.AF_INET)) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(os.fspath(where) if isinstance(where, Path) else ("127.0.0.1", where))
            connection.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: replica\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False


def stop_hard(process: subprocess.Popen[bytes]) -> None:
    """As a crash or the kernel's out-of-memory killer would."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)

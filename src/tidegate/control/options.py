"""The control process's arguments, and the addresses that follow from them."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from tidegate.core.engines.placement import check_backend
from tidegate.errors import InvalidArgument
from tidegate.settings import CONTROL_PORT, GATEWAY_PORT

WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104 (recognised, not bound)
GATEWAYS_MAX = 64


@dataclass(frozen=True)
class Options:
    """What `tidegate up` was asked for. `data_dir` None: as the settings say."""

    data_dir: Path | None
    host: str
    port: int
    grpc_port: int
    control_port: int
    gateways: int
    detach: bool
    quiet: bool = False
    clients_url: str | None = None
    observability: bool = False
    backend: str | None = None

    @property
    def gateway_url(self) -> str:
        """Where clients reach the gateway: as told, else on this machine."""
        return self.clients_url or _url(self.host, self.port)

    @property
    def control_url(self) -> str:
        """Where the CLI and the gateways on this machine reach the API."""
        return _url(self.host, self.control_port)

    @property
    def public_url(self) -> str:
        """Where people elsewhere reach the API, as far as this process can know."""
        return _url(os.uname().nodename if self.host in WILDCARDS else self.host, self.control_port)

    def argv(self, data_dir: Path) -> list[str]:
        """The same, as arguments of a process in the foreground."""
        argv = ["--data-dir", str(data_dir), "--host", self.host, "--port", str(self.port)]
        argv += ["--grpc-port", str(self.grpc_port), "--control-port", str(self.control_port)]
        argv += ["--gateway-url", self.clients_url] if self.clients_url else []
        argv += ["--backend", self.backend] if self.backend else []
        argv += ["--gateways", str(self.gateways)]
        return [*argv, "--observability"] if self.observability else argv


class _Parser(argparse.ArgumentParser):
    """Wrong use is an error of ours, with one line."""

    def error(self, message: str) -> NoReturn:
        raise InvalidArgument(f"{message} (see tidegate up --help)")


def parse(argv: list[str] | None) -> Options:
    """Read the arguments; raises `InvalidArgument`."""
    parser = _Parser(prog="tidegate up", description="Run the platform on this machine.")
    parser.add_argument("--data-dir", type=Path, help="where the platform keeps its state")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind")
    parser.add_argument("--port", type=int, default=GATEWAY_PORT, help="port of the gateway")
    parser.add_argument("--grpc-port", type=int, help="gRPC port of the gateway (PORT + 1)")
    parser.add_argument("--control-port", type=int, default=CONTROL_PORT, help="port of the API")
    parser.add_argument("--gateways", type=int, default=1, help="gateway processes; 0: others start them")
    parser.add_argument("--gateway-url", dest="clients_url", help="where clients reach the gateway")
    parser.add_argument("--backend", help="where replicas run that were not placed")
    parser.add_argument("--detach", action="store_true", help="return once everything answers")
    parser.add_argument("--observability", action="store_true", help="write files for Prometheus and Grafana")
    parser.add_argument("--quiet", action="store_true", help="do not print where everything is")
    given = parser.parse_args(argv)
    values = {**vars(given), "grpc_port": given.port + 1 if given.grpc_port is None else given.grpc_port}
    options = Options(**values)
    _check(options)
    return options


def _check(options: Options) -> None:
    ports = {"--port": options.port, "--grpc-port": options.grpc_port, "--control-port": options.control_port}
    for name, port in ports.items():
        if not 1 <= port <= 65535:
            raise InvalidArgument(f"{name} {port} is no port: give 1 to 65535")
        same = [other for other, value in ports.items() if value == port and other != name]
        if same:
            raise InvalidArgument(f"{name} and {same[0]} are both {port}: give each its own")
    if not 0 <= options.gateways <= GATEWAYS_MAX:
        raise InvalidArgument(f"--gateways {options.gateways} is not allowed: give 0 to {GATEWAYS_MAX}")
    if options.clients_url is not None and not _is_http(options.clients_url):
        raise InvalidArgument("--gateway-url is no http URL: give one such as https://models.example.com")
    if options.backend is not None:
        check_backend(options.backend)


def _is_http(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _url(host: str, port: int) -> str:
    reachable = "127.0.0.1" if host in WILDCARDS else host
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"

"""Runs an HTTP server of the data plane: sockets, uvicorn with the hot protocol, the sweeper, and a clean end."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import functools
import gc
import logging
import os
import resource
import signal
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import uvicorn
import uvloop
from starlette.types import ASGIApp

from tidegate.dataplane.base.ticking import every, sweep_or_cut
from tidegate.dataplane.draining import SETTLE_S, DrainingServer, turn_away
from tidegate.dataplane.grpc.server import GrpcServer
from tidegate.dataplane.http.protocol import SURPLUS_MAX, HotProtocol
from tidegate.dataplane.http.routes import RouteTable
from tidegate.dataplane.pipeline.infer import InferenceEngine
from tidegate.errors import InvalidArgument, PortInUse

BACKLOG = 2048
FILES_RESERVED = 512
"""For what are no clients' connections: replicas, the journal, the model's own files."""
SWEEP_EVERY_S = 1.0
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES, MAPPED_BYTES_MIN = 64 << 20, 32 << 20
"""Freed memory that the process keeps for its next request, and blocks that are always given back when freed."""
PORT_MAX = 65535

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listen:
    """Where a server listens: a Unix socket, which any user may use with `uds_open`, or a host and port."""

    host: str = "127.0.0.1"
    port: int = 8000
    uds: Path | None = None
    reuse_port: bool = False
    uds_open: bool = False


def open_socket(listen: Listen, option: str = "--port") -> socket.socket:
    """Bind; raises `PortInUse` naming the port and the option to change it.

    A Unix socket has mode 0600 (0666 where any user may use it), and a stale one is replaced.
    """
    if listen.uds is not None:
        return _unix_socket(listen.uds, 0o111 if listen.uds_open else 0o177)
    if not 0 <= listen.port <= PORT_MAX:
        raise InvalidArgument(f"{listen.port} is no port: give one up to {PORT_MAX} with {option}")
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if listen.reuse_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind((listen.host, listen.port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"port {listen.port} on {listen.host} is in use by another process: choose another with {option}",
                port=listen.port,
            ) from None
        raise PortInUse(f"cannot listen on {listen.host}:{listen.port}: {error.strerror}", port=listen.port) from None
    return sock


def _unix_socket(path: Path, mask: int) -> socket.socket:
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(mask)
    try:
        sock.bind(os.fspath(path))
    finally:
        os.umask(before)
    sock.listen(BACKLOG)
    return sock


@dataclass(frozen=True)
class Hooks:
    """What a process does once its loop runs, and before it ends; whether it can answer now; and its connections."""

    on_start: Callable[[], Awaitable[None]] | None = None
    on_stop: Callable[[], Awaitable[None]] | None = None
    is_ready: Callable[[], bool] = lambda: True
    protocol: Callable[..., HotProtocol] = HotProtocol


Make = Callable[[], tuple[InferenceEngine, ASGIApp, Hooks]]


def run_server(
    make: Make, sock: socket.socket, *, drain_s: float = 5.0, grpc_sock: socket.socket | None = None
) -> None:
    """Serve HTTP, and gRPC where it has a socket, until SIGTERM or SIGINT; then finish what is in flight for at most
    `drain_s`.

    `make` builds engine and application inside the running loop.
    """
    keep_freed_memory()
    uvloop.run(_serve(make, sock, drain_s, grpc_sock))


def keep_freed_memory() -> bool:
    """Let glibc keep the memory that a large body took: False where the C library is another.

    As it comes it soon gives such memory back to the system, and the next request's pages have to be made and zeroed
    anew: an eighth of the time of a request with 240 KB of tensors.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_TRIM_THRESHOLD, KEPT_BYTES) and mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES_MIN))


def allow_files(connections_max: int) -> int:
    """Raise this process's limit of open files to what so many connections need, as far as it may be raised.

    Returns how many connections that is enough for, for HTTP and for gRPC each.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * (connections_max + SURPLUS_MAX) + FILES_RESERVED
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections_max
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (OSError, ValueError):
        allowed = soft
    if allowed == wanted:
        return connections_max
    enough = max(1, min(connections_max, allowed // 2))  # the other half is for gRPC, and for the process itself
    log.warning("%d open files are allowed: no more than %d connections are taken", allowed, enough)
    return enough


async def _serve(make: Make, sock: socket.socket, drain_s: float, grpc_sock: socket.socket | None) -> None:
    engine, app, hooks = make()
    engine.limits = replace(engine.limits, connections_max=allow_files(engine.limits.connections_max))
    config = uvicorn.Config(
        app,
        http=functools.partial(hooks.protocol, engine, RouteTable()),  # type: ignore[arg-type]  # called like the class
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(drain_s)),
    )
    server = DrainingServer(config)
    gc.freeze()  # what the start made stays for good: looking through it again would hold up requests for milliseconds
    grpc = GrpcServer(engine, hooks.is_ready)
    sweeper = asyncio.create_task(_sweep(server, grpc, engine))
    if hooks.on_start is not None:
        await hooks.on_start()
    if grpc_sock is not None:
        await grpc.start(grpc_sock, BACKLOG)
    stop_by_s: list[float] = []

    def end(number: int) -> None:
        engine.draining = True
        stop_by_s.append(engine.clock() + drain_s)
        server.handle_exit(number, None)
        if grpc_sock is not None and turn_away(grpc_sock):
            loop.call_later(SETTLE_S, grpc.drain)
        else:
            grpc.drain()

    loop = asyncio.get_running_loop()
    # Not `server.serve()`: it raises the signal again once it is done, which would end the process before `on_stop`.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    try:
        await server._serve([sock])
        await grpc.stop(0.0 if server.force_exit or not stop_by_s else stop_by_s[0])
    finally:
        sweeper.cancel()
        if hooks.on_stop is not None:
            await hooks.on_stop()


async def _sweep(server: uvicorn.Server, grpc: GrpcServer, engine: InferenceEngine) -> None:
    """Once a second, let every connection look at its clock."""

    async def sweep() -> None:
        now_s = engine.clock()
        for connection in list(server.server_state.connections):
            if isinstance(connection, HotProtocol):
                sweep_or_cut(connection.transport, connection.sweep, now_s)
        grpc.sweep(now_s)

    await every(SWEEP_EVERY_S, sweep, "the sweep of connections")

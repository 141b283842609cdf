"""The gateway's composition root: what a gateway process is made of. Called by `__main__`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.routing import Route

from tidegate import clock
from tidegate.dataplane.base.ticking import every
from tidegate.dataplane.calls.limits import DataplaneLimits
from tidegate.dataplane.http.app import AppOptions, OwnRoutes, build_app
from tidegate.dataplane.pipeline.access import Access, key_hash
from tidegate.dataplane.pipeline.infer import InferenceEngine
from tidegate.dataplane.pipeline.metrics import Metrics, MetricState, Place, render
from tidegate.dataplane.serve import Hooks, Listen, open_socket
from tidegate.errors import PortInUse, TidegateError
from tidegate.gateway.capture.journal import Journal
from tidegate.gateway.capture.observer import GatewayObserver
from tidegate.gateway.capture.segments import Segments
from tidegate.gateway.control.answered import AnsweredReports
from tidegate.gateway.control.follower import (
    SNAPSHOT_SUFFIX,
    ControlPlane,
    SnapshotFile,
    SnapshotFollower,
    SnapshotRefused,
)
from tidegate.gateway.control.load import LoadReports, Totals, totals
from tidegate.gateway.control.losses import Losses
from tidegate.gateway.control.wake_requests import WakeRequests
from tidegate.gateway.feedback import openapi
from tidegate.gateway.feedback.route import FeedbackRoute
from tidegate.gateway.routing import assign_route
from tidegate.gateway.routing.assign_route import AssignRoute
from tidegate.gateway.routing.directory import Router
from tidegate.gateway.routing.version_pool import PoolParts
from tidegate.gateway.shadow.copies import ShadowCopies, ShadowLimits, limits_of
from tidegate.gateway.shadow.observer import ShadowObserver
from tidegate.gateway.shared.sharing import Sharing
from tidegate.gateway.telemetry.counts import SUFFIX, CountsFile, read_counts
from tidegate.gateway.telemetry.siblings import AdminServer, Siblings
from tidegate.gateway.upstream.dial import Secrets
from tidegate.gateway.upstream.identity import token_source
from tidegate.system.run_dir import make_run_dir
from tidegate.system.unix_sockets import listens, listens_on

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from tidegate.settings import Settings
    from tidegate.wire.gateways.snapshot import Snapshot

JOURNAL_TICK_S = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GatewayOptions:
    """Options of the command line of one gateway process."""

    id: str
    host: str
    port: int
    grpc_port: int
    control_url: str
    reuse_port: bool


@dataclass(frozen=True)
class Sockets:
    """What a gateway listens on: the addresses clients call, and the private one its siblings ask."""

    public: socket.socket
    grpc: socket.socket
    admin: socket.socket
    admin_path: Path

    def close(self) -> None:
        """Stop listening, and leave no file behind."""
        self.public.close()
        self.grpc.close()
        self.admin.close()
        self.admin_path.unlink(missing_ok=True)


def open_sockets(options: GatewayOptions, settings: Settings) -> Sockets:
    """Bind all; raises `PortInUse`, `DataDirUnusable`."""
    folder = make_run_dir(settings.data_dir)
    admin_path = folder / f"{options.id}.sock"
    if not options.reuse_port:
        return Sockets(*_open_public(options), open_socket(Listen(uds=admin_path)), admin_path)
    # Several start at once: with the private socket first, each is known for a sibling before it takes the ports.
    admin = open_socket(Listen(uds=admin_path))
    try:
        for port, option in ((options.port, "--port"), (options.grpc_port, "--grpc-port")):
            _refuse_strangers(options.host, port, option, admin_path)
        return Sockets(*_open_public(options), admin, admin_path)
    except TidegateError:
        admin.close()
        admin_path.unlink(missing_ok=True)
        raise


def _open_public(options: GatewayOptions) -> tuple[socket.socket, socket.socket]:
    """The sockets of HTTP and gRPC, or none of them."""
    public = open_socket(Listen(options.host, options.port, reuse_port=options.reuse_port))
    try:
        grpc = Listen(options.host, options.grpc_port, reuse_port=options.reuse_port)
        return public, open_socket(grpc, "--grpc-port")
    except TidegateError:
        public.close()
        raise


def _refuse_strangers(host: str, port: int, option: str, admin_path: Path) -> None:
    """With SO_REUSEPORT the kernel lets two platforms share a port, and each would get half of the other's requests."""
    if not listens_on(host, port):
        return
    siblings = [path for path in admin_path.parent.glob("gateway-*.sock") if path != admin_path]
    if not any(map(listens, siblings)):
        raise PortInUse(f"port {port} on {host} is in use by another platform: choose another with {option}", port=port)


class RunningGateway:
    """One gateway process; made inside its running loop."""

    def __init__(self, options: GatewayOptions, settings: Settings, key: str | None, sockets: Sockets) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets = sockets
        self._metrics = Metrics()
        self._journal = _journal(options, settings)
        self._ticking: asyncio.Task[None] | None = None
        self._observer = observer = GatewayObserver(self._metrics, self._journal)
        limits = DataplaneLimits.from_settings(settings)
        self._sharing = Sharing(settings, observer, clock.monotonic)
        self._sharing.add_gauges(self._metrics)
        source = ControlPlane(options.control_url, settings.data_dir, options.id, settings.node_key)
        tokens = token_source(source.id_token)
        self._losses = Losses(source.report_loss)
        self._wake_requests = WakeRequests(source.report_wanted, self._not_woken, self._loop)
        parts = PoolParts(
            self._loop,
            limits,
            observer,
            clock.monotonic,
            self._sharing.cache,
            on_loss=self._losses.tell,
            secrets=Secrets(source.replica_key, tokens.get, tokens.forget),
            ask=self._wake_requests.ask,
        )
        listening = ShadowObserver(self._journal)
        self._metrics.add_gauges(listening.fill_gauges)
        bounds = ShadowLimits.from_settings(settings)
        self._shadows = ShadowCopies(self._loop, bounds, listening, clock.monotonic)
        apart = replace(parts, limits=limits_of(limits, bounds), observer=listening, cache=None)
        self.router = Router(parts, apart)
        self._metrics.add_gauges(self.router.fill_gauges)
        self._own_hashes = frozenset() if key is None else frozenset({key_hash(key)})
        self._access = Access(self._own_hashes, required=key is not None)
        self.engine = InferenceEngine(self.router, limits, observer, self._access, clock.monotonic)
        self._metrics.add_gauges(self.engine.buffered.fill_gauges)
        self._feedback = FeedbackRoute(self.engine, self._journal, self.is_ready, clock.now)
        self._metrics.add_gauges(self._feedback.fill_gauges)
        kept_dir = settings.data_dir / "gateways"
        self._counts_path = kept_dir / f"{options.id}{SUFFIX}"
        self._counts = CountsFile(self._counts_path, self._metrics.state)
        self._admin = AdminServer(self._counts.save)
        self._answered = AnsweredReports(self._counts.save, source.report_answered)
        self._load = LoadReports(self._load_totals, source.report_load, clock.monotonic)
        self._siblings = Siblings(sockets.admin_path.parent, kept_dir, options.id)
        self._file = SnapshotFile(kept_dir / f"{options.id}{SNAPSHOT_SUFFIX}")
        self._follower = SnapshotFollower(source, self._file, self._apply, self._in_use)

    def is_ready(self) -> bool:
        """Whether it has a snapshot to route by."""
        return self.router.revision is not None

    def app(self) -> ASGIApp:
        """The ASGI application of the cold routes."""
        routes = (
            Route("/feedback", self._feedback.take, methods=["POST"]),
            Route("/assign/{name}", AssignRoute(self.engine).answer, methods=["GET"]),
        )
        own = OwnRoutes(
            routes,
            lambda services: openapi.paths() | assign_route.paths(services),
            openapi.SCHEMAS | assign_route.SCHEMAS,
        )
        options = AppOptions("Tidegate gateway", self._render_metrics, self.is_ready, own)
        return build_app(self.engine, options)

    async def start(self) -> None:
        """Count on from where it was, route by the snapshot on disk, then follow the control plane."""
        before = read_counts(self._counts_path)
        if before is not None:
            self._metrics.resume(before)
        self._counts.start()
        if self._journal is not None:
            self._journal.start()
            self._ticking = self._loop.create_task(every(JOURNAL_TICK_S, self._tick_journal, "the journal"))
        await self._admin.start(self._sockets.admin)
        kept = self._file.load_newest()
        if kept is not None:
            await self._adopt_kept(kept)
        self._follower.start()
        self._answered.start()
        self._load.start()
        self._sharing.start()

    async def stop(self) -> None:
        """After the last answer: let go of replicas, journal and sockets."""
        self._follower.stop()
        self._answered.stop()
        self._load.stop()
        self._losses.stop()
        self._wake_requests.stop()
        self.router.close()
        await self._sharing.stop()
        if self._ticking is not None:
            self._ticking.cancel()
        if self._journal is not None:
            self._journal.close()
        await self._counts.stop()
        self._admin.close()
        self._sockets.close()

    async def _adopt_kept(self, kept: Snapshot) -> None:
        try:
            await self._adopt(kept)
        except SnapshotRefused as error:  # another release may have written it: the control plane's is waited for
            log.warning("the kept snapshot is not used: %s", error)

    def _apply(self, snapshot: Snapshot) -> None:
        """In the follower's thread: adopt on the loop, and wait until it is in force."""
        with contextlib.suppress(concurrent.futures.CancelledError):  # the loop is ending
            asyncio.run_coroutine_threadsafe(self._adopt(snapshot), self._loop).result()

    def _in_use(self) -> frozenset[str]:
        """In the follower's thread: ask the loop, whose alone the lanes are."""
        with contextlib.suppress(concurrent.futures.CancelledError):  # the loop is ending
            return asyncio.run_coroutine_threadsafe(self._told_in_use(), self._loop).result()
        return frozenset()

    async def _told_in_use(self) -> frozenset[str]:
        return self.router.in_use()

    async def _adopt(self, snapshot: Snapshot) -> None:
        """Take a snapshot whole; one that cannot be taken raises `SnapshotRefused` and changes nothing."""
        plan = self.router.plan(snapshot)
        predict, metrics = frozenset(snapshot.key_hashes), frozenset(snapshot.metrics_key_hashes)
        self.engine.limiter = self._sharing.adopt(snapshot)
        self._access.replace_hashes(self._own_hashes | predict, metrics)
        if self._journal is not None:
            self._journal.privacy.adopt(snapshot)  # before the first prediction by this snapshot
        await self.router.take(plan)
        self._shadows.adopt(plan.shadows)
        self._observer.shadows = self._shadows.hook
        self._metrics.route(plan.places(), clock.monotonic())

    def _not_woken(self, endpoint: str, why: str) -> None:
        self.router.not_woken(endpoint, why)

    def _load_totals(self, now_s: float) -> dict[Place, Totals]:
        return totals(self._metrics.series(), self.router.in_progress_s(now_s))

    async def _tick_journal(self) -> None:
        if self._journal is not None:
            self._journal.tick()

    async def _render_metrics(self) -> bytes:
        total: MetricState = await self._siblings.total(await self._counts.save())
        # Gateways that are gone forget nothing of what they kept.
        total.series = self._metrics.remembered(total.series, clock.monotonic())
        return render(total)


def _journal(options: GatewayOptions, settings: Settings) -> Journal | None:
    if settings.journal_bytes_max <= 0:
        return None
    segments = Segments(settings.data_dir / "journal", options.id, settings.journal_bytes_max)
    return Journal(segments, settings.journal_wait_ms_max / 1000, monotonic=clock.monotonic, wall=clock.now)


def build_gateway(
    options: GatewayOptions, settings: Settings, key: str | None, sockets: Sockets
) -> tuple[InferenceEngine, ASGIApp, Hooks]:
    """Engine, application and hooks for `run_server`; call it inside the running loop."""
    gateway = RunningGateway(options, settings, key, sockets)
    return gateway.engine, gateway.app(), Hooks(gateway.start, gateway.stop, gateway.is_ready)

"""What a replica serves: one model version under its name. Built inside the running loop by `__main__`."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping
from dataclasses import replace

import msgspec
from starlette.types import ASGIApp

from tidegate import clock
from tidegate.dataplane.batching.batcher import Batcher
from tidegate.dataplane.calls.call import Destination, Identity
from tidegate.dataplane.calls.directory import Service
from tidegate.dataplane.calls.limits import DataplaneLimits
from tidegate.dataplane.codec.wire_template import templates_of
from tidegate.dataplane.http.app import AppOptions, build_app
from tidegate.dataplane.pipeline.access import Access, key_hash
from tidegate.dataplane.pipeline.infer import InferenceEngine
from tidegate.dataplane.pipeline.metrics import Metrics, MetricState, render
from tidegate.dataplane.serve import Hooks
from tidegate.errors import UnknownVersion
from tidegate.runtimes.base.runtime import Runtime
from tidegate.server.local_target import LocalTarget
from tidegate.server.short_way import HopProtocol, ShortWay
from tidegate.settings import Settings
from tidegate.wire.gateways.decision import AssignmentContext, Decision
from tidegate.wire.replicas.manifest import Manifest

BATCH_BYTES_MAX = 1 << 50
"""No bound: a batch is larger than any request in it, and the gateway has bounded what it took of its clients."""
_OWN_CODE = ("python", "pyfunc")


class OneModel:
    """Directory and service at once: whatever is asked, there is one version to answer."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        identity = destination.identity
        self.name = identity.model
        self._decision = Decision(identity.variant, identity.variant, identity.version)
        self._pinned = msgspec.structs.replace(self._decision, pinned=True)

    def services(self) -> Mapping[str, Service]:
        """The model alone."""
        return {self.name: self}

    def only(self) -> Service:
        """The model."""
        return self

    def decide(self, context: AssignmentContext) -> Decision:
        """Always the one version."""
        if context.pinned is None:
            return self._decision
        self.pinned(context.pinned)
        return self._pinned

    def destination(self, decision: Decision | None) -> Destination:  # noqa: ARG002 (the port's shape)
        """Always the one version."""
        return self._destination

    def pinned(self, version: str) -> Destination:
        """The version, if it is asked for by its own number or label."""
        identity = self._destination.identity
        if version in (identity.version, identity.label):
            return self._destination
        raise UnknownVersion(
            f"version {version!r} is not running here; running: {identity.version}", running=[identity.version]
        )

    def destinations(self) -> list[Destination]:
        """The one version."""
        return [self._destination]


def build_replica(
    manifest: Manifest, runtime: Runtime, settings: Settings, key: str | None, *, behind_gateway: bool = False
) -> tuple[InferenceEngine, ASGIApp, Hooks]:
    """Engine, application and hooks of a replica; call it inside the running loop.

    `behind_gateway`: what comes is batches that a gateway has cut to size, and no further cutting does any good.
    """
    loop = asyncio.get_running_loop()
    limits = DataplaneLimits.from_settings(settings)
    if behind_gateway:
        limits = replace(
            limits,
            body_bytes_max=BATCH_BYTES_MAX,
            json_bytes_max=BATCH_BYTES_MAX,
            buffered_bytes_max=BATCH_BYTES_MAX,
        )
    observer = Metrics()
    batcher = Batcher(
        loop, limits, observer, mergeable=manifest.batchable, splits=not behind_gateway, clock=clock.monotonic
    )
    identity = Identity(manifest.name, manifest.name, manifest.version, manifest.version, manifest.label)
    destination = Destination(identity, runtime.signature, manifest.example, batcher)
    target = LocalTarget(runtime, loop, clock.monotonic, steady=manifest.framework not in _OWN_CODE)
    batcher.add_target(target)

    def gauges(state: MetricState) -> None:
        state.queue_rows_limit[(identity.endpoint, identity.version)] = limits.queue_rows_max
        state.queue_rows[(identity.endpoint, identity.version)] = batcher.queued_rows
        state.batch_rows_limit[(identity.endpoint, identity.version)] = batcher.limit_rows
        state.in_progress[identity.endpoint] = len(batcher.outstanding_calls)

    observer.add_gauges(gauges)
    access = Access(frozenset() if key is None else frozenset({key_hash(key)}), required=key is not None)
    engine = InferenceEngine(OneModel(destination), limits, observer, access, clock.monotonic)
    observer.add_gauges(engine.buffered.fill_gauges)

    async def render_metrics() -> bytes:
        return render(observer.state())

    async def stop() -> None:
        target.close()

    title = f"{manifest.name}, version {manifest.version}"
    app = build_app(engine, AppOptions(title, render_metrics, lambda: True))
    hooks = Hooks(on_stop=stop)
    templates = (
        templates_of(manifest.name, manifest.version, runtime.signature) if behind_gateway and key is None else {}
    )
    if templates:
        series = (identity.endpoint, identity.version, identity.variant)
        short = ShortWay(tuple(templates.values()), batcher, target, observer, series, clock.monotonic)
        hooks = replace(hooks, protocol=functools.partial(HopProtocol, short))
    return engine, app, hooks

"""Writes the routing snapshot when its content changed. Called by the reconcile loop once a pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from tidegate.clock import Clock
from tidegate.core.routing.snapshot import route
from tidegate.store.database.engine import Store
from tidegate.store.fleet import fleet as rows
from tidegate.store.fleet.fleet import LoadedFleet
from tidegate.store.fleet.fleets import Facts
from tidegate.wire.gateways.snapshot import RoutedEndpoint, Snapshot, decode_snapshot, encode_snapshot


@dataclass(frozen=True)
class KeyHashes:
    """Hex SHA-256 of the keys that gateways take: for predictions, and for metrics alone."""

    predict: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Published:
    """The newest snapshot as stored. `listed` are the replicas in it; None where that is not known."""

    revision: int
    body: str
    listed: frozenset[str] | None = None

    def without(self, replica: str) -> int:
        """The first revision from now on that does not list a replica which leaves: the next, unless it is out already.

        One that was silent among others that answer is in no snapshot, and its leaving alone makes no other.
        """
        out = self.listed is not None and replica not in self.listed
        return self.revision if out else self.revision + 1


def published(revision: int, body: str) -> Published:
    """As another term or process left it. What only another release can read is taken to list everything."""
    try:
        return Published(revision, body, _listed(decode_snapshot(body.encode()).endpoints) if body else frozenset())
    except msgspec.DecodeError:
        return Published(revision, body)


@dataclass(frozen=True)
class SnapshotPlace:
    """Where snapshots are written, whose sockets are in them, and what they say of keys."""

    store: Store
    host: str
    hashes: KeyHashes
    clock: Clock


def publish(
    place: SnapshotPlace, fleets: list[LoadedFleet], facts: Mapping[str, Facts], newest: Published
) -> Published:
    """`newest` where nothing changed, else the snapshot with the next revision, as it was written."""
    endpoints = _endpoints(fleets, facts, place.host)
    if newest.body and _encoded(newest.revision, endpoints, place.hashes) == newest.body:
        return newest
    revision = newest.revision + 1
    written = Published(revision, _encoded(revision, endpoints, place.hashes), _listed(endpoints))
    with place.store.transaction() as tx:
        rows.save_snapshot(tx, revision, written.body, place.clock(), place.host)
    return written


def routed_versions(fleets: Iterable[LoadedFleet]) -> set[tuple[str, str]]:
    """The (model, version) pairs that the snapshot of these fleets speaks of."""
    return {(one.fleet.endpoint.model, version) for one in _served(fleets) for version in _versions(one)}


def _encoded(revision: int, endpoints: tuple[RoutedEndpoint, ...], hashes: KeyHashes) -> str:
    return encode_snapshot(Snapshot(revision, endpoints, hashes.predict, hashes.metrics)).decode()


def _endpoints(fleets: list[LoadedFleet], facts: Mapping[str, Facts], host: str) -> tuple[RoutedEndpoint, ...]:
    return tuple(route(one.fleet, one.salt, facts.get(one.fleet.endpoint.model, {}), host) for one in _served(fleets))


def _listed(endpoints: Iterable[RoutedEndpoint]) -> frozenset[str]:
    variants = [(*one.variants, *(() if one.shadow is None else (one.shadow.variant,))) for one in endpoints]
    return frozenset(target.id for found in variants for variant in found for target in variant.targets)


def _served(fleets: Iterable[LoadedFleet]) -> list[LoadedFleet]:
    return [one for one in fleets if not one.fleet.endpoint.deleted]


def _versions(one: LoadedFleet) -> set[str]:
    return {replica.version for replica in one.fleet.replicas} | set(one.fleet.endpoint.active)

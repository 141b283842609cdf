"""Writes the routing snapshot when its content changed. Called by the reconcile loop once a pass."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.clock import Clock
from tidegate.core.routing import VersionFacts, route
from tidegate.store import fleet as rows
from tidegate.store.engine import Store
from tidegate.store.fleet import LoadedFleet
from tidegate.wire.snapshot import Endpoint, Snapshot, encode_snapshot


@dataclass(frozen=True)
class KeyHashes:
    """Hex SHA-256 of the keys that gateways take: for predictions, and for metrics alone."""

    predict: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Published:
    """The newest snapshot as stored."""

    revision: int
    body: str


def publish(
    store: Store, fleets: list[LoadedFleet], newest: Published, hashes: KeyHashes, host: str, clock: Clock
) -> bool:
    """True when a snapshot with the next revision was written."""
    endpoints = _endpoints(store, fleets)
    if newest.body and _encoded(newest.revision, endpoints, hashes) == newest.body:
        return False
    revision = newest.revision + 1
    with store.transaction() as tx:
        rows.save_snapshot(tx, revision, _encoded(revision, endpoints, hashes), clock(), host)
    return True


def _encoded(revision: int, endpoints: tuple[Endpoint, ...], hashes: KeyHashes) -> str:
    return encode_snapshot(Snapshot(revision, endpoints, hashes.predict, hashes.metrics)).decode()


def _endpoints(store: Store, fleets: list[LoadedFleet]) -> tuple[Endpoint, ...]:
    served = [one for one in fleets if not one.fleet.endpoint.deleted]
    with store.reading() as tx:
        facts = rows.load_versions(tx, {(one.fleet.endpoint.model, v) for one in served for v in _versions(one)})
    return tuple(route(one.fleet, one.salt, _of_model(facts, one.fleet.endpoint.model)) for one in served)


def _versions(one: LoadedFleet) -> set[str]:
    return {replica.version for replica in one.fleet.replicas} | set(one.fleet.endpoint.routed)


def _of_model(facts: dict[tuple[str, str], VersionFacts], model: str) -> dict[str, VersionFacts]:
    return {version: found for (name, version), found in facts.items() if name == model}

"""The routing snapshot: everything a gateway needs to route, taken whole or not at all.

Written by the control plane's reconcile loop, fetched by gateways, kept by each on disk as its last good one.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.wire.decoding import json_decoder
from tidegate.wire.signature import Signature

SCHEMA = 1
SOCKET, TCP, TLS = "unix:", "tcp:", "https://"
"""What a target's address begins with."""
BATCHES_MAX = 256
"""A gateway keeps a connection for each batch that a pool takes at once."""


class Target(msgspec.Struct, frozen=True, omit_defaults=True):
    """A ready replica, or a pool of them behind one address, and how gateways reach it.

    `address` is `unix:/absolute/path.sock`, `tcp:host:port` or `https://host[:port][/path]`. `host` names the only host
    that reaches it; empty: every host does (of a socket: the host that wrote the snapshot does).
    `credential` names the key that is shown there and is never the key itself (`replicas.replica_key`). `ca_file`, on
    the gateway's host, has the authorities that may have signed its certificate; empty: those the system trusts.
    Where there is an `audience`, a front that knows identities stands before it: each request shows it an ID token that
    was made for this audience, and what the front answers itself is no answer of a replica.
    A pool takes up to `batches_max` batches at once (at most `BATCHES_MAX`), a replica one.
    """

    id: str
    address: str
    host: str = ""
    credential: str = ""
    ca_file: str = ""
    batches_max: int = 1
    audience: str = ""


class Variant(msgspec.Struct, frozen=True, omit_defaults=True):
    """One variant of an endpoint: a running version by the name it has there, which is its number but in experiments.

    `weight` is percent of unpinned traffic, 0 to 100 (0: only pinned calls). Where it `wakes`, requests that meet no
    replica wait for one, and the control plane, which starts it, is told that they do. `share` is its percent of the
    units that take part in an experiment or a canary, where that is another one.
    """

    name: str
    version: str
    weight: float
    model: str
    digest: str
    signature: Signature
    example: Any
    targets: tuple[Target, ...]
    label: str | None = None
    batchable: bool = False
    wakes: bool = False
    share: float | None = None


class CaptureRules(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is recorded of an endpoint's predictions, and for how long.

    `sample` is the share of requests whose rows are recorded. Columns in `drop` are not recorded, of those in `hash` a
    keyed hash is; `hash_keys`: of units' keys too. `retain_s` and `retain_bytes` 0: as the platform's settings say.
    """

    sample: float = 1.0
    drop: tuple[str, ...] = ()
    hash: tuple[str, ...] = ()
    hash_keys: bool = False
    retain_s: float = 0.0
    retain_bytes: int = 0


class Shadow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A version that gets a copy of `share` percent of an endpoint's requests; its answers are recorded, never sent."""

    variant: Variant
    share: float


class RoutedEndpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """One address that clients call. The weights of its variants add up to 100 when any is ready.

    Units are assigned by `assignment_salt`, or where it is empty by `salt`, which is the endpoint's for good.
    `experiment` names the one that set the weights, and `phase` counts its splits; "" and None while none runs.
    `coverage` is the share of each variant's range of units that takes part; the others get the variant `uncovered`.
    `capture` says what is recorded, None everything.
    `shadow` is the version that listens, None where none does.
    `cache_ttl_s` 0 keeps no answers; `rate_limit_per_s` 0 leaves the limit to the gateway's setting.
    """

    name: str
    salt: str
    variants: tuple[Variant, ...]
    reason: str = ""
    cache_ttl_s: float = 0.0
    rate_limit_per_s: float = 0.0
    assignment_salt: str = ""
    experiment: str = ""
    phase: int | None = None
    capture: CaptureRules | None = None
    coverage: float = 1.0
    uncovered: str = ""
    shadow: Shadow | None = None


class Snapshot(msgspec.Struct, frozen=True, omit_defaults=True):
    """Revision grows by one with each change. Hashes are hex SHA-256 of the keys in force, never keys.

    `key_hashes` are those of predictions; `metrics_key_hashes` read metrics alone.
    """

    revision: int
    endpoints: tuple[RoutedEndpoint, ...]
    key_hashes: tuple[str, ...] = ()
    metrics_key_hashes: tuple[str, ...] = ()
    schema: int = SCHEMA


_snapshots = json_decoder(Snapshot)


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """JSON bytes."""
    return msgspec.json.encode(snapshot)


def decode_snapshot(data: bytes) -> Snapshot:
    """From JSON bytes; raises `msgspec.DecodeError` for anything else."""
    return _snapshots.decode(data)

"""Addresses of replicas as engines write them and rows keep them, and the targets that snapshots have of them."""

from __future__ import annotations

import pytest

from tidegate.core.engines.placement import Placement
from tidegate.core.reconcile.fleet import EndpointFacts, Fleet, Replica
from tidegate.core.routing.snapshot import VersionFacts, route
from tidegate.core.routing.targets import Address, address_of
from tidegate.errors import InvalidArgument
from tidegate.wire.gateways.snapshot import Target, decode_snapshot, encode_snapshot
from tidegate.wire.signature import Signature

FACTS = VersionFacts("d" * 64, Signature("matrix", (), ()), None, None, batchable=False)


@pytest.mark.parametrize(
    "address",
    [
        Address("unix:/run/a b?c#d/s"),
        Address("tcp:10.0.0.7:8000"),
        Address("tcp:[::1]:8000", "a name & more"),
        Address("https://pool.example:8443/base", "churn-1", "/etc/a b/ca.pem", 8),
        Address("https://v3---pool.example", "churn-1", batches_max=8, audience="https://pool.example/?a&b"),
    ],
)
def test_an_address_reads_as_it_was_written(address: Address) -> None:
    assert address_of(str(address)) == address


@pytest.mark.parametrize(
    "given",
    [
        {"at": "http://plain.example"},
        {"at": "unix:/s", "credential": "k"},
        {"at": "tcp:h:1", "ca_file": "/ca.pem"},
        {"at": "tcp:h:1", "audience": "https://h"},
        {"at": "https://h/?x=1"},
        {"at": "https://user:secret@h"},
        {"at": "tcp:h:1", "batches_max": 0},
        {"at": "tcp:h:1", "batches_max": 257},
    ],
)
def test_what_makes_no_sense_is_no_address(given: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument) as refused:
        Address(**given)  # type: ignore[arg-type]
    assert "secret" not in refused.value.message


def test_the_snapshot_says_which_host_reaches_a_target() -> None:
    addresses = {
        "local": "unix:/run/s",
        "docker": "unix:/run/d",
        "elsewhere": "tcp:10.0.0.7:8000?credential=churn-1",
        "odd": "https://pool.example?batches_max=many",
    }
    replicas = [
        Replica(f"r-{name}", "1", "ready", float(at), address=address, placement=Placement(name))
        for at, (name, address) in enumerate(addresses.items())
    ]
    fleet = Fleet(EndpointFacts("churn", "churn", {"1": 100}, 1, 1, routed={"1": 100}), (), tuple(replicas))
    (variant,) = route(fleet, "salt", {"1": FACTS}, "here").variants
    assert variant.targets == (
        Target("r-local", "unix:/run/s", "here"),
        Target("r-docker", "unix:/run/d", "here"),
        Target("r-elsewhere", "tcp:10.0.0.7:8000", credential="churn-1"),
        Target("r-odd", "https://pool.example?batches_max=many"),
    ), "one that cannot be read keeps no other from being routed to"


def test_a_snapshot_of_an_earlier_release_is_read_and_a_plain_target_is_written_as_it_was() -> None:
    earlier = (
        b'{"revision":3,"endpoints":[{"name":"churn","salt":"s","variants":[{"name":"1","version":"1","weight":100.0,'
        b'"model":"churn","digest":"d","signature":{"kind":"matrix","inputs":[],"outputs":[]},"example":null,'
        b'"targets":[{"id":"r-1","address":"unix:/run/s"}]}]}]}'
    )
    snapshot = decode_snapshot(earlier)
    assert snapshot.endpoints[0].variants[0].targets == (Target("r-1", "unix:/run/s"),)
    assert encode_snapshot(snapshot) == earlier

"""Which gateways route now: by a clock that nobody sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate import clock as clocks
from tidegate.core.reconcile.fleet import GatewayFacts
from tidegate.services.gateways.load import GONE_S
from tidegate.services.gateways.snapshots import ENDED_S, GatewayRevisions, Snapshots
from tidegate.settings import Settings
from tidegate.store.database.engine import open_store, store_url
from tidegate.store.fleet import fleet as rows
from tidegate.wire.gateways.load import LoadReport
from tidegate.wire.gateways.snapshot import RoutedEndpoint, Snapshot, Target, Variant, decode_snapshot, encode_snapshot
from tidegate.wire.signature import Signature
from tidegate.wiring import build


def test_a_gateway_is_heard_until_it_has_not_polled_for_so_long() -> None:
    now = [100.0]
    revisions = GatewayRevisions(lambda: now[0])
    revisions.record("g0", 1)
    now[0] += 30
    revisions.record("g1", 1)
    assert revisions.heard_within(30) == {"g0", "g1"}
    now[0] += 1
    assert revisions.heard_within(30) == {"g1"}


def test_what_a_gateway_said_before_its_process_was_started_anew_counts_no_more() -> None:
    now = [100.0]
    revisions = GatewayRevisions(lambda: now[0])
    revisions.record("own", 7, ["r-1"])
    revisions.record("of-others", 6)
    now[0] = 110.0
    of_others = GatewayFacts("of-others", 6, 10.0)
    assert revisions.facts({"own": 90.0}) == (of_others, GatewayFacts("own", 7, 10.0, frozenset({"r-1"})))
    assert revisions.facts({"own": 105.0}) == (of_others, GatewayFacts("own", None, 5.0))
    assert revisions.facts({"own": None}) == (of_others,), "its process is gone, and uses nothing"
    assert revisions.facts({"never-heard": 100.0})[-1] == GatewayFacts("never-heard", None, 10.0)


def test_a_dead_gateway_is_gone_in_time_though_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall, passed = [1e9], [100.0]
    monkeypatch.setattr(clocks, "monotonic", lambda: passed[0])
    container = build(Settings.from_env({}, data_dir=tmp_path), clock=lambda: wall[0])
    try:
        container.leadership.step()
        container.gateway_revisions.record("dead", 1)
        wall[0] -= 3600
        passed[0] += GONE_S + 1
        container.load.take(LoadReport("g0", 1.0, []))
        view = container.load.view("churn", ["1"])
        assert view is not None
        assert view.gateways_silent == 0
    finally:
        container.close()


def stored(folder: Path, *targets: Target, writer: str = "there") -> Snapshots:
    """Of a database in which `writer` wrote a snapshot with these targets, on the host `here`."""
    store = open_store(store_url(folder, None))
    store.migrate("here")
    variant = Variant("1", "1", 100.0, "churn", "d", Signature("matrix", (), ()), None, targets)
    with store.transaction() as tx:
        body = encode_snapshot(Snapshot(7, (RoutedEndpoint("churn", "salt", (variant,)),))).decode()
        rows.save_snapshot(tx, 7, body, 0.0, writer)
    return Snapshots(store, "here")


SOCKET_THERE = Target("r-1", "unix:/run/s", "there")
SOCKET_OF_EARLIER = Target("r-2", "unix:/run/s")
SOCKET_HERE = Target("r-3", "unix:/run/s", "here")
PORT = Target("r-4", "tcp:10.0.0.7:8000", credential="churn-1")
URL = Target("r-5", "https://pool.example", batches_max=8)
LOOPBACK_THERE = Target("r-6", "tcp:127.0.0.1:8000", "there")


def test_gateways_elsewhere_keep_the_targets_that_they_can_reach(tmp_path: Path) -> None:
    snapshots = stored(tmp_path, SOCKET_THERE, SOCKET_OF_EARLIER, SOCKET_HERE, PORT, URL, LOOPBACK_THERE)
    (endpoint,) = decode_snapshot((snapshots.newer(0) or "").encode()).endpoints
    assert endpoint.variants[0].targets == (SOCKET_HERE, PORT, URL)
    assert endpoint.reason == ""
    assert snapshots.newer(7) is None


def test_an_endpoint_none_of_whose_targets_is_reached_from_here_says_where_they_are(tmp_path: Path) -> None:
    (endpoint,) = decode_snapshot((stored(tmp_path, SOCKET_OF_EARLIER).newer(0) or "").encode()).endpoints
    assert endpoint.variants[0].targets == ()
    assert endpoint.reason == "its replicas are on there, whose control plane leads"


def test_a_snapshot_whose_targets_are_all_reached_goes_out_as_it_was_written(tmp_path: Path) -> None:
    snapshots = stored(tmp_path, PORT)
    with snapshots.store.reading() as tx:
        written = rows.load_snapshot(tx)[1]
    assert snapshots.newer(0) == written


def test_the_writers_own_gateways_get_all_of_it(tmp_path: Path) -> None:
    snapshots = stored(tmp_path, SOCKET_OF_EARLIER, SOCKET_HERE, writer="here")
    (endpoint,) = decode_snapshot((snapshots.newer(0) or "").encode()).endpoints
    assert endpoint.variants[0].targets == (SOCKET_OF_EARLIER, SOCKET_HERE)


def test_a_poll_of_a_gateway_that_was_ended_brings_it_back_no_more_until_its_name_may_be_used_again() -> None:
    now = [100.0]
    revisions = GatewayRevisions(lambda: now[0])
    revisions.record("gateway-0", 3)
    revisions.forget("gateway-0")
    revisions.record("gateway-0", 0)  # sent before it ended, read after that
    revisions.record("gateway-1", 3)
    assert set(revisions.applied()) == {"gateway-1"}
    now[0] += ENDED_S
    revisions.record("gateway-0", 4)
    assert set(revisions.applied()) == {"gateway-0", "gateway-1"}

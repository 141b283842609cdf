"""A shadow of an endpoint: begun, shown, refused, ended by people, and ended where its version gets traffic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace as replace_struct
from sqlalchemy import select

from support.capture_bed import AT_S, Gateway, batch
from support.control import ME, SIGNATURE, add_version, container_at
from tidegate.adapters.capture.rows import StoredRows
from tidegate.capture import open_rows
from tidegate.core.captured import ShadowPairs
from tidegate.core.endpoints.effective import AutomatedWeights, Share, Split
from tidegate.errors import Conflict, InUse, InvalidArgument, NoShadow, UnknownEndpoint, UnknownVersion
from tidegate.services.endpoints import automated
from tidegate.services.models.in_use import check_unused
from tidegate.services.shadows.kept import Kept
from tidegate.store.endpoints.automation import versions_routed, versions_used, word_of
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.fleet.fleet import endpoint_of
from tidegate.store.tables import AuditRow, VariantRow
from tidegate.wire.experiments.shadows import ShadowRequest
from tidegate.wire.gateways.decision import Decision
from tidegate.wire.journal import (
    Damage,
    FailureRecord,
    FeedbackEvent,
    FeedbackRecord,
    JournalEntry,
    Omitted,
    Segment,
    read_entries,
)
from tidegate.wire.rest import DeployRequest, RollbackRequest, TrafficRequest
from tidegate.wire.signature import TensorSpec
from tidegate.wiring import Container


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Container]:
    container = container_at(tmp_path / "data")
    for number in ("1", "2", "3"):
        add_version(container, "churn", number)
    container.endpoints.deploy("churn", DeployRequest("churn", "1", replicas=5), ME)
    yield container
    container.close()


def begin(platform: Container, version: str = "2", share: float = 20.0) -> None:
    platform.shadows.set("churn", ShadowRequest(version, share), ME)


def test_a_shadow_is_in_the_endpoints_view_its_history_and_the_audit(platform: Container) -> None:
    before = platform.endpoints.get("churn")
    begin(platform)
    view = platform.endpoints.get("churn")
    assert view.shadow is not None
    assert (view.shadow.version, view.shadow.share, view.shadow.status) == ("2", 20.0, "starting")
    assert (view.revision, view.target) == (before.revision, {"1": 100.0})
    newest = platform.endpoints.history("churn")[0]
    assert (newest.action, newest.automated, newest.note) == ("shadow", True, "version 2 gets a copy of 20 %")
    with platform.store.reading() as tx:
        audited = tx.scalars(select(AuditRow).order_by(AuditRow.id.desc())).first()
        assert audited is not None
        assert audited.action == "shadow"
        assert {"version": "2", "share": 20.0} in audited.changes["shadow"]


def test_another_share_goes_on_and_another_version_begins_anew(platform: Container) -> None:
    begin(platform)
    since = platform.shadows.get("churn").since
    begin(platform, share=50.0)
    found = platform.shadows.get("churn")
    assert (found.since, found.share) == (since, 50.0)
    begin(platform, "3")
    assert platform.shadows.get("churn").since > since
    assert platform.endpoints.history("churn")[0].note == "version 3 gets a copy of 20 %, and version 2 no more"


def test_nothing_is_known_before_the_first_copy(platform: Container) -> None:
    begin(platform)
    found = platform.shadows.get("churn")
    assert (found.pairs, found.failures, found.shed, found.paired) == (0, 0, 0, None)
    assert {found.agreement, found.difference, found.latency_p50_ms, found.live_p95_ms} == {None}
    assert found.compared_since == found.since


def test_captured_rows_are_not_read_again_at_every_look(platform: Container) -> None:
    reads: list[tuple[str, str]] = []
    now = [0.0]

    class Dear:
        def for_look(self, *_: object) -> Dear:
            return self

        def shadow_rows(self, endpoint: str, version: str, *_: object) -> int:
            reads.append((endpoint, version))
            now[0] += 3.0
            return 0

        def shadow_failures(self, *_: object) -> dict[str, int]:
            return {"internal": 2, "shadow_shed_rows": 40}

        def shadow_pairs(self, *args: object) -> ShadowPairs:
            nothing = np.empty(0)
            return ShadowPairs(nothing, nothing, nothing, nothing, nothing, nothing, {}, {})

    shadows = replace(platform.shadows, captured=Dear(), kept=Kept(lambda: now[0]))
    shadows.set("churn", ShadowRequest("2", 20.0), ME)
    again = shadows.set("churn", ShadowRequest("2", 50.0), ME)
    assert (again.share, again.failures, again.shed, reads) == (50.0, 2, 40, [("churn", "2")])
    assert again.compared_until == shadows.get("churn").compared_until > again.since
    shadows.set("churn", ShadowRequest("3", 50.0), ME)
    now[0] += 60.0
    shadows.get("churn")
    assert reads == [("churn", "2"), ("churn", "3"), ("churn", "3")]


def test_what_is_not_compacted_is_decoded_once_for_a_look(
    platform: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began_s = AT_S
    decoded: list[str] = []

    def counted(segment: Segment) -> Iterator[JournalEntry | Damage]:
        decoded.append(segment.name)
        return read_entries(segment)

    monkeypatch.setattr(open_rows, "read_entries", counted)
    shadows = replace(platform.shadows, captured=StoredRows(tmp_path), clock=lambda: began_s, kept=Kept())
    shadows.set("churn", ShadowRequest("2", 20.0), ME)
    began_s += 5000.0  # so far back that it is looked for in steps
    for name in ("gateway-0", "gateway-1"):
        gateway = Gateway(tmp_path / "journal", name=name)
        gateway.write(batch(f"of {name}", AT_S + 10, version="1"))
        gateway.write(batch(f"of {name}", AT_S + 11, version="2", role="shadow"))
        label = FeedbackEvent(f"of {name}", None, None, None, round((AT_S + 12) * 1e6), "churn", label="0")
        gateway.write(FeedbackRecord([label], round((AT_S + 12) * 1e6)))
        counts = [Omitted(0, 504, "deadline_exceeded", 3)]
        gateway.write(FailureRecord("churn", [Decision("2", "2", "2", role="shadow")], [], counts, AT_S + 1, AT_S + 2))
    decoded.clear()
    found = replace(shadows, kept=Kept()).get("churn")
    assert (found.pairs, found.failures) == (2, 6)
    assert found.paired is not None
    assert found.paired.units == 1
    assert sorted(decoded) == sorted(set(decoded))
    assert len(decoded) == 2


@pytest.mark.parametrize("share", [-1.0, 100.5, float("nan")])
def test_a_share_is_percent(platform: Container, share: float) -> None:
    with pytest.raises(InvalidArgument, match="share must be percent"):
        begin(platform, share=share)


def test_what_cannot_be_one_is_refused(platform: Container) -> None:
    with pytest.raises(Conflict, match="version 1 has traffic"):
        begin(platform, "1")
    with pytest.raises(UnknownVersion):
        begin(platform, "9")
    with pytest.raises(UnknownEndpoint):
        platform.shadows.set("nowhere", ShadowRequest("2", 20.0), ME)
    wide = (TensorSpec("input", "FP64", (-1, 3)),)
    add_version(platform, "churn", "4", signature=SIGNATURE.__class__("matrix", wide, SIGNATURE.outputs))
    with pytest.raises(Conflict, match=r"cannot shadow version 1 .* has shape \[-1, 3\]") as refused:
        begin(platform, "4")
    assert (refused.value.code, refused.value.http_status) == ("signature_differs", 409)
    assert refused.value.details["changes"]


def test_one_that_takes_missing_floats_too_shadows_one_that_takes_none_and_not_the_other_way(
    platform: Container,
) -> None:
    inputs = tuple(replace_struct(one, nullable=True) for one in SIGNATURE.inputs)
    add_version(platform, "churn", "4", signature=replace_struct(SIGNATURE, inputs=inputs))
    begin(platform, "4")
    assert platform.shadows.get("churn").version == "4"
    platform.shadows.end("churn", ME)
    platform.endpoints.deploy("churn", DeployRequest("churn", "4"), ME)
    with pytest.raises(Conflict, match=r"version 2 cannot shadow version 4 .*missing values"):
        begin(platform, "2")


def test_ending_it_says_what_it_came_to_and_a_second_time_that_there_is_none(platform: Container) -> None:
    begin(platform)
    assert platform.shadows.end("churn", ME).status == "ended"
    assert platform.endpoints.get("churn").shadow is None
    with pytest.raises(NoShadow):
        platform.shadows.end("churn", ME)
    with pytest.raises(NoShadow):
        platform.shadows.get("churn")
    begin(platform)
    assert platform.shadows.set("churn", ShadowRequest("2", 0.0), ME).status == "ended"


@pytest.mark.parametrize("how", ["deploy", "traffic", "canary"])
def test_a_version_that_gets_traffic_shadows_no_more(platform: Container, how: str) -> None:
    begin(platform)
    if how == "deploy":
        platform.endpoints.deploy("churn", DeployRequest("churn", "2"), ME)
    elif how == "traffic":
        platform.endpoints.set_traffic("churn", TrafficRequest({"1": 90.0, "2": 10.0}), ME)
    else:
        with platform.store.fenced(platform.leadership.fence).transaction() as tx:
            row = get_endpoint(tx, "churn")
            assert row is not None
            split = Split("salt", (Share("baseline", "1", 50.0), Share("canary", "2", 50.0)))
            weights = AutomatedWeights("canary", "two", word_of(row), split, {"1": 100.0})
            assert automated.begin_or_step(tx, row, weights, action="canary", note="first step", now=5.0)
    assert platform.endpoints.get("churn").shadow is None
    newest = platform.endpoints.history("churn")[0]
    assert newest.action == how
    assert "ends the shadow of version 2, which gets traffic" in newest.note


def test_traffic_of_other_versions_leaves_it(platform: Container) -> None:
    begin(platform)
    platform.endpoints.deploy("churn", DeployRequest("churn", "3"), ME)
    assert platform.shadows.get("churn").version == "2"
    platform.endpoints.rollback("churn", RollbackRequest(), ME)
    assert platform.shadows.get("churn").version == "2"


def test_its_version_cannot_be_deleted_and_is_not_monitored(platform: Container) -> None:
    begin(platform)
    with platform.store.reading() as tx:
        row = get_endpoint(tx, "churn")
        assert row is not None
        assert versions_used(row) - versions_routed(row) == {"2"}
        with pytest.raises(InUse, match="churn"):
            check_unused(tx, "churn", "2")
    assert set(platform.monitoring.see("churn", 1000.0).versions) == {"1"}


def test_the_reconciler_is_told_and_a_version_that_was_given_up_is_started_again(platform: Container) -> None:
    begin(platform)
    with platform.store.transaction() as tx:
        row = get_endpoint(tx, "churn")
        assert row is not None
        tx.add(VariantRow(endpoint="churn", version="2", status="failed", reason="it broke", crashes=[], attempts=5))
        generation = row.generation
        assert endpoint_of(row, {}, platform.placement).shadow is not None
    found = platform.shadows.get("churn")
    assert (found.status, found.reason) == ("failed", "it broke")
    begin(platform)
    with platform.store.reading() as tx:
        row = get_endpoint(tx, "churn")
        assert row is not None
        assert row.retries["2"] == row.generation == generation + 1

"""Automations of weights as experiments and canaries use them: one at a time, promoted or taken back as one change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from support.control import ME, NewDatabase, add_version, container_at
from tidegate.core.endpoints.effective import AutomatedWeights, AutomationKind, Share, Split
from tidegate.errors import AutomationRunning, Conflict, UnknownVersion
from tidegate.services.endpoints import automated
from tidegate.store.endpoints.automation import effective_of, word_of
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.tables import EndpointRow
from tidegate.wire.rest import DeployRequest, RollbackRequest, ScaleRequest, TrafficRequest
from tidegate.wiring import Container


@pytest.fixture
def platform(tmp_path: Path, migrated_database: NewDatabase) -> Iterator[Container]:
    container = container_at(tmp_path / "data", database_url=migrated_database())
    for number in ("1", "2"):
        add_version(container, "churn", number)
    container.endpoints.deploy("churn", DeployRequest("churn", "1", replicas=2), ME)
    yield container
    container.close()


@contextmanager
def _endpoint(platform: Container) -> Iterator[tuple[Session, EndpointRow]]:
    with platform.store.fenced(platform.leadership.fence).transaction() as tx:
        row = get_endpoint(tx, "churn")
        assert row is not None
        yield tx, row


def _weights(row: EndpointRow, percent: float = 10.0, kind: AutomationKind = "canary") -> AutomatedWeights:
    now = effective_of(row).weights
    revision = word_of(row) if now is None else now.revision
    shares = (Share("control", "1", 100.0 - percent), Share("treatment", "2", percent))
    return AutomatedWeights(kind, "blue", revision, Split("salt", shares), {"1": 100.0})


def _begin(platform: Container, percent: float = 10.0) -> None:
    with _endpoint(platform) as (tx, row):
        weights = _weights(row, percent)
        assert automated.begin_or_step(tx, row, weights, action="canary", note=f"to {percent} %", now=5.0)


def test_a_step_is_told_with_who_took_it_and_why(platform: Container) -> None:
    _begin(platform)
    _begin(platform, 25.0)
    view = platform.endpoints.get("churn")
    assert (view.asked, view.target) == ({"1": 100.0}, {"1": 75.0, "2": 25.0})
    newest, before = platform.endpoints.history("churn")[:2]
    assert (newest.action, newest.actor, newest.note, newest.at) == ("canary", "canary blue", "to 25.0 %", 5.0)
    assert before.traffic == {"1": 90.0, "2": 10.0}


def test_one_automation_at_a_time(platform: Container) -> None:
    _begin(platform)
    with pytest.raises(AutomationRunning, match="canary 'blue' sets the traffic"), _endpoint(platform) as (tx, row):
        automated.begin_or_step(tx, row, _weights(row, kind="experiment"), action="experiment", note="", now=6.0)


def test_a_promotion_is_a_revision_that_ends_the_automation_and_can_be_rolled_back(platform: Container) -> None:
    before = platform.endpoints.get("churn")
    _begin(platform)
    platform.endpoints.scale("churn", ScaleRequest(3), ME)
    with _endpoint(platform) as (tx, row):
        automated.promote(tx, row, "2", by="canary blue", note="all steps held", now=7.0)
    view = platform.endpoints.get("churn")
    assert (view.asked, view.target, view.automation) == ({"2": 100.0}, {"2": 100.0}, None)
    assert platform.endpoints.history("churn")[0].replicas == 3
    newest = platform.endpoints.history("churn")[0]
    assert (newest.action, newest.actor, newest.automated) == ("promote", "canary blue", False)
    assert "all steps held" in newest.note
    assert newest.revision == before.revision + 2
    entry = platform.audit.page(1).entries[0]
    assert (entry.who.kind, entry.who.name, entry.action) == ("platform", "canary blue", "promote")
    assert entry.changes["traffic"] == [{"1": 100.0}, {"2": 100.0}]
    back = platform.endpoints.rollback("churn", RollbackRequest(), ME)
    assert back.asked == {"1": 100.0}, "not to a step of the automation"
    again = platform.endpoints.rollback("churn", RollbackRequest(newest.revision), ME)
    assert again.asked == {"2": 100.0}


def test_a_promotion_that_comes_too_late_changes_nothing(platform: Container) -> None:
    _begin(platform)
    request = TrafficRequest({"1": 50.0, "2": 50.0}, end_automation=True)
    platform.endpoints.set_traffic("churn", request, ME)
    with pytest.raises(Conflict, match="no automation sets the traffic"), _endpoint(platform) as (tx, row):
        automated.promote(tx, row, "2", by="canary blue", note="", now=7.0)
    assert platform.endpoints.get("churn").asked == {"1": 50.0, "2": 50.0}
    with _endpoint(platform) as (tx, row):
        assert not automated.restore(tx, row, by="canary blue", note="", now=7.0)
        assert automated.in_effect(row, "canary", "blue") is None


def test_nothing_but_a_version_that_is_there_is_promoted(platform: Container) -> None:
    _begin(platform)
    with pytest.raises(UnknownVersion, match="cannot be promoted"), _endpoint(platform) as (tx, row):
        automated.promote(tx, row, "9", by="canary blue", note="", now=7.0)
    assert platform.endpoints.get("churn").automation is not None


def test_what_was_stable_is_in_effect_after_the_end(platform: Container) -> None:
    _begin(platform)
    with _endpoint(platform) as (tx, row):
        assert automated.in_effect(row, "canary", "blue") is not None
        assert automated.restore(tx, row, by="canary blue", note="errors are past their margin", now=7.0)
    view = platform.endpoints.get("churn")
    assert (view.target, view.automation, view.revision) == ({"1": 100.0}, None, 1)
    newest = platform.endpoints.history("churn")[0]
    assert (newest.action, newest.actor, newest.automated) == ("rollback", "canary blue", True)
    assert newest.note == "errors are past their margin"

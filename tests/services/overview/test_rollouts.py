"""Which canaries and guards the status names: those that a person should look at, until somebody has."""

from __future__ import annotations

from pathlib import Path

from support.console import deploy_of_two, route_all_to
from support.control import ME, container_at
from tidegate.cli.endpoints.show import _platform
from tidegate.cli.output import WIDTH
from tidegate.clock import now
from tidegate.console.attention import attention
from tidegate.services.canaries import changes
from tidegate.services.canaries.holding import hold
from tidegate.services.overview.rollouts import ENDED_WITHIN_S, of_note
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.experiments import canaries
from tidegate.wire import rest
from tidegate.wire.experiments.canary import CanaryRequest
from tidegate.wiring import Container


def test_what_waits_or_went_back_by_itself_is_named_until_somebody_acts(tmp_path: Path) -> None:
    container = container_at(tmp_path / "data")
    try:
        for name in ("held", "worse", "ended"):
            begun(container, name)
        assert container.status.get().rollouts == [], "they go on by themselves"
        with container.store.transaction() as tx:
            held = get_endpoint(tx, "held")
            assert held is not None
            hold(tx, held, "alert drift of age", now())
        taken_back(container, "worse", "errors are 3 % more")
        container.canaries.abort("ended", ME)

        found = container.status.get().rollouts
        told = {(one.endpoint, one.kind, one.version, one.state, one.reason) for one in found}
        assert told == {
            ("held", "canary", "2", "paused", "held: alert drift of age"),
            ("worse", "canary", "2", "aborted", "errors are 3 % more"),
        }, "what a person ended, somebody knows of"
        items = [(one.word, one.about, one.to) for one in attention(container.status.get(), [], [])]
        assert ("paused", "held", "/endpoints/held/canary") in items
        assert ("rolled back", "worse", "/endpoints/worse/canary") in items
        said = _platform(container.status.get())
        assert "held: canary of version 2 paused: held: alert drift of age\n" in said, "when, nobody kept"
        assert "worse: canary of version 2 aborted at" in said
        assert [line for line in said.splitlines() if "canary" in line and len(line) > WIDTH] == []

        container.endpoints.deploy("worse", rest.DeployRequest("worse", "2", guard=False), ME)
        container.canaries.resume("held", ME)
        assert container.status.get().rollouts == []
    finally:
        container.close()


def test_what_went_back_is_over_once_somebody_tries_again(tmp_path: Path) -> None:
    container = container_at(tmp_path / "data")
    try:
        begun(container, "worse")
        taken_back(container, "worse", "errors are 3 % more")
        assert [one.state for one in container.status.get().rollouts] == ["aborted"]
        container.canaries.retry("worse", ME)
        assert container.status.get().rollouts == []
    finally:
        container.close()


def test_what_went_back_a_day_ago_is_old(tmp_path: Path) -> None:
    container = container_at(tmp_path / "data")
    try:
        begun(container, "worse")
        taken_back(container, "worse", "errors are 3 % more")
        with container.store.reading() as tx:
            assert [one.state for one in of_note(tx, now())] == ["aborted"]
            assert of_note(tx, now() + ENDED_WITHIN_S + 60) == []
    finally:
        container.close()


def begun(container: Container, name: str) -> None:
    deploy_of_two(container, name, guard=False)
    route_all_to(container, name, "1")
    container.canaries.begin(name, CanaryRequest(version="2", steps=[10, 100]), ME)


def taken_back(container: Container, name: str, why: str) -> None:
    with container.store.transaction() as tx:
        row = get_endpoint(tx, name)
        assert row is not None
        (canary,) = canaries.active_of(tx, row.uid)
        changes.restore(tx, canary, row, changes.Ending("aborted", "canary 2-1", why), now())

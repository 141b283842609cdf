"""Terms of leading, step by step: what is the leader's alone begins once it has taken over, and ends with the term."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update

from support.control import container_at
from tidegate.control.leading import IDLE_S, Leading
from tidegate.errors import NotLeader
from tidegate.services.leadership import Term
from tidegate.store.tables import LeaseRow
from tidegate.wiring import Container


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    made = container_at(tmp_path / "data")
    yield made
    made.close()


class Passes:
    """In the place of reconcilers: each writes through the fence, as they do."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self.of_terms: list[int] = []

    def __call__(self, term: Term) -> Any:
        return SimpleNamespace(step=lambda: self._step(term))

    def _step(self, term: Term) -> float:
        with self._container.fenced.transaction():
            self.of_terms.append(term.token)
        return 1.0


def test_terms_begin_with_taking_over_and_end_with_the_lease(container: Container) -> None:
    passes = Passes(container)
    leading = Leading(container, passes, threading.Event())
    assert not container.leadership.leads(), "before it has taken over"
    assert leading.step() == leading.step() == 1.0
    assert container.leadership.leads()
    with container.store.transaction() as tx:
        tx.execute(update(LeaseRow).values(token=LeaseRow.token + 1, holder="another"))
    with pytest.raises(NotLeader):
        leading.step()
    assert not container.leadership.leads()
    assert leading.step() == IDLE_S
    with container.store.transaction() as tx:
        tx.execute(update(LeaseRow).values(holder=""))
    container.spec_changed.clear()
    leading.elect()
    assert container.spec_changed.is_set(), "the reconcile loop is woken for its term"
    assert not container.leadership.leads()
    leading.step()
    assert container.leadership.leads()
    assert passes.of_terms == [1, 1, 3]


def test_a_platform_that_stops_begins_nothing_more(container: Container) -> None:
    leading = Leading(container, Passes(container), threading.Event())
    leading.step()
    leading.step_down()
    assert not container.leadership.leads()
    assert container.leadership.term is not None, "the lease is kept until nothing is written any more"


def test_a_term_that_begins_while_another_is_taken_over_is_taken_over_itself(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = Passes(container)
    leading = Leading(container, passes, threading.Event())

    def sweep() -> None:
        """The lease is lost and won again in the midst of it."""
        monkeypatch.undo()
        for holder in ("another", ""):
            with container.store.transaction() as tx:
                tx.execute(update(LeaseRow).values(token=LeaseRow.token + 1, holder=holder))
            leading.elect()

    monkeypatch.setattr(container.artifacts, "sweep", sweep)
    leading.step()
    assert container.leadership.term is not None
    assert not container.leadership.leads(), "what the new term found is yet to be taken over"
    leading.step()
    assert container.leadership.leads()

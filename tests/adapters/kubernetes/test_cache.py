"""Objects that a watch keeps up to date: through cuts, forgotten versions, silence, and a server that is away."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from support.kubernetes.cluster import FakeCluster
from support.kubernetes.kinds import SECRETS
from support.wait import until
from tidegate.adapters.kubernetes.api import KubernetesApi
from tidegate.adapters.kubernetes.cache import FAILING_S_MAX, SILENT_S_MAX, Informer
from tidegate.adapters.kubernetes.kinds import SECRET
from tidegate.clock import monotonic
from tidegate.errors import EngineDenied, EngineUnavailable


class Clocked:
    """An informer whose clock can be put on."""

    def __init__(self, api: KubernetesApi) -> None:
        self.ahead_s = 0.0
        self.informer = Informer(api, SECRET, "app=churn", clock=lambda: monotonic() + self.ahead_s, watch_s=1.0)

    def names(self) -> list[str]:
        return sorted(one["metadata"]["name"] for one in self.informer.items())

    def shown(self) -> list[str] | None:
        """None: unknown."""
        try:
            return self.names()
        except EngineUnavailable:
            return None


@pytest.fixture
def clocked(api: KubernetesApi) -> Iterator[Clocked]:
    made = Clocked(api)
    yield made
    made.informer.stop()


def secret(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels or {"app": "churn"}}}


def test_objects_come_and_go_without_a_call(cluster: FakeCluster, api: KubernetesApi, clocked: Clocked) -> None:
    api.apply(secret("one"))
    api.apply(secret("other", app="else"))
    assert clocked.names() == ["one"]
    api.apply(secret("two"))
    until(lambda: clocked.names() == ["one", "two"], 10, "the second")
    clocked.informer.changed.clear()
    api.delete(SECRET, "one")
    assert clocked.informer.changed.wait(10)
    assert clocked.names() == ["two"]
    lists = [path for verb, path in cluster.network.asked if verb == "GET" and "limit=" in path]
    assert len(lists) == 1


def test_cuts_and_throttling_lose_nothing(cluster: FakeCluster, api: KubernetesApi, clocked: Clocked) -> None:
    assert clocked.names() == []
    for number in range(12):
        if number % 4 == 0:
            cluster.network.half_lines = 1
        elif number % 4 == 1:
            cluster.server.cut_connections()
        elif number % 4 == 2:
            cluster.network.throttled = 1
        else:
            cluster.store.forget()
        until(lambda name=f"one-{number:02}": made(api, name), 20, "a secret")  # type: ignore[misc]
    wanted = [f"one-{number:02}" for number in range(12)]
    until(lambda: clocked.shown() == wanted, 20, "all of them")


def made(api: KubernetesApi, name: str) -> bool:
    try:
        api.apply(secret(name))
    except EngineUnavailable:
        return False
    return True


def test_what_is_forgotten_is_listed_anew(cluster: FakeCluster, api: KubernetesApi, clocked: Clocked) -> None:
    api.apply(secret("one"))
    assert clocked.names() == ["one"]
    with cluster.store.changed:  # what happens is not in the log any more when the watch looks
        cluster.store.remove("secrets", "default", "one")
        cluster.store.create(SECRETS, "default", secret("two"))
        cluster.store.forget()
    until(lambda: clocked.names() == ["two"], 10, "the new list")


def test_a_cluster_that_is_away_is_unknown_after_a_moment_and_never_empty(
    cluster: FakeCluster, api: KubernetesApi, clocked: Clocked
) -> None:
    api.apply(secret("one"))
    assert clocked.names() == ["one"]
    with cluster.away():
        until(lambda: clocked.informer._failing_since is not None, 10, "a failure")
        assert clocked.names() == ["one"]  # for a moment, as when a server restarts
        clocked.ahead_s += FAILING_S_MAX + 1
        with pytest.raises(EngineUnavailable, match="does not answer"):
            clocked.names()
    until(lambda: clocked.shown() == ["one"], 20, "the cluster's return")


def test_a_cluster_that_was_never_there_says_why(cluster: FakeCluster, clocked: Clocked) -> None:
    with cluster.away(), pytest.raises(EngineUnavailable, match="does not answer"):
        clocked.names()
    until(lambda: clocked.shown() == [], 20, "the first list")


def test_missing_rights_are_said_and_found_again(cluster: FakeCluster, clocked: Clocked) -> None:
    cluster.policies.rules = []
    with pytest.raises(EngineDenied, match="may not list secrets"):
        clocked.names()
    cluster.policies.rules = None
    until(lambda: clocked.shown() == [], 20, "the right")


def test_a_watch_over_which_nothing_comes_is_not_trusted_for_long(cluster: FakeCluster, clocked: Clocked) -> None:
    assert clocked.names() == []
    cluster.network.silent = True

    def unknown() -> bool:
        clocked.ahead_s += SILENT_S_MAX + 1
        return clocked.shown() is None

    until(unknown, 20, "doubt")
    with pytest.raises(EngineUnavailable, match="nothing was heard of secrets"):
        clocked.names()
    cluster.network.silent = False
    until(lambda: clocked.shown() == [], 20, "a heartbeat")


def test_watches_that_end_at_once_are_opened_ever_later(cluster: FakeCluster, api: KubernetesApi) -> None:
    cluster.network.answers = lambda call: (200, b"") if call.query.get("watch") else None
    waits: list[float] = []
    enough = Event()

    class Stopped:
        """Notes how long is waited, and waits for nothing."""

        is_set = enough.is_set

        def wait(self, timeout_s: float) -> None:
            waits.append(timeout_s)
            if len(waits) == 8:
                enough.set()

    informer = Informer(api, SECRET, clock=lambda: 0.0)
    informer._stopped = Stopped()  # type: ignore[assignment]
    assert informer.items() == []
    assert enough.wait(20)
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert len([path for _, path in cluster.network.asked if "limit=" in path]) == 1

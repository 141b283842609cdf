"""What belongs to a Deployment, where others hold it."""

from __future__ import annotations

import base64
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support.kubernetes.cluster import FakeCluster
from support.wait import until
from tidegate.adapters.kubernetes.api import KubernetesApi, connect
from tidegate.adapters.kubernetes.belongings import FAULTY_AGAIN_S, SECRET_AGAIN_S, Belongings
from tidegate.adapters.kubernetes.kinds import DEPLOYMENT, POD_DISRUPTION_BUDGET, SECRET, SERVICE
from tidegate.adapters.kubernetes.rights import RIGHTS
from tidegate.adapters.kubernetes.transport import ApiRequest
from tidegate.core.engines.placement import Placement
from tidegate.core.images.delivery import Delivery
from tidegate.core.manifests.pods import KEY_IN_SECRET
from tidegate.core.manifests.replica_pods import Contents, Workload, deployment, of_platform
from tidegate.core.workloads import WorkloadKey, WorkloadSpec
from tidegate.errors import EngineDenied

PLATFORM = "0a1b2c3d"


def made_in(cluster: FakeCluster, count: int) -> tuple[Workload, KubernetesApi, str]:
    """A Deployment that asks for nothing yet, of a workload of `count` replicas; its uid."""
    spec = WorkloadSpec(WorkloadKey("churn", "1", Placement("kubernetes")), "churn", Path("unread"), count, 1)
    work, api = Workload(PLATFORM, spec), connect(cluster.kubeconfig(), None, {})
    api.apply(deployment(work, Contents(Delivery("it:1"), "ab" * 32, 1.0)))
    found = api.get(DEPLOYMENT, work.name)
    assert found is not None
    return work, api, str(found["metadata"]["uid"])


def patched(api: KubernetesApi, path: str, body: dict[str, Any]) -> None:
    """As somebody does who edits an object with kubectl."""
    api._transport.call(
        ApiRequest("PATCH", path, {"fieldManager": "kubectl-edit"}, body, "application/merge-patch+json")
    )


def test_a_secret_that_somebody_changed_is_told_of_and_made_again_once_it_is_deleted(cluster: FakeCluster) -> None:
    (work, api, uid), now = made_in(cluster, 1), [0.0]
    belongings = Belongings(api, lambda _: "a key", of_platform(PLATFORM), lambda: now[0])

    def key() -> str | None:
        found = api.get(SECRET, work.name)
        return None if found is None else base64.b64decode(found["data"][KEY_IN_SECRET]).decode()

    def made_later() -> str:
        now[0] += SECRET_AGAIN_S
        belongings.make(work, uid, again=False)
        return belongings.fault(work.name)

    try:
        belongings.make(work, uid, again=False)
        until(partial(belongings._is_shown, SERVICE, work.name), what="the Service")
        assert (key(), made_later()) == ("a key", "")
        theirs = {"data": {KEY_IN_SECRET: base64.b64encode(b"theirs").decode()}}
        patched(api, SECRET.path("default", work.name), theirs)
        belongings.make(work, uid, again=False)
        assert belongings.fault(work.name) == "", "not looked at yet"
        said = made_later()
        assert f"'kubectl-edit' holds data.{KEY_IN_SECRET}" in said
        assert "pods that started since then refuse the gateways" in said
        assert key() == "theirs", "it is not fought over"
        api.delete(SECRET, work.name, uid=str((api.get(SECRET, work.name) or {})["metadata"]["uid"]))
        assert (made_later(), key()) == ("", "a key")
    finally:
        belongings.close()


def test_a_right_to_secrets_that_is_taken_away_holds_nothing_up_that_has_its_secret(cluster: FakeCluster) -> None:
    (work, api, uid), now = made_in(cluster, 1), [0.0]
    belongings = Belongings(api, lambda _: "a key", of_platform(PLATFORM), lambda: now[0])
    others = [right.resource for right in RIGHTS if right.resource != SECRET.plural]
    rules = [{"apiGroups": ["*"], "resources": others, "verbs": ["*"]}]
    try:
        belongings.make(work, uid, again=False)
        cluster.policies.rules, now[0] = rules, SECRET_AGAIN_S
        belongings.make(work, uid, again=False)
        assert "secrets" in belongings.fault(work.name)
        with pytest.raises(EngineDenied):
            belongings.make(work, uid, again=True)
        cluster.policies.rules, now[0] = None, 2 * SECRET_AGAIN_S
        belongings.make(work, uid, again=False)
        assert belongings.fault(work.name) == ""
    finally:
        belongings.close()


def test_what_somebody_held_is_told_of_until_it_is_let_go(cluster: FakeCluster) -> None:
    (work, api, uid), now = made_in(cluster, 2), [0.0]
    belongings = Belongings(api, lambda _: "a key", of_platform(PLATFORM), lambda: now[0])

    def others_set(max_unavailable: int) -> None:
        path = POD_DISRUPTION_BUDGET.path("default", work.name)
        patched(api, path, {"spec": {"maxUnavailable": max_unavailable}})

    try:
        belongings.make(work, uid, again=False)
        for kind in (SERVICE, POD_DISRUPTION_BUDGET):
            until(partial(belongings._is_shown, kind, work.name), what=kind.name)
        others_set(2)
        belongings.make(work, uid, again=True)
        assert "'kubectl-edit' holds spec.maxUnavailable" in belongings.fault(work.name)
        others_set(1)
        belongings.make(work, uid, again=False)
        assert belongings.fault(work.name)
        now[0] += FAULTY_AGAIN_S
        belongings.make(work, uid, again=False)
        assert belongings.fault(work.name) == ""
    finally:
        belongings.close()

"""What belongs to a Deployment, where others hold it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from support.kubernetes.cluster import FakeCluster
from support.wait import until
from tidegate.adapters.kubernetes.api import connect
from tidegate.adapters.kubernetes.belongings import FAULTY_AGAIN_S, Belongings
from tidegate.adapters.kubernetes.kinds import DEPLOYMENT, POD_DISRUPTION_BUDGET, SERVICE
from tidegate.adapters.kubernetes.transport import Request
from tidegate.core.engines.placement import Placement
from tidegate.core.images.delivery import Delivery
from tidegate.core.manifests.replica_pods import Contents, Workload, deployment, of_platform
from tidegate.core.workloads import WorkloadKey, WorkloadSpec

PLATFORM = "0a1b2c3d"


def test_what_somebody_held_is_told_of_until_it_is_let_go(cluster: FakeCluster) -> None:
    spec = WorkloadSpec(WorkloadKey("churn", "1", Placement("kubernetes")), "churn", Path("unread"), 2, 1)
    work, api, now = Workload(PLATFORM, spec), connect(cluster.kubeconfig(), None, {}), [0.0]
    api.apply(deployment(work, Contents(Delivery("it:1"), "ab" * 32, 1.0)))
    found = api.get(DEPLOYMENT, work.name)
    assert found is not None
    uid = found["metadata"]["uid"]
    belongings = Belongings(api, lambda _: "a key", of_platform(PLATFORM), lambda: now[0])

    def others_set(max_unavailable: int) -> None:
        path = POD_DISRUPTION_BUDGET.path("default", work.name)
        body = {"spec": {"maxUnavailable": max_unavailable}}
        query = {"fieldManager": "kubectl-edit"}
        api._transport.call(Request("PATCH", path, query, body, "application/merge-patch+json"))

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

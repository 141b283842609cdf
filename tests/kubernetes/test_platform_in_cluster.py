"""The whole platform in a real cluster: from deployment to deletion, and switches that clients do not notice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from support.cluster import Cluster, own_namespace
from support.in_cluster import InCluster, platform_in
from support.models import Models
from support.wait import until

REQUESTS_MIN, SWITCHES = 10_000, 5
LONG_S = 240.0
SMALL = ("--cpu-request", "0.1", "--memory-request", "256m")

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Iterator[InCluster]:
    """With two versions of a model."""
    with own_namespace() as cluster, platform_in(cluster, tmp_path_factory.mktemp("in-cluster")) as found:
        for name in ("logistic", "forest"):
            found.tidegate("register", models.path(f"{name}.joblib"), "--name", "churn", "--allow-pickle")
        yield found


def predict(platform: InCluster, row: list[float], **body: Any) -> tuple[int, str]:
    """Status and version of an answer."""
    answer = httpx.post(
        f"{platform.gateway_url}/predict/churn",
        json={"features": row, **body},
        headers={"Authorization": f"Bearer {platform.env['TIDEGATE_API_KEY']}"},
        timeout=60,
    )
    return answer.status_code, answer.headers.get("x-tidegate-version", "")


def served(platform: InCluster, traffic: dict[str, float]) -> None:
    """Wait until these versions have this traffic, and the replicas for it."""

    def is_so() -> bool:
        variants = platform.variants("churn")
        weights = {version: one["weight"] for version, one in variants.items() if one["weight"]}
        return weights == traffic and all(variants[version]["replicas"]["ready"] for version in traffic)

    until(is_so, timeout_s=LONG_S, what=f"traffic {traffic}")


def replicas(cluster: Cluster) -> list[dict[str, Any]]:
    return cluster.objects("pods", "app.kubernetes.io/component=replica")


def test_deploy_predict_split_roll_back_scale_and_delete(platform: InCluster, models: Models) -> None:
    row = models.rows[0].tolist()
    platform.tidegate("deploy", "churn:1", *SMALL)
    served(platform, {"1": 100})
    assert predict(platform, row) == (200, "1")

    platform.tidegate("traffic", "churn", "1=50", "2=50")
    served(platform, {"1": 50, "2": 50})
    assert {predict(platform, row)[1] for _ in range(60)} == {"1", "2"}
    assert predict(platform, row, model_version="2") == (200, "2")

    platform.tidegate("rollback", "churn")
    served(platform, {"1": 100})
    assert {predict(platform, row) for _ in range(10)} == {(200, "1")}

    platform.tidegate("scale", "churn", "--replicas", "2")
    until(
        lambda: platform.variants("churn")["1"]["replicas"] == {"desired": 2, "ready": 2},
        timeout_s=LONG_S,
        what="two replicas",
    )
    assert platform.tidegate("logs", "churn").out
    for pod in replicas(platform.cluster):
        assert pod["metadata"]["labels"]["tidegate.io/endpoint"] == "churn"

    platform.tidegate("delete", "churn", "--yes")
    until(
        lambda: not platform.cluster.objects("deployments,services,secrets,pods", "tidegate.io/endpoint=churn"),
        timeout_s=LONG_S,
        what="the end of all that belonged to the endpoint",
    )


def test_no_request_fails_while_traffic_is_switched(platform: InCluster, models: Models) -> None:
    row = models.rows[0].tolist()
    platform.tidegate("deploy", "churn:1", *SMALL)
    served(platform, {"1": 100})
    platform.start_load(row, REQUESTS_MIN)
    for number in range(SWITCHES):
        if number == SWITCHES // 2:  # a control plane that ends stops nothing, and another takes over
            platform.cluster.kubectl("delete", "pod", "tidegate-control-0", "--grace-period=0", "--force")
            platform.cluster.kubectl("rollout", "status", "statefulset/tidegate-control", "--timeout=240s")
        version = "2" if number % 2 == 0 else "1"
        platform.tidegate("promote", "churn", version, "--accept-signature-change")
        served(platform, {version: 100})
    counts = platform.end_load()
    assert counts["count"] >= REQUESTS_MIN
    assert counts["codes"] == {"200": counts["count"]}, counts["failures"]
    assert set(counts["versions"]) == {"1", "2"}

"""The main job on Kubernetes, typed as a user would, on a cluster whose pods are real replica processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.engine_walk import Walk
from support.images import plain_model
from support.kubernetes.cluster import FakeCluster, running_cluster
from support.kubernetes.containers import Image
from support.platform import Platform
from support.workload_subjects.kubernetes import KINDS

RUNTIME = "registry.example.com/tidegate:tests"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FakeCluster]:
    """It enforces the restricted Pod Security Standard, and has the platform's image alone."""
    with running_cluster(tmp_path / "cluster") as running:
        running.policies.namespaces["default"] = {"pod-security.kubernetes.io/enforce": "restricted"}
        running.images[RUNTIME] = Image(("tidegate",))
        yield running


@pytest.fixture
def platform(tmp_path: Path, cluster: FakeCluster) -> Iterator[Platform]:
    made = Platform(tmp_path / "data", options=("--backend", "kubernetes"))
    made.env |= {
        "KUBECONFIG_PATH": str(cluster.kubeconfig()),
        "TIDEGATE_RUNTIME_IMAGE": RUNTIME,
        "TIDEGATE_CONTROL_URL_INSIDE": made.url,
    }
    try:
        yield made.start()
    finally:
        made.stop()


def _version(folder: Path, of_columns: str) -> Path:
    model = plain_model(folder) / "model.py"
    model.write_text(model.read_text().replace(".sum(", f".{of_columns}("))
    return folder


def _left(cluster: FakeCluster) -> list[str]:
    return [f"{kind} {one['metadata']['name']}" for kind in KINDS for one in cluster.objects(kind)]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_model_is_deployed_split_switched_scaled_and_deleted_on_kubernetes(
    platform: Platform, cluster: FakeCluster, tmp_path: Path
) -> None:
    folders = [str(_version(tmp_path / name, name)) for name in ("sum", "mean")]
    walk = Walk(platform, "kubernetes", "churn", folders, [1.0, 2.0], lambda: _left(cluster))
    walk.all()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_cannot_be_deployed_is_refused_with_what_to_do(
    platform: Platform, cluster: FakeCluster, tmp_path: Path
) -> None:
    platform.done("register", str(_version(tmp_path / "sum", "sum")), "--name", "churn", "--allow-pickle")
    long = platform.failed("deploy", "churn:1", "--endpoint", "e" * 60)["error"]
    assert "63 are allowed. Give it a name of up to" in long
    cluster.images.clear()
    missing = platform.failed("deploy", "churn:1")["error"]
    assert f"cannot pull the image {RUNTIME}" in missing
    assert "TIDEGATE_IMAGE_REGISTRY" in missing

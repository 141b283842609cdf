"""Clusters for these tests: one without a node that a file's tests share, and how it is spoken to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.kubernetes.cluster import FakeCluster, running_cluster
from tidegate.adapters.kubernetes.api import KubernetesApi, connect


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCluster]:
    """Without a node: pods stay pending."""
    with running_cluster(tmp_path_factory.mktemp("cluster"), kubelet=False) as running:
        yield running


@pytest.fixture
def api(cluster: FakeCluster) -> KubernetesApi:
    return connect(cluster.kubeconfig(), None, {})

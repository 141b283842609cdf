"""What the client relies on, on a real API server: the same cases as on the fake one."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from support.cluster import Cluster
from support.kubernetes.client_cases import CASES, own_name
from tidegate.adapters.kubernetes.api import KubernetesApi, connect


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_what_the_client_relies_on(cluster: Cluster, case: Callable[[KubernetesApi, str], None]) -> None:
    case(connect(None, cluster.namespace, os.environ), own_name())

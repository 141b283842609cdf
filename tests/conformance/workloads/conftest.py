"""The engines that place replicas themselves, which must all behave alike."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.wait import until
from support.workload_subjects import WorkloadSubject
from support.workload_subjects.kubernetes import KubernetesSubject, kubernetes_subject
from tidegate.core.workloads import Workloads
from tidegate.errors import EngineUnavailable

SUBJECTS: tuple[str, ...] = ("kubernetes",)
"""Names of fixtures of this file, one for each engine."""


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest) -> WorkloadSubject:
    """Each implementation in turn."""
    found: WorkloadSubject = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def workloads(subject: WorkloadSubject) -> Iterator[Workloads]:
    """With nothing on it, before and after."""
    made = subject.workloads()
    yield made
    for state in made.observe():
        made.delete(state.key, 1_000_000)
    until(lambda: _is_empty(subject, made), what="the end of all")


def _is_empty(subject: WorkloadSubject, made: Workloads) -> bool:
    try:
        return not made.observe() and not subject.left()
    except EngineUnavailable:
        return False


@pytest.fixture(scope="module")
def one_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesSubject]:
    with kubernetes_subject(tmp_path_factory.mktemp("kubernetes")) as found:
        yield found


@pytest.fixture
def kubernetes(one_cluster: KubernetesSubject) -> Iterator[KubernetesSubject]:
    yield one_cluster
    one_cluster.close()

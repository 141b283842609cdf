"""The engines that place replicas themselves, which must all behave alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import ASKED, Passage, own_namespace
from support.versions_in_cluster import put_versions
from support.wait import until
from support.workload_subjects import WorkloadSubject
from support.workload_subjects.cloudrun import cloudrun_subject
from support.workload_subjects.cluster import ClusterSubject
from support.workload_subjects.ecs import EcsSubject, ecs_subject
from support.workload_subjects.kubernetes import KubernetesSubject, kubernetes_subject
from tidegate.core.workloads import Workloads
from tidegate.errors import EngineUnavailable

LEFT_S = 60.0
SUBJECTS: tuple[str, ...] = ("kubernetes", "ecs", "cloudrun", *(["cluster"] if os.environ.get(ASKED) else []))
"""Names of fixtures of this file, one for each engine; `cluster` is a real one, which `make test-kubernetes` asks."""


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest) -> WorkloadSubject:
    """Each implementation in turn."""
    found: WorkloadSubject = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def cloudrun(tmp_path: Path) -> Iterator[WorkloadSubject]:
    """Google Cloud Run, by a fake of its API."""
    with cloudrun_subject(tmp_path) as made:
        yield made


@pytest.fixture
def workloads(subject: WorkloadSubject) -> Iterator[Workloads]:
    """With nothing on it, before and after."""
    made = subject.workloads()
    yield made
    until(lambda: _is_empty(subject, made), timeout_s=LEFT_S, what="the end of all")


def _is_empty(subject: WorkloadSubject, made: Workloads) -> bool:
    """What is there is deleted; an engine that was away may not answer at once."""
    try:
        for state in made.observe():
            made.delete(state.key, 1_000_000)
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


@pytest.fixture(scope="session")
def real_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterSubject]:
    folder = tmp_path_factory.mktemp("cluster")
    with own_namespace() as found:
        passage = Passage(folder)
        yield ClusterSubject(found, put_versions(found, folder), passage)
        passage.close()


@pytest.fixture
def cluster(real_cluster: ClusterSubject) -> Iterator[ClusterSubject]:
    yield real_cluster
    real_cluster.close()


@pytest.fixture(scope="module")
def ecs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EcsSubject]:
    with ecs_subject(tmp_path_factory.mktemp("ecs")) as found:
        yield found

"""Keys of replicas in Secret Manager: how often they are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.workload_subjects.cloudrun import CloudRunSubject
from tidegate.errors import EngineUnavailable


def test_a_revision_that_is_refused_again_and_again_keeps_its_key_once(
    subject: CloudRunSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_CLOUDRUN_SECRETS", "true")
    workloads, spec, fake = subject.workloads(), subject.good(), subject.server.fake
    fake.denied = {"run.services.create"}
    for _ in range(3):
        with pytest.raises(EngineUnavailable, match=r"'run.services.create' denied"):
            workloads.apply(spec)
    assert [len(versions) for versions in fake.secrets.values()] == [1]
    fake.denied = set()
    workloads.apply(spec)
    workloads.apply(replace(spec, count=2))
    assert [len(versions) for versions in fake.secrets.values()] == [2]
    workloads.delete(spec.key, 1)

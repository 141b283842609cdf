"""A real API server takes the platform's objects, and its own admission finds nothing in the pods to warn of."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.cluster import Cluster

FOLDER = Path(__file__).resolve().parent.parent.parent / "deploy" / "kubernetes"

OBJECTS = 10

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("folder", [".", "overlays/postgres", "overlays/s3"])
def test_the_api_server_takes_every_object_without_a_warning(cluster: Cluster, folder: str) -> None:
    said = cluster.kubectl(
        "apply", "--kustomize", str(FOLDER / folder), "--dry-run=server", "--validate=strict", "--warnings-as-errors"
    )
    assert said.count("created (server dry run)") == said.count("\n") == OBJECTS

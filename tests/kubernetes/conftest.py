"""Fixtures of the tests on a real cluster: `make test-kubernetes`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.cluster import Cluster, own_namespace


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A namespace that enforces the restricted Pod Security Standard, removed at the end."""
    with own_namespace() as found:
        yield found

"""A fake AWS for the tests of one module, and workloads whose containers answer health checks and start at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.ecs.replicas import Image
from support.ecs.server import FakeAws
from support.images import plain_model
from support.replicas import packaged
from tidegate.adapters.ecs.client import AwsClient
from tidegate.adapters.ecs.workloads import EcsWorkloads
from tidegate.core.engines.placement import Placement
from tidegate.core.images.delivery import Delivery
from tidegate.core.workloads import WorkloadKey, WorkloadSpec
from tidegate.settings import Settings
from tidegate.wire.replicas.replica_key import replica_key

PLATFORM, NODE_KEY = "0a1b2c3d", "node-key"
SAYS_READY = """\
import http.server, signal, sys
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
    def log_message(self, *args): pass
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.HTTPServer((sys.argv[1], 8000), Ready).serve_forever()
"""
CRASHES = "import sys; print('one line'); print('the last line'); sys.exit(3)"


@pytest.fixture(scope="module")
def whole_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeAws]:
    fake = FakeAws(tmp_path_factory.mktemp("aws"))
    python = (sys.executable, "-S", "-c")
    fake.cluster.images |= {"ready": Image(program=(*python, SAYS_READY)), "crashes": Image(program=(*python, CRASHES))}
    fake.cluster.images["arm"] = Image(program=("true",), architecture="ARM64")
    yield fake
    fake.close()


@pytest.fixture
def aws(whole_aws: FakeAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAws]:
    """As a process finds it whose environment names it; nothing is left of the test's services."""
    for name, value in whole_aws.env.items():
        monkeypatch.setenv(name, value)
    yield whole_aws
    with whole_aws.cluster.lock:
        for service in whole_aws.cluster.services.values():
            service.status = "DRAINING" if service.status == "ACTIVE" else service.status


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    return packaged(plain_model(folder / "plain"), folder)[0]


@pytest.fixture
def engine(aws: FakeAws) -> Callable[..., EcsWorkloads]:
    """Makes the engine as each start of a control plane does; keywords are settings, `image` what is delivered."""

    def make(image: str = "ready", platform: str = PLATFORM, **settings: Any) -> EcsWorkloads:
        told = Settings.from_env(**settings)
        client = AwsClient(told.aws_region, attempts_max=1)
        return EcsWorkloads(
            told,
            platform,
            lambda _spec: Delivery(image),
            lambda name: replica_key(NODE_KEY, name),
            env={},
            client=client,
        )

    return make


@pytest.fixture
def spec(manifest: Path, request: pytest.FixtureRequest) -> WorkloadSpec:
    """One replica, of an endpoint of the test's own."""
    endpoint = request.node.name.replace("_", "-")[:60].rstrip("-")
    return WorkloadSpec(WorkloadKey(endpoint, "1", Placement("ecs", 0.5, 1 << 30)), "churn", manifest, 1, 7)

"""The control plane's parts in the test's own process: a container on a real store and registry, and its API served."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import msgspec
import uvicorn
from sqlalchemy import update

from support.wait import free_ports, until
from tidegate.api.app import create_app
from tidegate.control.bounded_http import Waiting
from tidegate.core.access import EVERYTHING, Principal
from tidegate.core.workloads import Workloads
from tidegate.services.leadership import Leadership
from tidegate.services.models.intake import Intake, NewVersion
from tidegate.settings import Settings
from tidegate.store.database.engine import open_store, store_url
from tidegate.store.leases import Candidate
from tidegate.store.tables import LeaseRow
from tidegate.wire.replicas.manifest import Manifest
from tidegate.wire.signature import Signature, TensorSpec
from tidegate.wiring import Container, build

NewDatabase = Callable[[], str | None]
"""What the fixture `new_database` gives."""

WITHOUT_BODY = (
    "/api/v1/login-codes",
    "/api/v1/jobs/{job_id}/cancel",
    "/api/v1/endpoints/{name}/monitor/run",
    "/api/v1/notifiers/{name}/test",
    "/api/v1/deliveries/{number}/resend",
    *(f"/api/v1/endpoints/{{name}}/canary/{verb}" for verb in ("pause", "resume", "promote", "abort", "retry")),
    *(
        f"/api/v1/endpoints/{{name}}/experiments/{{experiment}}/{verb}"
        for verb in ("start", "pause", "resume", "stop", "approve")
    ),
)
"""Routes of changes that say everything by their path."""
ME = Principal("token", "me", EVERYTHING, "a-request")
"""Who asks, in tests."""

SIGNATURE = Signature("matrix", (TensorSpec("input", "FP64", (-1, 2)),), (TensorSpec("prediction", "INT64", (-1,)),))


def container_at(data_dir: Path, workloads: Mapping[str, Workloads] | None = None, **overrides: object) -> Container:
    """A container that leads, but is not started. `workloads` stand for the engines that place replicas themselves."""
    data_dir.mkdir(exist_ok=True)
    database = data_dir / "tidegate.db"
    if overrides.get("database_url") is None and not database.exists():
        database.write_bytes(_new_database())
    container = build(Settings.from_env({}, data_dir=data_dir, **overrides), workloads=workloads)
    container.leadership.step()
    return container


@cache
def _new_database() -> bytes:
    """A SQLite database as the migrations leave it, which run once a process here: their own tests run them often."""
    with TemporaryDirectory() as folder:
        store = open_store(store_url(Path(folder), None))
        store.migrate()
        store.close()
        return (Path(folder) / "tidegate.db").read_bytes()


def lead_elsewhere(container: Container, url: str) -> Leadership:
    """Another control plane at `url` leads from now on; its leadership."""
    with container.store.transaction() as tx:
        tx.execute(update(LeaseRow).values(expires_at=0.0))
    other = Leadership(container.store, Candidate("other", "other-host:/data", url))
    assert other.step() is not None
    assert container.leadership.step() is None
    return other


def digest_for(text: str) -> str:
    """Some digest."""
    return hashlib.sha256(text.encode()).hexdigest()


def add_version(
    container: Container,
    model: str,
    number: str,
    label: str | None = None,
    digest: str = "",
    signature: Signature = SIGNATURE,
) -> str:
    """Take a version in as the register job's last step does; its digest."""
    digest = digest or digest_for(f"{model} {number}")
    package = container.settings.data_dir / "jobs" / f"{model}-{number}"
    package.mkdir(parents=True)
    (package / "MLmodel").write_text("flavors: {}\n")
    manifest = Manifest(
        name=model,
        version=number,
        digest=digest,
        package_dir=f"../../artifacts/{digest}",
        framework="sklearn",
        signature=signature,
        example=[0.0, 1.0],
        label=label,
    )
    Intake(container.models).take_in(
        NewVersion(manifest, msgspec.to_builtins(signature), {"score": 0.9, "metric": "accuracy"}, 20, {}), package, ME
    )
    return digest


@contextmanager
def served(container: Container, connections_max: int = 512) -> Iterator[httpx.Client]:
    """The API on a free port, and a client that has the token."""
    (port,) = free_ports(1)
    http, app = Waiting(connections_max).protocol(), create_app(container)
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, http=http, ws="none", log_config=None, timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, what="the API")
    headers = {"authorization": f"Bearer {container.keys.token}"}
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30, trust_env=False) as client:
            yield client
    finally:
        container.snapshot_changed.close()
        server.should_exit = True
        thread.join(10)

"""What the reconciler may rely on, whatever engine runs the replicas."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import msgspec
import pytest

from support.backends import TOKEN, Subject
from support.docker_engine import DockerEngine
from support.wait import until
from tidegate.adapters.local.unix_probe import get_status
from tidegate.core.engines.capabilities import ENGINES
from tidegate.core.engines.placement import Placement
from tidegate.core.ports import Backend, Handle, ReplicaObservation
from tidegate.errors import ImagePending, ModelCrashed
from tidegate.wire.replicas.manifest import encode_manifest, read_manifest

pytestmark = pytest.mark.timeout(1200)  # the first time, the base image is made
IN_CONTAINERS = pytest.mark.parametrize("subject", ["docker"], indirect=True)


def seen(backend: Backend, handle: Handle) -> ReplicaObservation:
    (found,) = backend.observe([handle])
    assert found is not None
    return found


def test_a_replica_starts_becomes_ready_and_stops(backend: Backend, subject: Subject) -> None:
    backend.check(subject.spec().placement)
    handle = backend.start(subject.spec())
    first = seen(backend, handle)
    assert first.alive
    assert not first.ready, "ready only once the model has loaded and predicted"
    until(lambda: seen(backend, handle).ready, what="the replica being ready")
    address = str(seen(backend, handle).address)
    assert get_status(Path(address.removeprefix("unix:")), "/v2/health/ready", 5.0) == 200
    backend.stop(handle)
    until(lambda: not seen(backend, handle).alive, what="the replica's end")
    ended = seen(backend, handle)
    assert not ended.ready
    assert ended.exit_code in (0, None)
    assert not Path(address.removeprefix("unix:")).exists()


def test_cpu_is_told_where_the_engine_says_so_and_unknown_once_it_is_gone(backend: Backend, subject: Subject) -> None:
    handle = backend.start(subject.spec())
    tells = ENGINES[backend.name].tells_cpu
    if tells:
        until(lambda: (backend.cpu_s([handle])[0] or 0.0) > 0.1, what="CPU of a replica that loads")
    else:
        assert backend.cpu_s([handle]) == [None]
    backend.kill(handle)
    until(lambda: not seen(backend, handle).alive, what="the replica's end")
    assert backend.cpu_s([handle]) == [None]
    assert backend.cpu_s([]) == []


def test_stopping_and_killing_what_is_gone_is_no_error(backend: Backend, subject: Subject) -> None:
    handle = backend.start(subject.spec())
    backend.kill(handle)
    until(lambda: not seen(backend, handle).alive, what="the replica's end")
    assert seen(backend, handle).exit_code == -9
    backend.kill(handle)
    backend.stop(handle)
    assert not seen(backend, handle).alive


def test_a_replica_that_cannot_load_ends_with_its_reason_in_the_log(backend: Backend, subject: Subject) -> None:
    handle = backend.start(subject.spec(broken=True))
    until(lambda: not seen(backend, handle).alive, what="the replica's end")
    ended = seen(backend, handle)
    assert ended.exit_code == 1
    last = ended.log_tail[-1]
    assert last.startswith("tidegate-error: ")
    assert subject.says in json.loads(last.removeprefix("tidegate-error: "))["error"]
    assert backend.logs(handle, 1) == [last]


def test_a_restarted_control_plane_finds_what_runs(
    backend: Backend, new_backend: Callable[[], Backend], subject: Subject
) -> None:
    handle = backend.start(subject.spec())
    read_back = Handle(handle.backend, json.loads(json.dumps(handle.data)))
    assert read_back == handle
    assert read_back.data["replica"] == "r-1"
    later = new_backend()
    assert seen(later, read_back).alive
    (found,) = until(lambda: later.orphans([]), what="the replica among the strangers")
    assert found == handle
    assert later.unavailable_reason() is None
    later.kill(found)
    until(lambda: not seen(later, read_back).alive, what="the replica's end")
    until(lambda: not seen(backend, handle).alive, what="its end for the one that started it")


def test_orphans_are_those_that_nobody_knows(backend: Backend, subject: Subject) -> None:
    known, unknown = backend.start(subject.spec("r-known")), backend.start(subject.spec("r-unknown"))
    # A process is known by its arguments, which it has only once it has turned from a fork into itself.
    found = until(lambda: backend.orphans([known]), what="the stranger's start")
    assert [(handle.data["replica"], handle.data["token"]) for handle in found] == [("r-unknown", TOKEN)]
    backend.kill(found[0])
    until(lambda: not seen(backend, unknown).alive, what="the orphan's end")
    assert seen(backend, known).alive
    assert backend.orphans([known]) == []


def test_what_ends_with_this_host_is_all_that_runs_there_known_or_not_and_no_other_platforms(
    backend: Backend, elsewhere: Backend, subject: Subject
) -> None:
    handles = [backend.start(subject.spec("r-one")), backend.start(subject.spec("r-two"))]
    until(lambda: len(backend.on_this_host()) == 2, what="both of them")
    assert sorted(str(one.data["replica"]) for one in backend.on_this_host()) == ["r-one", "r-two"]
    assert elsewhere.on_this_host() == []
    backend.kill(handles[0])
    until(lambda: not seen(backend, handles[0]).alive, what="the replica's end")
    assert [one.data["replica"] for one in backend.on_this_host()] == ["r-two"]


def test_observations_come_in_the_order_asked(backend: Backend, subject: Subject) -> None:
    alive, dead = backend.start(subject.spec("r-alive")), backend.start(subject.spec("r-dead"))
    backend.kill(dead)
    until(lambda: not seen(backend, dead).alive, what="the replica's end")
    observed = backend.observe([dead, alive, dead])
    assert [one is not None and one.alive for one in observed] == [False, True, False]
    assert backend.observe([]) == []


@IN_CONTAINERS
def test_a_container_is_limited_shut_in_and_says_whose_it_is(
    backend: Backend, subject: Subject, engine: DockerEngine, tmp_path: Path
) -> None:
    handle = backend.start(subject.spec())
    assert backend.start(subject.spec()) == handle, "asked again, because the answer was lost"
    (found,) = inspected(engine, tmp_path)
    limits, labels = found["HostConfig"], found["Config"]["Labels"]
    assert (limits["NanoCpus"], limits["Memory"], limits["MemorySwap"]) == (1_500_000_000, 300 << 20, 300 << 20)
    assert (limits["ReadonlyRootfs"], limits["CapDrop"], limits["NetworkMode"]) == (True, ["ALL"], "none")
    assert limits["SecurityOpt"] == ["no-new-privileges"]
    assert found["Config"]["User"] == "10001:10001"
    told = {name: labels[f"io.tidegate.{name}"] for name in ("endpoint", "model", "version", "replica", "lease-token")}
    assert told == {"endpoint": "churn", "model": "churn", "version": "1", "replica": "r-1", "lease-token": str(TOKEN)}
    backend.kill(handle)
    until(lambda: not seen(backend, handle).alive, what="the replica's end")
    assert inspected(engine, tmp_path) == [], "nothing of it stays on the engine"


def inspected(engine: DockerEngine, data_dir: Path) -> list[Any]:
    """The containers of a data directory, in any state."""
    client = docker.APIClient(base_url=engine.host)
    found = client.containers(all=True, filters={"label": [f"io.tidegate.data-dir={data_dir}"]})
    inspected = [client.inspect_container(one["Id"]) for one in found]
    client.close()
    return inspected


@IN_CONTAINERS
def test_what_the_engine_refuses_is_told_and_leaves_nothing(
    backend: Backend, subject: Subject, engine: DockerEngine, tmp_path: Path
) -> None:
    too_small = replace(subject.spec(), placement=Placement("docker", memory_bytes=1 << 20))
    with pytest.raises(ModelCrashed, match="memory"):
        backend.start(too_small)
    manifest = tmp_path / "never-built.json"
    manifest.write_bytes(encode_manifest(msgspec.structs.replace(read_manifest(subject.good), digest="0" * 64)))
    with pytest.raises(ImagePending):
        backend.start(replace(subject.spec(), manifest=manifest))
    assert inspected(engine, tmp_path) == []


@IN_CONTAINERS
def test_a_container_that_needs_too_much_memory_ends_with_that_reason(backend: Backend, subject: Subject) -> None:
    handle = backend.start(replace(subject.spec(), placement=Placement("docker", memory_bytes=16 << 20)))
    until(lambda: not seen(backend, handle).alive, what="the replica's end")
    assert "for want of memory: its limit is 16 MiB" in " ".join(seen(backend, handle).log_tail)

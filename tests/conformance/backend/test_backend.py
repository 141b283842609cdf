"""What the reconciler may rely on, whatever engine runs the replicas."""

from __future__ import annotations

import json
from pathlib import Path

from support.wait import until
from tidegate.core.ports import Backend, Handle, Observation, ReplicaSpec


def spec(manifest: Path, name: str = "r-1") -> ReplicaSpec:
    return ReplicaSpec(name, "churn", "churn", "1", manifest)


def seen(backend: Backend, handle: Handle) -> Observation:
    return backend.observe([handle])[0]


def test_a_replica_starts_becomes_ready_and_stops(backend: Backend, manifest: Path) -> None:
    handle = backend.start(spec(manifest))
    first = seen(backend, handle)
    assert first.alive
    assert not first.ready, "ready only once the model has loaded and predicted"
    until(lambda: seen(backend, handle).ready, what="the replica being ready")
    assert seen(backend, handle).address
    backend.stop(handle)
    until(lambda: not seen(backend, handle).alive, what="the replica's end")
    ended = seen(backend, handle)
    assert not ended.ready
    assert ended.exit_code in (0, None)


def test_stopping_and_killing_what_is_gone_is_no_error(backend: Backend, manifest: Path) -> None:
    handle = backend.start(spec(manifest))
    backend.kill(handle)
    until(lambda: not seen(backend, handle).alive, what="the replica's end")
    backend.kill(handle)
    backend.stop(handle)
    assert not seen(backend, handle).alive


def test_a_replica_that_cannot_load_ends_with_its_reason_in_the_log(backend: Backend, tmp_path: Path) -> None:
    handle = backend.start(spec(tmp_path / "nowhere.json"))
    until(lambda: not seen(backend, handle).alive, what="the replica's end")
    ended = seen(backend, handle)
    assert ended.exit_code == 1
    last = ended.log_tail[-1]
    assert last.startswith("tidegate-error: ")
    assert "nowhere.json" in json.loads(last.removeprefix("tidegate-error: "))["error"]
    assert backend.logs(handle, 1) == [last]


def test_handles_survive_a_restart_as_json(backend: Backend, manifest: Path) -> None:
    handle = backend.start(spec(manifest))
    read_back = Handle(handle.backend, json.loads(json.dumps(handle.data)))
    assert read_back == handle
    assert seen(backend, read_back).alive
    assert read_back.data["replica"] == "r-1"


def test_orphans_are_those_that_nobody_knows(backend: Backend, manifest: Path) -> None:
    known, unknown = backend.start(spec(manifest, "r-known")), backend.start(spec(manifest, "r-unknown"))
    # A process is known by its arguments, which it has only once it has turned from a fork into itself.
    found = until(lambda: backend.orphans([known]), what="the stranger's start")
    assert [handle.data["replica"] for handle in found] == ["r-unknown"]
    backend.kill(found[0])
    until(lambda: not seen(backend, unknown).alive, what="the orphan's end")
    assert seen(backend, known).alive
    assert backend.orphans([known]) == []


def test_observations_come_in_the_order_asked(backend: Backend, manifest: Path) -> None:
    alive, dead = backend.start(spec(manifest, "r-alive")), backend.start(spec(manifest, "r-dead"))
    backend.kill(dead)
    until(lambda: not seen(backend, dead).alive, what="the replica's end")
    assert [one.alive for one in backend.observe([dead, alive, dead])] == [False, True, False]
    assert backend.observe([]) == []

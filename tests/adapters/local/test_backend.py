"""What is special about replicas as local processes: sockets, logs, environment, and finding them again."""

from __future__ import annotations

import errno
import shutil
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.descriptors import none_left
from support.models import Models
from support.replicas import packaged
from support.wait import until
from tidegate.adapters.local import processes
from tidegate.adapters.local.backend import LocalBackend
from tidegate.adapters.local.processes import bound_log, drop_oldest, names_data_dir, read_tail
from tidegate.core.ports import Handle, ReplicaObservation, ReplicaSpec
from tidegate.errors import OutOfResources
from tidegate.system.child_env import inherited_env
from tidegate.system.run_dir import run_dir


@pytest.fixture(scope="module")
def manifest(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packaged(Path(models.path("logistic.joblib")), tmp_path_factory.mktemp("package"))[0]


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[LocalBackend]:
    made = LocalBackend(tmp_path / "data", inherited_env({"PATH": "/usr/bin:/bin", "TIDEGATE_API_KEY": "hush"}))
    yield made
    end(made)
    shutil.rmtree(run_dir(tmp_path / "data"), ignore_errors=True)


def end(backend: LocalBackend) -> None:
    left = backend.orphans([])
    for handle in left:
        backend.kill(handle)
    until(lambda: not any(seen is None or seen.alive for seen in backend.observe(left)), what="the replicas' end")


def _seen(backend: LocalBackend, handle: Handle) -> ReplicaObservation:
    (seen,) = backend.observe([handle])
    assert seen is not None
    return seen


def started(backend: LocalBackend, manifest: Path, name: str = "r-1") -> Handle:
    return backend.start(ReplicaSpec(name, "churn", "churn", "1", manifest))


def environment_of(handle: Handle) -> dict[str, str]:
    """The kernel shows none for a moment after a process was started."""
    process = psutil.Process(int(handle.data["pid"]))
    until(lambda: "OMP_NUM_THREADS" in process.environ(), what="its environment")
    return process.environ()


def test_socket_is_private_and_goes_with_its_replica(backend: LocalBackend, manifest: Path, tmp_path: Path) -> None:
    handle = started(backend, manifest)
    until(lambda: _seen(backend, handle).ready, what="the replica being ready")
    path = Path(str(handle.data["socket"]))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.is_relative_to(run_dir(tmp_path / "data"))
    assert _seen(backend, handle).address == f"unix:{path}"
    backend.kill(handle)
    until(lambda: not _seen(backend, handle).alive, what="the replica's end")
    assert not path.parent.exists()


@pytest.mark.parametrize("place", ["{victim}", "{sockets}/link", "{sockets}/local/.."])
def test_nothing_is_removed_for_a_process_that_only_claims_to_be_a_replica(
    backend: LocalBackend, tmp_path: Path, place: str
) -> None:
    """Its arguments, which any process chooses for itself, are all that is known of one without a row."""
    sockets, victim = run_dir(tmp_path / "data"), tmp_path / "victim"
    for folder in (victim, sockets / "local" / "r-9"):
        folder.mkdir(parents=True)
        (folder / "s").write_text("kept")
    (sockets / "link").symlink_to(victim)
    claimed = place.format(victim=victim, sockets=sockets)
    gone: dict[str, str | int | float] = {
        "replica": "r-1",
        "pid": 2**22 + 1,
        "created_at": 0.0,
        "socket": f"{claimed}/s",
        "token": 0,
    }
    assert not _seen(backend, Handle("local", gone)).alive
    assert (victim / "s").read_text() == "kept"
    assert (sockets / "local" / "r-9" / "s").exists()


def test_a_link_in_the_place_of_a_replica_s_socket_is_not_followed(backend: LocalBackend, manifest: Path) -> None:
    handle = started(backend, manifest)
    path = Path(str(handle.data["socket"]))
    until(lambda: _seen(backend, handle).ready, what="the replica being ready")
    path.rename(path.with_name("moved"))
    path.symlink_to(path.with_name("moved"))
    assert not _seen(backend, handle).ready
    path.unlink()
    path.with_name("moved").rename(path)
    assert _seen(backend, handle).ready


def test_replica_gets_one_thread_and_no_secret(backend: LocalBackend, manifest: Path) -> None:
    env = environment_of(started(backend, manifest))
    assert env["OMP_NUM_THREADS"] == env["OPENBLAS_NUM_THREADS"] == env["MKL_NUM_THREADS"] == "1"
    assert "TIDEGATE_API_KEY" not in env
    assert "hush" not in env.values()


def test_secrets_are_not_inherited() -> None:
    env = {"AWS_SECRET_ACCESS_KEY": "x", "GITHUB_TOKEN": "x", "DATABASE_URL": "x", "PGPASSWORD": "x", "HOME": "/h"}
    assert inherited_env(env) == {"HOME": "/h"}


def test_threads_may_be_set_by_the_operator(tmp_path: Path, manifest: Path) -> None:
    backend = LocalBackend(tmp_path / "data", {"OMP_NUM_THREADS": "2"})
    try:
        env = environment_of(started(backend, manifest))
        assert env["OMP_NUM_THREADS"] == "2"
    finally:
        end(backend)


def test_a_signal_is_told_as_the_exit_code(backend: LocalBackend, manifest: Path) -> None:
    handle = started(backend, manifest)
    psutil.Process(int(handle.data["pid"])).send_signal(signal.SIGKILL)
    until(lambda: not _seen(backend, handle).alive, what="the replica's end")
    assert _seen(backend, handle).exit_code == -signal.SIGKILL


def test_another_backend_finds_the_replica_again(backend: LocalBackend, manifest: Path, tmp_path: Path) -> None:
    handle = started(backend, manifest)
    second = LocalBackend(tmp_path / "data", {})
    until(lambda: _seen(second, handle).ready, what="the replica being ready")
    assert second.orphans([]) == [handle]


def test_a_reused_pid_is_not_the_replica(backend: LocalBackend, manifest: Path) -> None:
    handle = started(backend, manifest)
    other = Handle("local", {**handle.data, "replica": "r-2", "created_at": float(handle.data["created_at"]) - 1000})
    backend.kill(other)
    assert not _seen(backend, other).alive
    assert _seen(backend, handle).alive


def test_replicas_of_another_data_directory_are_left_alone(
    backend: LocalBackend, manifest: Path, tmp_path: Path
) -> None:
    started(backend, manifest)
    assert LocalBackend(tmp_path / "other", {}).orphans([]) == []


def test_hung_replica_is_seen_within_a_bounded_time(backend: LocalBackend, manifest: Path) -> None:
    handle = started(backend, manifest)
    until(lambda: _seen(backend, handle).ready, what="the replica being ready")
    process = psutil.Process(int(handle.data["pid"]))
    process.suspend()
    try:
        seen = _seen(backend, handle)
    finally:
        process.resume()
    assert (seen.alive, seen.ready) == (True, False)


def test_log_is_cut_in_place_while_its_writer_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOG_BYTES_MAX", 1000)
    monkeypatch.setattr(processes, "LOG_BYTES_KEPT", 100)
    log = tmp_path / "x.log"
    with log.open("ab", buffering=0) as writer:
        for number in range(200):
            writer.write(f"line {number}\n".encode())
        bound_log(log)
        assert log.stat().st_size <= 100
        writer.write(b"after\n")
    assert read_tail(log, 2) == ["line 199", "after"]


def test_tail_of_a_file_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_tail(tmp_path / "none", 5) == []


def test_only_the_newest_logs_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.log").touch()
    drop_oldest(tmp_path.glob("*.log"), keep=2)
    assert len(list(tmp_path.glob("*.log"))) == 2


def test_arguments_name_their_data_directory(tmp_path: Path) -> None:
    data, link = tmp_path / "data", tmp_path / "link"
    data.mkdir()
    link.symlink_to(data)
    assert names_data_dir(["python", "-m", "tidegate.server", "--data-dir", str(link)], data)
    assert names_data_dir(["python", "-m", "tidegate.server", f"--data-dir={data}"], data)
    assert names_data_dir(["python", "-m", "tidegate.runtimes.inspect", f"{data}/jobs/1/request.json"], data)
    assert not names_data_dir(["python", "-m", "tidegate.server", "--data-dir", str(tmp_path / "data2")], data)
    assert not names_data_dir(["python", "-m", "tidegate.server", str(data)], data)


def test_without_descriptors_a_replica_is_unknown_and_one_that_was_to_start_is_no_failure(
    backend: LocalBackend, manifest: Path
) -> None:
    handle = started(backend, manifest)
    until(lambda: _seen(backend, handle).ready, what="the replica being ready")
    with none_left():
        assert backend.observe([handle]) == [None]
        with pytest.raises(OutOfResources, match="no file descriptor left"):
            started(backend, manifest, "r-2")
    assert _seen(backend, handle).ready
    assert [found.data["replica"] for found in backend.orphans([])] == ["r-1"]
    until(lambda: _seen(backend, started(backend, manifest, "r-2")).alive, what="the other one")


def test_a_process_that_could_not_be_looked_up_is_not_left_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started_pids = []

    def none_left_by_now(pid: int) -> float:
        started_pids.append(pid)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(processes, "_created_at", none_left_by_now)
    with pytest.raises(OSError, match="Too many open files"):
        processes.spawn(["sleep", "60"], tmp_path / "log")
    assert not psutil.pid_exists(started_pids[0])

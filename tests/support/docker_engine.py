"""A private Docker engine for tests: its own data, socket and pid, and a base image made with debootstrap and kept.

`python scripts/docker_for_tests.py` (as root) installs what is missing and makes the base image. Nothing here
touches an engine that the machine runs already.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from support.wait import free_ports, until

PACKAGES = {
    "docker": "docker.io",
    "dockerd": "docker.io",
    "debootstrap": "debootstrap",
    "docker-registry": "docker-registry",
}
"""Command to the Debian package that has it."""
REQUIRED = "TIDEGATE_REQUIRE_SERVICES"
BASE = "tidegate-test-base:1"
NETWORK = "tidegate-tests"
START_TIMEOUT_S, INSTALL_TIMEOUT_S, BASE_TIMEOUT_S = 60.0, 300.0, 900.0
_IN_BASE = ["python3", "ca-certificates"]
_NOT_KEPT = ["./var/cache/apt/*", "./var/lib/apt/lists/*", "./var/log/*", "./usr/share/doc/*", "./usr/share/man/*"]


def cache_dir() -> Path:
    """What is made once and kept between runs, outside the repository."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "tidegate-tests"


@dataclass(frozen=True)
class DockerEngine:
    """A running engine. `base` is the image that everything here is built on."""

    host: str
    base: str = BASE
    network: str = NETWORK

    def die(self) -> None:
        """As by `kill -9`."""
        folder = Path(self.host.removeprefix("unix://")).parent
        os.kill(int((folder / "docker.pid").read_text()), signal.SIGKILL)

    def come_back(self) -> None:
        """Start it again after it died. Its containers were not disturbed (live restore)."""
        folder = Path(self.host.removeprefix("unix://")).parent
        _RUNNING[self.host].wait(10)
        (folder / "docker.pid").unlink()
        _forget_containerd(folder / "exec/containerd/containerd.pid")
        _start(folder, self)

    def docker(self, *args: str, timeout_s: float = 120.0) -> str:
        """A docker command that must succeed; what it printed."""
        return _run(["docker", "--host", self.host, *args], timeout_s)


_RUNNING: dict[str, subprocess.Popen[bytes]] = {}  # by address


def engine_or_skip() -> None:
    """Skip, and say so, where no engine of our own can run; where services are required that is a failure."""
    required = bool(os.environ.get(REQUIRED))
    if required and _missing() and _may_install():
        with _locked("install"):
            install()
    why = _obstacle()
    if why is None:
        return
    if required:
        pytest.fail(f"{REQUIRED} is set and no Docker engine can be had: {why}", pytrace=False)
    pytest.skip(f"no Docker engine for tests: {why}")


def _obstacle() -> str | None:
    if sys.platform != "linux":
        return "it takes Linux"
    if os.geteuid() != 0:
        return "it takes root"
    if missing := _missing():
        return f"{', '.join(missing)} not installed ('python scripts/docker_for_tests.py' installs it as root)"
    return None


def _missing() -> list[str]:
    return sorted({package for command, package in PACKAGES.items() if shutil.which(command) is None})


def _may_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install() -> None:
    """Install the Debian packages that are missing."""
    if not _missing():
        return
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _run(["apt-get", "update", "-qq"], INSTALL_TIMEOUT_S, env=env)
    _run(["apt-get", "install", "-qq", "--yes", "--no-install-recommends", *_missing()], INSTALL_TIMEOUT_S, env=env)


def base_archive() -> Path:
    """The base image's files as a tar: this machine's own distribution, with Python. Made once, and kept."""
    suite = _os_release()["VERSION_CODENAME"]
    archive = cache_dir() / f"base-{suite}-{os.uname().machine}.tar"
    with _locked(archive.stem):
        if not archive.exists():
            _make_base(suite, archive)
    return archive


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Several test processes may want the same at once."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (cache_dir() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make_base(suite: str, archive: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="tidegate-base-") as scratch:
        root, packed = Path(scratch, "root"), archive.with_suffix(f".part-{os.getpid()}")
        include = f"--include={','.join(_IN_BASE)}"
        _run(["debootstrap", "--variant=minbase", include, suite, str(root), *_mirror()], BASE_TIMEOUT_S)
        left_out = [f"--exclude={pattern}" for pattern in _NOT_KEPT]
        _run(["tar", "-C", str(root), *left_out, "-cf", str(packed), "."], BASE_TIMEOUT_S)
        packed.rename(archive)


def _mirror() -> list[str]:
    """Where this machine's own packages come from; nothing leaves the choice to debootstrap."""
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    return _run(asked, 30.0).split()[:1]


def _os_release() -> dict[str, str]:
    lines = Path("/etc/os-release").read_text().splitlines()
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}


@contextmanager
def running_engine(disk_bytes_max: int | None = None) -> Iterator[DockerEngine]:
    """An engine of our own with the base image and a network, gone without a trace afterwards.

    `disk_bytes_max` gives it a small disk of its own.
    """
    folder = Path(tempfile.mkdtemp(prefix="tg-docker-"))  # short: socket paths end at 108 bytes
    engine = DockerEngine(f"unix://{folder}/docker.sock")
    if disk_bytes_max is not None:
        (folder / "data").mkdir()
        _run(["mount", "-t", "tmpfs", "-o", f"size={disk_bytes_max}", "tidegate-tests", f"{folder}/data"], 30.0)
    _start(folder, engine)
    try:
        engine.docker("import", "--change", 'CMD ["python3"]', str(base_archive()), BASE, timeout_s=BASE_TIMEOUT_S)
        _check_python(engine)
        engine.docker("network", "create", "--driver", "bridge", NETWORK)
        yield engine
    finally:
        _stop(folder, engine)


def _start(folder: Path, engine: DockerEngine) -> None:
    argv = ["dockerd", "--host", engine.host, "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"]
    argv += ["--pidfile", f"{folder}/docker.pid", "--config-file", f"{folder}/no-config.json"]
    # No rules and no bridge of its own: the host's firewall and other engines are left alone.
    argv += ["--iptables=false", "--ip6tables=false", "--bridge=none", "--live-restore"]
    (folder / "no-config.json").write_text("{}")
    with (folder / "dockerd.log").open("ab") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    _RUNNING[engine.host] = process
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _answers(engine):
        if process.poll() is not None or time.monotonic() > deadline:
            said = (folder / "dockerd.log").read_text(errors="replace")[-2000:]
            _stop(folder, engine)
            raise RuntimeError(f"dockerd did not start: {said}")
        time.sleep(0.05)


@contextmanager
def running_registry(folder: Path, *, locked: bool = False, port: int | None = None) -> Iterator[str]:
    """An image registry on a private port; its address. `locked`: it asks for a password that nobody has."""
    port = port or free_ports(1)[0]
    config = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if locked:
        (folder / "passwords").write_text(f"somebody:$2y$05${'a' * 53}\n")
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "passwords")}}
    (folder / "registry.yml").write_text(json.dumps(config))  # JSON is YAML
    argv = ["docker-registry", "serve", str(folder / "registry.yml")]
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        until(lambda: _listens(port) or process.poll() is not None, START_TIMEOUT_S, "docker-registry")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(engine: DockerEngine) -> bool:
    asked = ["docker", "--host", engine.host, "version"]
    return subprocess.run(asked, capture_output=True, timeout=30, check=False).returncode == 0


def _check_python(engine: DockerEngine) -> None:
    asked = "import sys; print('%d.%d' % sys.version_info[:2])"
    found = engine.docker("run", "--rm", "--network", "none", BASE, "python3", "-c", asked).strip()
    here = "{}.{}".format(*sys.version_info[:2])
    if found == here:
        return
    why = f"the base image has Python {found}, and the tests run on {here}: images take the Python that models are of"
    if os.environ.get(REQUIRED):
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


def _stop(folder: Path, engine: DockerEngine) -> None:
    """Containers and network first, then the engine and its containerd by their pids, then its files."""
    process = _RUNNING.pop(engine.host)
    if process.poll() is None:
        with suppress(RuntimeError, subprocess.TimeoutExpired):
            if left := engine.docker("ps", "--all", "--quiet").split():
                engine.docker("rm", "--force", *left)
            engine.docker("network", "rm", NETWORK)
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
    with suppress(OSError, ValueError):  # ends with its engine, unless that was killed
        os.kill(int((folder / "exec/containerd/containerd.pid").read_text()), signal.SIGTERM)
    _end_containers(folder)
    _unmount(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _forget_containerd(pid_file: Path) -> None:
    """It ends with its engine. A new engine would wait for one that nobody has reaped yet, and give up."""
    with suppress(OSError, ValueError, psutil.NoSuchProcess):
        old = psutil.Process(int(pid_file.read_text()))
        until(lambda: not old.is_running() or old.status() == psutil.STATUS_ZOMBIE, 10, "the end of containerd")
        pid_file.unlink()


def _end_containers(folder: Path) -> None:
    """What an engine that was killed left running: found by our own containerd's address, ended by pid."""
    address = f"{folder}/exec/containerd/containerd.sock"
    for shim in psutil.process_iter():
        with suppress(psutil.Error):
            if address in shim.cmdline():
                for process in [*shim.children(recursive=True), shim]:
                    process.kill()


def _unmount(folder: Path) -> None:
    """A small disk, and what an engine that was killed left mounted: the innermost first."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for path in reversed([path for path in mounted if path.startswith(f"{folder}/")]):
        with suppress(RuntimeError):
            _run(["umount", path], 30.0)


def _run(argv: Sequence[str], timeout_s: float, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False, env=env)
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-2000:]
        raise RuntimeError(f"{' '.join(argv[:6])} … ended with {done.returncode}: {said}")
    return done.stdout


def main() -> int:
    """Install what is missing, make the base image, start an engine once and say what it is."""
    if _missing() and _may_install():
        install()
    if why := _obstacle():
        print(f"no Docker engine for tests: {why}", file=sys.stderr)  # noqa: T201 - for whoever runs it
        return 1
    with running_engine() as engine:
        print(json.dumps(json.loads(engine.docker("info", "--format", "{{json .}}")), indent=2))  # noqa: T201
    return 0

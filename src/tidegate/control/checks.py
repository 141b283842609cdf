"""What must be true before a platform starts: the data directory is ours alone, and the ports are free."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tidegate.adapters.sandbox.job_users import MODELS_GROUP
from tidegate.errors import DataDirInUse, DataDirUnusable, InvalidArgument, PortInUse
from tidegate.system.file_lock import take

LISTEN_BACKLOG = 512
PROBED_FOR_S = 0.5


def prepare_data_dir(data_dir: Path) -> None:
    """Create it (mode 0700) or see that it can be written to; raises `DataDirUnusable`."""
    if data_dir.exists() and not data_dir.is_dir():
        raise DataDirUnusable(f"{data_dir} is a file, not a directory: choose another with --data-dir")
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = data_dir.stat()
        passes = found.st_gid == MODELS_GROUP  # models that run need to, until they are let through again
        data_dir.chmod(0o700 | (found.st_mode & 0o010 if passes else 0))
        close_to_others(data_dir)
        probe = data_dir / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise DataDirUnusable(
            f"data directory {data_dir} cannot be written to ({error.strerror}): "
            "make it writable, or choose another with --data-dir"
        ) from error


def close_to_others(data_dir: Path) -> None:
    """Make its files their owner's alone, whoever made them (SQLite, MLflow, an earlier release)."""
    for path in data_dir.iterdir():
        with contextlib.suppress(OSError):
            if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o077:
                path.chmod(0o600)


class DataDirLock:
    """Held for as long as this process lives: one control plane a data directory. The kernel lets go at its death."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._file = (data_dir / "control.lock").open("a+")

    def acquire(self) -> None:
        """Raises `DataDirInUse`, naming the process that holds it.

        Tries for half a second: an `up` that only looks whether the directory is free holds it for a moment, and
        whoever took it just now needs one to write down its process id.
        """
        if not take(self._file.fileno(), PROBED_FOR_S):
            holder = self.holder()
            self._file.close()
            raise DataDirInUse(
                f"data directory {self._data_dir} is in use by another instance (process {holder}): "
                f"stop it with 'tidegate down --data-dir {self._data_dir}', or choose another with --data-dir",
                pid=holder,
            )
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def holder(self) -> int | None:
        """Process id of the holder, as it wrote it down."""
        self._file.seek(0)
        with suppress(ValueError):
            return int(self._file.read())
        return None

    def release(self) -> None:
        """Release the lock."""
        self._file.close()


def in_use(data_dir: Path) -> DataDirInUse | None:
    """Who holds the data directory, as the error that taking it would raise; None when nobody does."""
    lock = DataDirLock(data_dir)
    try:
        lock.acquire()
    except DataDirInUse as error:
        return error
    lock.release()
    return None


def holder_of(data_dir: Path) -> int | None:
    """The process that holds the data directory; None when nobody does."""
    held = in_use(data_dir)
    pid: int | None = None if held is None else held.details.get("pid")
    return pid


@contextmanager
def one_at_a_time(data_dir: Path) -> Iterator[None]:
    """Held while `up` starts a control plane: a second `up` waits here, and then finds what the first one started."""
    with (data_dir / "up.lock").open("a") as lock:
        take(lock.fileno(), None)
        yield


def listening_socket(host: str, port: int, option: str) -> socket.socket:
    """A socket that listens on the port; raises `PortInUse` or `InvalidArgument`, naming the option to change."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InvalidArgument(f"--host {host} is no address of this machine ({error.strerror})") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(LISTEN_BACKLOG)
    except OSError as error:
        listener.close()
        raise _unbindable(error, host, port, option) from error
    return listener


def _unbindable(error: OSError, host: str, port: int, option: str) -> PortInUse | InvalidArgument:
    if error.errno in (98, 48):  # EADDRINUSE on Linux and macOS
        return PortInUse(f"port {port} on {host} is in use by another process: choose another with {option}")
    if isinstance(error, PermissionError):
        return PortInUse(f"port {port} may not be bound by this user: choose one above 1023 with {option}")
    return InvalidArgument(f"--host {host} is no address of this machine ({error.strerror})")


def check_port(host: str, port: int, option: str) -> None:
    """Raises `PortInUse` when nothing can listen there."""
    listening_socket(host, port, option).close()

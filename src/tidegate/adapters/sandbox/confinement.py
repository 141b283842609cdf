"""Whether and how processes that run a model's code are kept from the platform's own files. Called when one is started.

As root, each runs under a user of its own, and sees of closed folders what it needs; where root may not mount (a
container without CAP_SYS_ADMIN), modes alone keep it out of them. Else, where the kernel has user namespaces for
everybody, it keeps its user and does not see closed folders, the data directory among them. Where neither works it is
as any process of this user.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tidegate
from tidegate.adapters.sandbox import job_users
from tidegate.adapters.sandbox.left_behind import own_tree
from tidegate.adapters.sandbox.passage import closed_above, let_through
from tidegate.errors import OutOfResources
from tidegate.system.confine import EXIT_NOT_CONFINED
from tidegate.system.exhaustion import exhausted

_log = logging.getLogger(__name__)

SCRIPT = Path(tidegate.__file__).parent / "system" / "confine.py"
PROBE_TIMEOUT_S = 20.0
_PASSING = (
    "MemoryError",
    *(os.strerror(number) for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)),
)
"""What Python ends with 1 for, beside what makes it useless to a confined process."""
UNCONFINED = (
    "models that were granted to run code run as this platform's own user here: a grant is access to the platform "
    "(neither root with a data directory that others could be let into, nor user namespaces)"
)
Way = Literal["user", "user_alone", "namespace"]
OWN_USER: tuple[Way, ...] = ("user", "user_alone")
"""The ways in which each process has a user of its own, from the stricter one."""
_SAID = {
    "user": "models' processes run under users of their own, and see their own files alone of the platform's",
    "user_alone": "models' processes run under users of their own, which modes keep out of the platform's files "
    "(this root may not mount: without CAP_SYS_ADMIN they see whatever files are open to everybody)",
    "namespace": "models' processes keep the platform's user, in a namespace without the platform's files",
}


@dataclass(frozen=True)
class SandboxNeeds:
    """What a process is given: paths to read, and folders of its own to write, the first of which is its home.

    `shared` folders are read too, as they come to be while the process runs; what others have there cannot be listed.
    What is needed of them is `within`. `uid`: the user to be as root, where it is not a replica's.
    """

    name: str
    read: tuple[Path, ...]
    write: tuple[Path, ...]
    shared: tuple[Path, ...] = ()
    within: tuple[Path, ...] = ()
    uid: int | None = None


_hidden: list[Path] = []


def hide(*folders: Path) -> None:
    """The platform's own folders, which no confined process sees, whatever their modes; replaces earlier ones."""
    _hidden[:] = folders


_found: list[Way | None] = []
"""The answer of `way`, once there is one; empty until then."""


def way() -> Way | None:
    """How a process is confined on this machine, or None where it cannot be; tried for real.

    What was found stands while this process lives. Raises `OutOfResources` where it could not be tried now: that says
    nothing of the kernel, and no model runs before it is known.
    """
    if not _found:
        _found.append(_try_way())
    return _found[0]


def said() -> str:
    """The way that is in force, in words. Raises `OutOfResources`, see `way`."""
    how = way()
    return UNCONFINED if how is None else _SAID[how]


def find_out() -> None:
    """Have the answer before it is needed. One that cannot be had now is found when it is."""
    with contextlib.suppress(OutOfResources):
        way()


def said_so_far() -> str | None:
    """As `said`; None as long as it has not been found out."""
    return said() if _found else None


def _try_way() -> Way | None:
    ways: tuple[Way, ...] = OWN_USER if os.getuid() == 0 else ("namespace",)
    for wanted in ways:
        if wanted == "user_alone" and (closed := closed_above(_hidden)):
            _log.warning("no user of its own for a model's process: others may not enter %s, around the data", closed)
        elif _works(wanted):
            return wanted
    _log.warning("%s", UNCONFINED)
    return None


def _works(wanted: Way) -> bool:
    argv = _argv([sys.executable, "-P", "-c", "import msgspec, tidegate"], SandboxNeeds("probe", (), ()), wanted)
    try:
        tried = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_TIMEOUT_S, check=False, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise exhausted(error, spawning=True) or _not_now(str(error)) from error
    if tried.returncode == 0:
        return True
    said = tried.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    if tried.returncode in (EXIT_NOT_CONFINED, 1) and not any(word in said for word in _PASSING):
        _log.info("no confinement by %s: %s", wanted, said)
        return False
    raise _not_now(said or f"it ended with {tried.returncode}")


def _not_now(why: str) -> OutOfResources:
    return OutOfResources(f"how to confine a model's process could not be tried now, and is tried again: {why}")


def confined(
    argv: Sequence[str], env: Mapping[str, str], needs: SandboxNeeds, begun: int | None = None
) -> tuple[list[str], dict[str, str]]:
    """The command line and environment that run this confined, or as they are where that is not possible.

    `begun` is a descriptor that the process inherits, and that is closed once the program itself has begun. What is to
    be read is made readable, and what is to be written is given away, where it is another user's.
    """
    how = way()
    if how is None:
        return list(argv), dict(env)
    if how in OWN_USER:
        own = _own_files(needs) if how == "user_alone" else []
        for path in own:
            os.chown(path, -1, job_users.group_of(path))
            path.chmod(0o640)
        for path in filter(Path.exists, (*needs.read, *needs.within)):  # what is missing, the program itself tells best
            if path not in own:
                make_readable(path)
        if how == "user_alone":
            let_through((*needs.read, *needs.within, *needs.write), needs.shared, _hidden, job_users.MODELS_GROUP)
        else:
            for path in needs.shared:
                _allow(path, 0o011)
        for path in needs.write:
            os.chown(path, _uid(needs), _uid(needs))
            path.chmod(0o700)
    home = str(needs.write[0])
    return _argv(argv, needs, how, begun), {**env, "HOME": home, "USER": "model", "LOGNAME": "model", "TMPDIR": "/tmp"}  # noqa: S108


@contextlib.contextmanager
def user_of_job(name: str) -> Iterator[int | None]:
    """The `uid` of a job's process, see `job_users.of_job`; None where it is not to be another user."""
    if way() not in OWN_USER:
        yield None
        return
    with job_users.of_job(name) as uid:
        yield uid


def take_back(folder: Path) -> None:
    """Own what a confined process wrote, before it is kept. Raises `ModelLoadFailed`, see `left_behind.own_tree`."""
    own_tree(folder, give=way() in OWN_USER)


def _own_files(needs: SandboxNeeds) -> list[Path]:
    """Files that no other model's process may read where they are not hidden: manifests, and rows to validate with.

    The command lines of all processes tell where manifests are, and manifests where packages are, whose names nobody
    else knows and whose folder nobody can list.
    """
    return [path for path in needs.read if path.is_file() and not path.is_symlink()]


def _argv(argv: Sequence[str], needs: SandboxNeeds, how: Way, begun: int | None = None) -> list[str]:
    read = (*needs.shared, *needs.read)
    data = [os.path.realpath(path) for path in (*read, *needs.write)]
    plan = {
        "uid": _uid(needs) if how in OWN_USER else None,
        "groups": [job_users.MODELS_GROUP, *map(job_users.group_of, _own_files(needs))] if how == "user_alone" else [],
        "mounts": how != "user_alone",
        "read": [*_of_python(data), *(str(path) for path in read)],
        "write": [str(path) for path in needs.write],
        "hide": [str(path) for path in _hidden],
        "begun": begun,
    }
    return [sys.executable, "-I", "-S", str(SCRIPT), json.dumps(plan), *argv]


def _of_python(data: Iterable[str]) -> list[str]:
    """The interpreter and what it imports from; a folder around the platform's data is none of it."""
    named = [sys.prefix, sys.base_prefix, str(SCRIPT.parent), *sys.path]
    found = {path for name in named if name for path in (str(Path(name).absolute()), os.path.realpath(name))}
    found = {path for path in found if os.path.isdir(path) and path != "/"}  # noqa: PTH112
    return sorted(path for path in found if not any(one.startswith(path + os.sep) for one in data))


def _uid(needs: SandboxNeeds) -> int:
    return job_users.of_replica(needs.name) if needs.uid is None else needs.uid


def make_readable(path: Path) -> None:
    """For everybody who gets there: the folder around it is closed to all but this platform's user."""
    for one in _tree(path):
        if not one.is_symlink():
            _allow(one, 0o555 if one.is_dir() else 0o444)


def _allow(path: Path, bits: int) -> None:
    """Where that is refused (a shared file system), the process that cannot read it says so."""
    mode = path.stat().st_mode
    if mode | bits != mode:
        with contextlib.suppress(PermissionError):
            path.chmod(mode | bits)


def _tree(path: Path) -> Iterator[Path]:
    """The path and all below it. Follows no link, the path itself included."""
    yield path
    if not path.is_symlink():
        for folder, folders, files in os.walk(path):
            yield from (Path(folder, name) for name in (*folders, *files))

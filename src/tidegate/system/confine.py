"""Run as a script: becomes another user, or goes into a user namespace, sees what it needs alone, and execs a program.

Where there may be no namespaces at all, it becomes another user, and what it sees is for the modes of files to say.

Started by `adapters.sandbox.confinement` before a model's code: the process keeps its number. Only the standard
library, so that it costs little. Folders that others may not enter are hidden behind an empty one, and what the program
needs of them is put back at its place: the model's files to read, a folder of its own to write.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

EXIT_NOT_CONFINED, EXIT_NOT_NOW = 71, 75
_PASSING = {errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EUSERS, errno.EINTR, errno.EIO}
_NAMESPACES = ("max_user_namespaces", "max_mnt_namespaces")
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_NEWNS, _NEWUSER = 0x00020000, 0x10000000
_NO_NEW_PRIVS = 38


def main(argv: list[str]) -> int:
    """`PLAN PROGRAM ARG...`; the plan is JSON: `uid` (None: a user namespace), `groups`, `read` and `write`, lists of
    paths; `hide`, folders to be hidden in any case; `begun`, a descriptor to close then; `mounts`: hide anything.
    """
    plan, program = json.loads(argv[0]), argv[1:]
    try:
        if plan["begun"] is not None:
            os.set_inheritable(plan["begun"], False)
        confine(plan)
        os.execv(program[0], program)  # noqa: S606 - what the platform asked for
    except OSError as error:
        print(f"this process could not be confined: {error}", file=sys.stderr)  # noqa: T201 (its log)
        return EXIT_NOT_NOW if error.errno in _PASSING and not _forbidden() else EXIT_NOT_CONFINED


def _forbidden() -> bool:
    """Whether there are to be no namespaces at all: the kernel says that as it says that there are too many now."""
    try:
        return "0" in [Path("/proc/sys/user", name).read_text().strip() for name in _NAMESPACES]
    except OSError:
        return False


def confine(plan: dict[str, Any]) -> None:
    """Raises `OSError` where the kernel does not allow it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if plan["mounts"]:
        _see_needed(libc, plan)
    _call(libc, "prctl", _NO_NEW_PRIVS, 1, 0, 0, 0)
    if plan["uid"] is not None:
        os.setgroups(plan["groups"])
        os.setresgid(plan["uid"], plan["uid"], plan["uid"])
        os.setresuid(plan["uid"], plan["uid"], plan["uid"])
        if not os.access(".", os.R_OK | os.X_OK):
            os.chdir("/")


def _see_needed(libc: Any, plan: dict[str, Any]) -> None:
    uid, gid = os.getuid(), os.getgid()
    _call(libc, "unshare", _NEWNS | (0 if plan["uid"] is not None else _NEWUSER))
    if plan["uid"] is None:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    _mount(libc, "none", "/", _REC | _PRIVATE)
    needed = [(path, True) for path in plan["read"]] + [(path, False) for path in plan["write"]]
    home = os.getcwd()  # noqa: PTH109
    _hide(libc, [(path, read_only) for path, read_only in needed if os.path.lexists(path)], plan["hide"])
    _go_back(home)


def _hide(libc: Any, needed: list[tuple[str, bool]], hide: list[str]) -> None:
    """Put an empty folder over each to be hidden and each closed one above what is needed, and that back into it."""
    hidden = {os.path.realpath(path) for path in hide if os.path.isdir(path)}  # noqa: PTH112
    hidden -= {"/", *(os.path.realpath(path) for path, _ in needed)}
    covered = {path: _cover(path, hidden) for path, _ in needed}
    held = {path: os.open(path, os.O_PATH) for path, _ in needed}  # reachable also once it is covered
    covers = _uppermost(hidden | {folder for folder in covered.values() if folder})
    for folder in covers:
        _mount(libc, "tmpfs", folder, _NOSUID | _NODEV, b"size=1m,mode=0755")
    for path, read_only in sorted(needed):  # a folder before what lies in it
        if covered[path] is None and not read_only:
            continue
        if covered[path] is not None and not _same(path, held[path]):
            _make_place(path, is_folder=stat.S_ISDIR(os.fstat(held[path]).st_mode))
        _mount(libc, f"/proc/self/fd/{held[path]}", path, _BIND | _REC)
        if read_only:
            _remount_read_only(libc, path, _BIND)
    for folder in covers:
        _remount_read_only(libc, folder, 0)
    for descriptor in held.values():
        os.close(descriptor)


def _cover(path: str, hidden: set[str]) -> str | None:
    """The uppermost folder above this path, or above where its links lead, that is to be hidden or others may not
    enter.
    """
    for folder in (*reversed(Path(path).parents), *reversed(Path(os.path.realpath(path)).parents)):
        real = os.path.realpath(folder)
        if real in hidden or not folder.stat().st_mode & stat.S_IXOTH:
            return real
    return None


def _uppermost(folders: set[str]) -> list[str]:
    return sorted(one for one in folders if not folders.intersection(map(str, Path(one).parents)))


def _go_back(home: str) -> None:
    """To where it was, by name: the folder it is in still has the uncovered ones above it."""
    try:
        os.chdir(home)
    except OSError:  # that is hidden now
        os.chdir("/")


def _same(path: str, descriptor: int) -> bool:
    """Whether a folder around it, put back before, has brought it back already."""
    try:
        return os.path.samestat(Path(path).stat(), os.fstat(descriptor))
    except OSError:
        return False


def _make_place(path: str, *, is_folder: bool) -> None:
    place = Path(path)
    (place if is_folder else place.parent).mkdir(parents=True, exist_ok=True, mode=0o755)
    if not is_folder:
        place.touch(mode=0o644)


def _remount_read_only(libc: Any, path: str, more: int) -> None:
    """With the flags that the mount has: in a user namespace they may not be taken off."""
    had = os.statvfs(path).f_flag
    kept = sum(flag for flag in (_NOSUID, _NODEV, _NOEXEC) if had & flag)
    _mount(libc, "none", path, _REMOUNT | _RDONLY | more | kept)


def _mount(libc: Any, source: str, target: str, flags: int, data: bytes | None = None) -> None:
    kind = b"tmpfs" if source == "tmpfs" else None
    _call(libc, "mount", source.encode(), os.fsencode(target), kind, ctypes.c_ulong(flags), data)


def _call(libc: Any, name: str, *args: Any) -> None:
    if getattr(libc, name)(*args) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}", *(os.fsdecode(arg) for arg in args[1:2] if arg))


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main(sys.argv[1:]))

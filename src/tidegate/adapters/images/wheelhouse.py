"""Wheels for images, collected with pip before a build and kept: a build itself needs no network.

Each wheel is fetched (or built) once, whatever version asks for it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from tidegate.errors import DiskFull, ImageBuildFailed, WheelMissing
from tidegate.system.commands import OnLine, is_full, run
from tidegate.system.file_lock import take

COLLECT_TIMEOUT_S = 1800.0
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_OLDEST_GLIBC = 5
_PART = ".part-"


@dataclass(frozen=True)
class WheelTarget:
    """The platform and Python that wheels must be compatible with."""

    python: str
    machine: str
    glibc: tuple[int, int]

    def platforms(self) -> list[str]:
        """Platform tags, best first."""
        found = []
        for minor in range(self.glibc[1], _OLDEST_GLIBC - 1, -1):
            found.append(f"manylinux_{self.glibc[0]}_{minor}_{self.machine}")
            if minor in _LEGACY:
                found.append(f"{_LEGACY[minor]}_{self.machine}")
        return [*found, f"linux_{self.machine}"]

    def tags(self) -> list[Tag]:
        """All tags, best first."""
        major, minor = (int(part) for part in self.python.split("."))
        platforms, interpreter = self.platforms(), f"cp{major}{minor}"
        return [
            *cpython_tags((major, minor), platforms=platforms),
            *compatible_tags((major, minor), interpreter=interpreter, platforms=platforms),
        ]

    def is_here(self) -> bool:
        """Whether what this machine builds or chooses for itself fits too."""
        here = platform.libc_ver()[1]
        known = tuple(int(part) for part in here.split(".")[:2]) if here else (0, 0)
        same = sys.platform == "linux" and platform.machine() == self.machine
        return same and self.python == "{}.{}".format(*sys.version_info[:2]) and (0, 0) < known <= self.glibc


@dataclass(frozen=True)
class Pin:
    """One distribution at one exact version."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


class Wheelhouse:
    """A folder of wheels; two builds may use it at once. Past `bytes_max`, those that were not used longest go."""

    def __init__(self, root: Path, env: Mapping[str, str], bytes_max: int = 20 << 30) -> None:
        self._root, self._env, self._bytes_max = root, env, bytes_max

    def collect(self, pins: Sequence[Pin], target: WheelTarget, on_line: OnLine) -> dict[Pin, Path]:
        """A wheel for each pin, those not here yet fetched. Raises `WheelMissing`, `DiskFull`."""
        found = self._found(pins, target)
        missing = [pin for pin in pins if pin not in found]
        if missing:
            on_line(f"collecting {len(missing)} of {len(pins)} wheels: {', '.join(map(str, missing))}")
            self._fetch(missing, target, on_line)
            found = self._found(pins, target)
        if left := [pin for pin in pins if pin not in found]:
            raise _missing(left, target, "what was fetched does not fit")
        for wheel in found.values():
            os.utime(wheel)
        self._prune(set(found.values()))
        return found

    def _prune(self, in_use: set[Path]) -> None:
        known = []
        for path in self._root.glob("*.whl"):
            with suppress(FileNotFoundError):  # another build prunes too
                known.append((path.stat().st_mtime, path.stat().st_size, path))
        excess = sum(size for _, size, _ in known) - self._bytes_max
        for _, size, path in sorted(known):
            if excess <= 0:
                return
            if path not in in_use:
                path.unlink(missing_ok=True)
                excess -= size

    def _found(self, pins: Sequence[Pin], target: WheelTarget) -> dict[Pin, Path]:
        ranks = {tag: rank for rank, tag in enumerate(target.tags())}
        wanted = {(canonicalize_name(pin.name), pin.version): pin for pin in pins}
        best: dict[Pin, tuple[int, Path]] = {}
        for path in sorted(self._root.glob("*.whl")):
            try:
                name, version, _, tags = parse_wheel_filename(path.name)
            except InvalidWheelFilename:
                continue
            pin = wanted.get((name, str(version)))
            rank = min((ranks[tag] for tag in tags if tag in ranks), default=None)
            if pin is not None and rank is not None and (pin not in best or rank < best[pin][0]):
                best[pin] = (rank, path)
        return {pin: path for pin, (_, path) in best.items()}

    def _fetch(self, pins: Sequence[Pin], target: WheelTarget, on_line: OnLine) -> None:
        """Aside, then moved in one by one: a wheel that is here is whole."""
        if find_spec("pip") is None:
            raise ImageBuildFailed("collecting wheels takes pip, which this environment has not: install pip in it")
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sweep()
        with self._aside() as aside:
            ran = run([*_command(target), str(aside), *map(str, pins)], self._env, COLLECT_TIMEOUT_S, on_line)
            if is_full(ran.text):
                raise DiskFull(f"the disk is full ({self._root}): no image was made; free some space and build again")
            if ran.code != 0:
                why = f"it took longer than {COLLECT_TIMEOUT_S:g} s" if ran.timed_out else ran.last(3)
                named = [pin for pin in pins if f"{pin.name}=={pin.version}" in ran.text]
                raise _missing(named or list(pins), target, why)
            for wheel in aside.glob("*.whl"):
                wheel.replace(self._root / wheel.name)

    @contextmanager
    def _aside(self) -> Iterator[Path]:
        """A folder that is locked while it is in use, and then removed."""
        folder = Path(tempfile.mkdtemp(prefix=_PART, dir=self._root))
        lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            take(lock, None)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)

    def _sweep(self) -> None:
        """Remove what a process that died left: nobody holds its lock."""
        for folder in self._root.glob(f"{_PART}*"):
            with suppress(OSError):
                lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    if take(lock):
                        shutil.rmtree(folder, ignore_errors=True)
                finally:
                    os.close(lock)


def _command(target: WheelTarget) -> list[str]:
    """As far as the folder's name. Only for a machine like this one can what has no wheel be built here."""
    pip = [sys.executable, "-P", "-m", "pip"]
    options = ["--no-deps", "--no-input", "--disable-pip-version-check", "--prefer-binary", "--progress-bar", "off"]
    if target.is_here():
        return [*pip, "wheel", *options, "--wheel-dir"]
    chosen = ["--only-binary", ":all:", "--python-version", target.python, "--implementation", "cp"]
    platforms = [part for name in target.platforms() for part in ("--platform", name)]
    return [*pip, "download", *options, *chosen, *platforms, "--dest"]


def _missing(pins: Sequence[Pin], target: WheelTarget, why: str) -> WheelMissing:
    named = ", ".join(map(str, pins[:8]))
    glibc = ".".join(map(str, target.glibc))
    return WheelMissing(
        f"no wheel of {named} can be had for Python {target.python} on {target.machine} with glibc {glibc} ({why}): "
        "put it into the folder that TIDEGATE_WHEELS_DIR names, or give pip an index that has it (PIP_INDEX_URL)",
        wheels=[str(pin) for pin in pins],
    )


def lay_out(wheels: Mapping[Pin, Path], into: Path) -> dict[Pin, str]:
    """The wheels side by side in a new folder, and the SHA-256 of each. Linked where the disk is the same."""
    into.mkdir()
    digests = {}
    for pin, wheel in wheels.items():
        try:
            os.link(wheel, into / wheel.name)
        except OSError:
            shutil.copyfile(wheel, into / wheel.name)
        with wheel.open("rb") as file:
            digests[pin] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests

"""Checks of what is on this machine: the settings, Python and its libraries, limits, the data directory."""

from __future__ import annotations

import os
import platform
import resource
import stat
from dataclasses import fields
from importlib import metadata

from packaging.requirements import Requirement

from tidegate.adapters.sandbox import confinement
from tidegate.doctor.findings import DoctorFacts, FindingState, Verdict
from tidegate.environments.installed import find_here
from tidegate.settings import Settings
from tidegate.system.run_dir import make_run_dir, run_dir
from tidegate.version import __version__

FREE_BYTES_MIN = 1 << 30
FREE_INODES_MIN = 10_000
FILES_MIN = 1024


def settings(facts: DoctorFacts) -> Verdict:
    """Those that cannot be read are told one by one."""
    if facts.unreadable:
        return FindingState.WRONG, "; ".join(error.message for error in facts.unreadable.values())
    given = sorted(name for item in fields(Settings) if facts.env.get(name := item.metadata["env"]))
    return FindingState.OK, f"read: {', '.join(given)}" if given else "all as they come"


def python(_facts: DoctorFacts) -> Verdict:
    """Which release runs on which Python."""
    where = (
        f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.machine()}"
    )
    return FindingState.OK, f"Tidegate {__version__}, {where}"


def libraries(_facts: DoctorFacts) -> Verdict:
    """Which extras are whole, and which libraries have a version that this release does not work with."""
    own = find_here("tidegate")
    if own is None:
        return (
            FindingState.NOTE,
            "this installation of Tidegate has no metadata: install it with pip to see what it needs",
        )
    missing, unfit = _libraries(own)
    if "" in missing:
        return FindingState.WRONG, f"the installation is not whole without {missing['']}: pip install 'tidegate'"
    if unfit:
        return FindingState.WRONG, f"{'; '.join(sorted(unfit))}: pip install --upgrade the extra that has it"
    extras = sorted(own.metadata.get_all("Provides-Extra") or [])
    whole = ", ".join(extra for extra in extras if extra not in missing) or "none"
    lacking = ", ".join(f"{extra} (without {missing[extra]})" for extra in extras if extra in missing) or "none"
    return FindingState.OK, f"extras installed: {whole}; not installed: {lacking}"


def models(facts: DoctorFacts) -> Verdict:
    """How processes that run a model's code would be confined, by whoever runs this."""
    data_dir = facts.settings.data_dir.absolute()
    confinement.hide(data_dir, facts.settings.files_home, run_dir(data_dir))
    strict = confinement.way() in ("user", "namespace")
    return FindingState.OK if strict else FindingState.NOTE, confinement.said()


def _libraries(own: metadata.Distribution) -> tuple[dict[str, str], set[str]]:
    """Extra to the first library that is missing for it ("" for the base), and libraries of an unfit version."""
    missing: dict[str, str] = {}
    unfit: set[str] = set()
    extras = ["", *(own.metadata.get_all("Provides-Extra") or [])]
    for requirement in [Requirement(text) for text in own.requires or []]:
        wanting = [
            name for name in extras if requirement.marker is None or requirement.marker.evaluate({"extra": name})
        ]
        if "" in wanting:
            wanting = [""]
        installed = own if requirement.name == "tidegate" else find_here(requirement.name)
        if installed is None:
            missing |= {name: requirement.name for name in wanting if name not in missing}
        elif wanting and not requirement.specifier.contains(installed.version, prereleases=True):
            unfit.add(f"{requirement.name} {installed.version} is installed and {requirement.specifier} is needed")
    return missing, unfit


def open_files(facts: DoctorFacts) -> Verdict:
    """Gateways raise their soft limit by themselves, up to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return FindingState.OK, "no limit"
    enough, wanted = hard // 2, facts.settings.connections_max
    if hard < FILES_MIN:
        return (
            FindingState.WRONG,
            f"at most {hard}: raise it to {2 * wanted} or more ('ulimit -Hn', LimitNOFILE of systemd)",
        )
    if enough < wanted:
        said = f"at most {hard}, enough for {enough} connections and not for TIDEGATE_CONNECTIONS_MAX={wanted}"
        return FindingState.NOTE, f"{said}: raise it ('ulimit -Hn', LimitNOFILE of systemd), or lower the setting"
    return FindingState.OK, f"at most {hard}, enough for {wanted} connections"


def data_directory(facts: DoctorFacts) -> Verdict:
    """Whose it is, and how much room there is. Creates nothing."""
    path = facts.settings.data_dir
    if not path.exists():
        parent = next(one for one in path.parents if one.exists())
        if not os.access(parent, os.W_OK | os.X_OK):
            return (
                FindingState.WRONG,
                f"{path} is not there and cannot be made by this user: choose another with --data-dir",
            )
        return FindingState.OFF, f"{path} is not there yet: 'tidegate up' makes it"
    if not path.is_dir():
        return FindingState.WRONG, f"{path} is a file, not a directory: choose another with --data-dir"
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        owner = path.stat().st_uid
        return FindingState.WRONG, f"{path} cannot be written to: run as its owner (user id {owner}), or mend its mode"
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return (
            FindingState.NOTE,
            f"{path} is open to other users, and holds the token: chmod 700 (the next 'up' does it)",
        )
    if run_dir(path).exists():
        make_run_dir(path)
    return _room(facts)


def _room(facts: DoctorFacts) -> Verdict:
    path = facts.settings.data_dir
    disk = os.statvfs(path)
    free_bytes = disk.f_bavail * disk.f_frsize
    said = f"{path}, {_size(free_bytes)} free"
    if free_bytes < FREE_BYTES_MIN:
        return FindingState.WRONG, f"{said}, less than {_size(FREE_BYTES_MIN)}: free some space there, or move it"
    if disk.f_files > 0 and disk.f_favail < FREE_INODES_MIN:
        return FindingState.WRONG, f"{said}, but room for {disk.f_favail} files only: remove some there, or move it"
    return FindingState.OK, said


def _size(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 30):,.1f} GiB" if size_bytes >= 1 << 30 else f"{size_bytes / (1 << 20):,.0f} MiB"

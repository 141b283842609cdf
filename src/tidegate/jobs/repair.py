"""Registering known bytes again repairs the version: its environment, its package, its faster form, where one is gone.

Called by the register job. Endpoints that had it in quarantine try it again by way of the reconcile loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tidegate.core.access import Principal
from tidegate.environments import environment, requirements_of
from tidegate.errors import Conflict
from tidegate.packaging import ModelSource, wrap
from tidegate.services.models.catalog import Models
from tidegate.services.models.intake import Intake
from tidegate.wire import rest
from tidegate.wire.replicas.manifest import Manifest

_log = logging.getLogger(__name__)

FORM_LOST = "its files were damaged; the original is served until a form is made anew"


@dataclass(frozen=True)
class Repair:
    """A known version to repair, from the same bytes handed in once more by `who`. `scratch` is yet to be made."""

    name: str
    known: rest.Version
    source: ModelSource
    code_dir: Path | None
    requirements: str | None
    scratch: Path
    who: Principal

    @property
    def title(self) -> str:
        """As people write it."""
        return f"{self.name}:{self.known.version}"


def check_device(models: Models, name: str, version: str, device: str | None) -> None:
    """Raises `Conflict` for another device than the version's: same bytes, same version, and one device for it."""
    kept = models.manifests.read(name, version).device or "cpu"
    if device is not None and device != kept:
        raise Conflict(
            f"{name}:{version} holds these bytes and runs on {kept}: the same bytes are the same version, and a "
            f"version keeps its device. Leave --device out, or register them under another name with --device "
            f"{device}, or delete the version first ('tidegate models delete {name}:{version}')",
            version=version,
            device=kept,
        )


@contextmanager
def repaired(models: Models, repair: Repair, tell: Callable[[str], None]) -> Iterator[Path]:
    """Repair what is not whole; yields the interpreter that the version runs on, which stays there for the block.

    Raises `EnvironmentFailed`, `DiskFull`, `Conflict` for a manifest that cannot be read, and what `wrap` raises.
    """
    manifest = models.manifests.read(repair.name, repair.known.version)
    with _interpreter(models, repair, manifest.environment, tell) as (python, built):
        put_back = _repair_package(models, repair, tell)
        remade = _repair_form(models, repair, manifest, tell)
        if built or put_back or remade:
            Intake(models).try_again(repair.known.digest, f"{repair.title} was registered again", repair.who)
        yield python


@contextmanager
def _interpreter(
    models: Models, repair: Repair, key: str | None, tell: Callable[[str], None]
) -> Iterator[tuple[Path, bool]]:
    """Of the version's environment, built anew where it is gone, and whether it was."""
    there = key is None or models.environments.has(key)
    # Granted: an environment was built for these very bytes.
    needed = None if key is None else requirements_of(repair.source, repair.requirements, granted=True)
    if needed is None or needed.key() != key:  # this server would make another one now: never in the old one's place
        yield models.environments.of_version(key), False
        return
    with environment(models.environments, needed, repair.source, tell) as own:
        yield own.python if own else models.environments.of_version(key), not there


def _repair_package(models: Models, repair: Repair, tell: Callable[[str], None]) -> bool:
    fault = models.artifacts.fault(repair.known.digest)
    if fault is None:
        return False
    tell(f"the stored copy of {repair.title} is put back: {fault}")
    _log.warning("the package of %s is put back: %s", repair.title, fault)
    package = wrap(
        repair.source,
        repair.scratch,
        code_dir=repair.code_dir,
        requirements=repair.requirements,
        allow_pickle=repair.known.pickle_granted,
        elsewhere=True,  # it was examined when it was registered
    )
    Intake(models).put_back(repair.known.digest, package.dir)
    return True


def _repair_form(models: Models, repair: Repair, manifest: Manifest, tell: Callable[[str], None]) -> bool:
    """The original takes a damaged form's place; the job's last step then makes one anew."""
    if manifest.accelerated is None:
        return False
    fault = models.artifacts.form_fault(manifest.accelerated.folder)
    if fault is None:
        return False
    tell(f"the faster form of {repair.title} is made anew: {fault}")
    _log.warning("the faster form of %s is made anew: %s", repair.title, fault)
    record = {"kept": None, "state": "failed", "reason": FORM_LOST}
    Intake(models).set_acceleration(repair.name, repair.known.digest, record, repair.who)
    return True
